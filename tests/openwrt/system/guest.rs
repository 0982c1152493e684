//! What busybox lacks, in the machine that openwrt/test-system boots: a hidden service, visitors, and a clock that
//! goes past 2038.
//!
//! ```text
//!   guest echo PORT                  the service: echoes, and prints from where each visitor comes
//!   guest touch SOURCE HOST PORT     one visit: refused, held, closed, or said TEXT
//!   guest hold HOST PORT COUNT       sessions that stay, from an address each; prints how many there are
//!   guest clock SECONDS              sets the machine's clock to this Unix time
//!   guest used FILE                  a file of used tokens that knows all since this boot
//! ```

#[path = "../../common/memory.rs"]
mod memory;

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A trap holds its visitor for longer.
const HELD: Duration = Duration::from_millis(1_500);

/// No answer takes this long, even in a machine that is emulated.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["echo", port] => echo(number(port)),
        ["touch", source, host, port] => touch(address(source), to(host, port)),
        ["hold", host, port, count] => hold(to(host, port), number(count)),
        ["clock", seconds] => set_clock(number(seconds)),
        ["used", file] => {
            memory::write_memory(file.as_ref(), memory::this_boot());
            Ok(())
        }
        // `cargo test --all-targets` runs it with options of its own.
        _ => return eprintln!("usage: guest echo|touch|hold|clock|used ARGUMENT..."),
    };
    if let Err(error) = done {
        eprintln!("guest: {error}");
        std::process::exit(1);
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is not a number that fits"))
}

fn address(text: &str) -> IpAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is not an address"))
}

fn to(host: &str, port: &str) -> SocketAddr {
    (address(host), number(port)).into()
}

fn echo(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for stream in listener.incoming() {
        let mut from = stream?;
        println!("{}", from.peer_addr()?.ip());
        thread::Builder::new()
            .stack_size(64 * 1_024)
            .spawn(move || io::copy(&mut from.try_clone()?, &mut from))?;
    }
    Ok(())
}

fn connect(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

/// Says a line, so that the echo has something to answer.
fn touch(source: IpAddr, to: SocketAddr) -> io::Result<()> {
    let mut stream = match connect(source, to) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            println!("refused");
            return Ok(());
        }
        other => other?,
    };
    stream.set_read_timeout(Some(HELD))?;
    let mut said = [0; 64];
    let read = stream
        .write_all(b"hello\n")
        .and_then(|()| stream.read(&mut said));
    match read {
        Ok(0) => println!("closed"),
        Ok(bytes) => println!("said {}", String::from_utf8_lossy(&said[..bytes]).trim()),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => println!("held"),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => println!("closed"),
            _ => return Err(error),
        },
    }
    Ok(())
}

/// Holds them until it is killed.
fn hold(to: SocketAddr, count: u16) -> io::Result<()> {
    let mut sessions = Vec::new();
    for visitor in 0..count {
        let [high, low] = visitor.to_be_bytes();
        let mut stream = connect(Ipv4Addr::new(127, 1, high, low).into(), to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        sessions.push(stream);
    }
    println!("{} sessions", sessions.len());
    loop {
        thread::park();
    }
}

/// By the kernel's call for 64 bits: musl's has 32, and so has busybox.
fn set_clock(seconds: i64) -> io::Result<()> {
    /// The number of clock_settime64 (uapi/asm/unistd.h).
    #[cfg(target_pointer_width = "32")]
    const CALL: libc::c_long = if cfg!(target_arch = "mips") {
        4_404
    } else {
        404
    };
    #[cfg(target_pointer_width = "64")]
    const CALL: libc::c_long = libc::SYS_clock_settime;
    // Seconds and nanoseconds (struct __kernel_timespec).
    let time = [seconds, 0];
    // SAFETY: the call reads two numbers of 64 bits, from `time`.
    let done = unsafe { libc::syscall(CALL, libc::CLOCK_REALTIME, time.as_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
