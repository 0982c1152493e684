//! What goes through the daemon: the services behind it, and the flows of clients.

use crate::daemon::Daemon;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long one sample counts, after a start that it does not count.
const SAMPLE: Duration = Duration::from_millis(400);
const START: Duration = Duration::from_millis(80);

/// No condition takes this long unless something is broken, even under callgrind, which is fifty times slower.
pub const PATIENCE: Duration = Duration::from_secs(90);

const MESSAGE: usize = 64;
const BLOCK: usize = 256 << 10;

/// The services behind the daemon. They work until this process ends.
pub struct Services {
    /// Says one byte and closes.
    pub greeter: SocketAddr,
    /// Sends blocks for as long as they are taken.
    pub source: SocketAddr,
    /// Sends messages back.
    pub echo: SocketAddr,
}

fn serve(answer: fn(TcpStream) -> io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

impl Services {
    /// In the order of [`KINDS`].
    pub fn all(&self) -> [SocketAddr; 3] {
        [self.greeter, self.source, self.echo]
    }

    pub fn start() -> Self {
        // A greeter needs no thread for each: its byte fits into any socket.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let greeter = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b".");
            }
        });
        Self {
            greeter,
            source: serve(|mut stream| {
                let block = vec![0x5a; BLOCK];
                loop {
                    stream.write_all(&block)?;
                }
            }),
            echo: serve(|mut stream| {
                stream.set_nodelay(true)?;
                let mut message = [0; MESSAGE];
                loop {
                    stream.read_exact(&mut message)?;
                    stream.write_all(&message)?;
                }
            }),
        }
    }
}

pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub fn greet(to: SocketAddr) -> io::Result<()> {
    let mut text = Vec::new();
    connect(to)?.read_to_end(&mut text)?;
    if text == b"." {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

pub fn trip(stream: &mut TcpStream) -> io::Result<()> {
    let mut message = [0x5a; MESSAGE];
    stream.write_all(&message)?;
    stream.read_exact(&mut message)
}

/// What one flow does again and again: each time it answers how much that was.
type Work = Box<dyn FnMut() -> io::Result<u64> + Send>;

#[derive(Clone, Copy)]
pub enum Traffic {
    Connections,
    Bytes,
    Trips,
}

/// A kind of traffic: what is measured of it.
pub struct Kind {
    pub traffic: Traffic,
    /// How much of the amount is one of the rate's.
    pub unit: f64,
    pub rate: &'static str,
    pub cost: &'static str,
}

pub const KINDS: [Kind; 3] = [
    Kind {
        traffic: Traffic::Connections,
        unit: 1.0,
        rate: "connections/s",
        cost: "us CPU a connection",
    },
    Kind {
        traffic: Traffic::Bytes,
        unit: 1e6,
        rate: "MB/s",
        cost: "us CPU a MB",
    },
    Kind {
        traffic: Traffic::Trips,
        unit: 1.0,
        rate: "64-byte round trips/s",
        cost: "us CPU a round trip",
    },
];

/// Each kind is measured with so many flows.
pub const FLOWS: [(usize, &str); 2] = [(1, "1 flow"), (64, "64 flows")];

impl Traffic {
    fn work(self, to: SocketAddr) -> io::Result<Work> {
        Ok(match self {
            Self::Connections => Box::new(move || greet(to).map(|()| 1)),
            Self::Bytes => {
                let (mut stream, mut block) = (connect(to)?, vec![0; BLOCK]);
                Box::new(move || Ok(stream.read(&mut block)? as u64))
            }
            Self::Trips => {
                let mut stream = connect(to)?;
                Box::new(move || trip(&mut stream).map(|()| 1))
            }
        })
    }
}

/// Flows that are under way.
struct Load {
    amount: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    flows: Vec<JoinHandle<io::Result<()>>>,
}

impl Load {
    fn start(traffic: Traffic, flows: usize, to: SocketAddr) -> Self {
        let amount = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let flow = |_| {
            let (amount, is_over) = (Arc::clone(&amount), Arc::clone(&is_over));
            thread::spawn(move || {
                let mut work = traffic.work(to)?;
                while !is_over.load(Ordering::Relaxed) {
                    amount.fetch_add(work()?, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let flows = (0..flows).map(flow).collect();
        Self {
            amount,
            is_over,
            flows,
        }
    }

    fn amount(&self) -> u64 {
        self.amount.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for flow in self.flows {
            flow.join()
                .expect("a flow does not panic")
                .expect("a flow goes on to its end");
        }
    }
}

/// How much a second, and how many microseconds of the daemon's processor time for each.
pub fn sample(kind: &Kind, flows: usize, to: SocketAddr, daemon: &Daemon) -> (f64, f64) {
    let load = Load::start(kind.traffic, flows, to);
    thread::sleep(START);
    let (begin, amount, busy) = (Instant::now(), load.amount(), daemon.busy());
    thread::sleep(SAMPLE);
    let (amount, busy) = (load.amount() - amount, daemon.busy() - busy);
    let seconds = begin.elapsed().as_secs_f64();
    load.end();
    let amount = amount as f64 / kind.unit;
    (amount / seconds, busy as f64 / 1_000.0 / amount)
}
