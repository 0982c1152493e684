//! client-address: what the hidden service sees of who has come.

use crate::common::*;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

const RANGE: (u16, u16) = (10_000, 10_999);

struct Setting {
    daemon: Daemon,
    member: Member,
    service: TcpListener,
}

fn start(common: &str, mirage: &str) -> Setting {
    let host = own_address();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = config(host, service.local_addr().unwrap(), common) + mirage;
    Setting {
        daemon: Daemon::start(host, &text),
        member: Member::new(host, RANGE),
        service,
    }
}

impl Setting {
    /// A session: the visitor, the service's end of it, and whom the service sees.
    fn enter(&self, number: u16) -> (TcpStream, TcpStream, SocketAddr) {
        let client = self.member.enter(visitor(number));
        let (service, seen) = self.service.accept().unwrap();
        service.set_read_timeout(Some(PATIENCE)).unwrap();
        (client, service, seen)
    }

    fn sees(&self, number: u16) -> Ipv4Addr {
        match self.enter(number).2.ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => panic!("{address}"),
        }
    }
}

fn is_derived(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 127 && (1..=254).contains(&second)
}

#[test]
fn each_source_has_an_address_of_127_and_keeps_it() {
    let setting = start("", "");
    let one = setting.sees(1);
    assert!(is_derived(one), "{one}");
    let line = format!(" accept mirage=ssh source={} ", visitor(1));
    let accept = setting.daemon.wait_for_line(&line);
    assert!(
        accept.ends_with(&format!(" client-address={one}")),
        "{accept}"
    );
    assert_eq!(setting.sees(1), one);
    let other = setting.sees(2);
    assert!(is_derived(other) && other != one, "{other}");

    // Another process, with the same name and secret.
    let again = start("", "client-address = loopback\n");
    assert_eq!([again.sees(2), again.sees(1)], [other, one]);
}

/// The kernel has 28,000 ports for the connections from one address to one service, and uses each once.
#[test]
fn many_sessions_of_one_source_take_no_port_from_each_other() {
    let setting = start("max-sessions-per-source = 300\n", "");
    let sessions: Vec<_> = (0..300).map(|_| setting.enter(1)).collect();
    let ports = sessions.iter().map(|(_, _, seen)| seen.port());
    assert_eq!(
        ports.collect::<std::collections::BTreeSet<u16>>().len(),
        300
    );
    assert!(
        sessions
            .iter()
            .all(|(_, _, seen)| seen.ip() == sessions[0].2.ip())
    );
}

#[test]
fn plain_is_the_address_of_this_host() {
    let setting = start("", "client-address = plain\n");
    assert_eq!(setting.sees(1), Ipv4Addr::LOCALHOST);
    let accept = setting.daemon.wait_for_line(" accept mirage=ssh ");
    assert!(!accept.contains("client-address"), "{accept}");
}

#[test]
fn a_reload_changes_what_the_service_sees() {
    let setting = start("", "");
    assert!(is_derived(setting.sees(1)));
    let text = std::fs::read_to_string(setting.daemon.config_path()).unwrap();
    setting.daemon.reload(&(text + "client-address = plain\n"));
    setting.daemon.wait_for_line(" reload mirages=1");
    assert_eq!(setting.sees(1), Ipv4Addr::LOCALHOST);
}

#[test]
fn status_says_whom_an_address_stands_for() {
    let folder = Folder::new();
    let control = folder.file("control");
    let host = own_address();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = config(host, service.local_addr().unwrap(), "").replace(
        "control = none",
        &format!("control = {}", control.display()),
    );
    let daemon = Daemon::start(host, &text);
    let member = Member::new(host, RANGE);
    let setting = Setting {
        daemon,
        member,
        service,
    };

    let status = |words: &[&str]| {
        let mut command = Command::new(program());
        let out = command
            .arg("status")
            .args(words)
            .arg("--control")
            .arg(&control);
        let out = out.output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let (client, service, seen) = setting.enter(1);
    let (address, source) = (seen.ip().to_string(), visitor(1));
    let is_session = |text: &str| text.contains(&format!("\"client_address\":\"{address}\"}}"));
    assert!(is_session(&status(&["--json"])));
    let expected = |sessions: &str| {
        format!(
            "{address} is {source} at ssh, with {sessions} now.\n\n\
             To see more: shimmer status {source}\n"
        )
    };
    assert_eq!(status(&[&address]), expected("1 session"));
    drop((client, service));
    setting.daemon.wait_for_line(" close mirage=ssh ");
    // A log is read later.
    assert_eq!(status(&[&address]), expected("no sessions"));
    let row = format!("{{\"source\":\"{source}\",\"mirage\":\"ssh\",\"sessions\":0}}");
    assert!(status(&["--json", &address]).contains(&row));
    assert!(!is_session(&status(&["--json"])));
    let nobody = status(&["127.254.254.254"]);
    assert!(nobody.contains("127.254.254.254 is not banned"), "{nobody}");
}

/// What a service with the PROXY protocol has to receive before anything else.
fn header(version: u8, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
        panic!("{from} {to}");
    };
    if version == 1 {
        let (source, dialled) = (from.ip(), to.ip());
        let ports = format!("{} {}", from.port(), to.port());
        return format!("PROXY TCP4 {source} {dialled} {ports}\r\n").into_bytes();
    }
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(from.ip().octets());
    header.extend(to.ip().octets());
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header
}

#[track_caller]
fn assert_header_then(service: &mut TcpStream, version: u8, client: &TcpStream, text: &[u8]) {
    let mut expected = header(
        version,
        client.local_addr().unwrap(),
        client.peer_addr().unwrap(),
    );
    expected.extend(text);
    let mut received = vec![0; expected.len()];
    service.read_exact(&mut received).unwrap();
    assert!(
        received == expected,
        "{:?}",
        String::from_utf8_lossy(&received[..text.len().min(120)])
    );
}

#[test]
fn the_proxy_protocol_names_both_ends_before_the_first_byte() {
    for version in [1, 2] {
        let setting = start("", &format!("client-address = proxy-v{version}\n"));
        let (mut client, mut service, seen) = setting.enter(1);
        assert_eq!(seen.ip(), Ipv4Addr::LOCALHOST);
        // The service speaks first, or the client does: the header waits for neither.
        assert_header_then(&mut service, version, &client, b"");
        service.write_all(b"welcome").unwrap();
        let mut welcome = [0; 7];
        client.read_exact(&mut welcome).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        service.read_to_end(&mut rest).unwrap();
        assert_eq!(
            (&welcome, rest.as_slice()),
            (b"welcome", b"hello".as_slice())
        );
        drop((client, service));
        // The visitor's bytes are counted, ours are not.
        let close = setting.daemon.wait_for_line(" close mirage=ssh ");
        assert!(close.contains(" bytes-in=5 bytes-out=7 "), "{close}");
    }
}

/// A service that takes little at once, and a client who has sent much before it is dialled.
#[test]
fn bulk_follows_the_header() {
    let bulk: Vec<u8> = (0..3_000_000u32).map(|byte| (byte % 249) as u8).collect();
    for (version, gate) in [(1, "port"), (2, "token")] {
        let mirage = format!("client-address = proxy-v{version}\ngate = {gate}\n");
        let setting = start("", &mirage);
        SockRef::from(&setting.service)
            .set_recv_buffer_size(4_096)
            .unwrap();
        let mut client = match gate {
            "token" => setting.member.enter_with_token(visitor(1)),
            _ => setting.member.enter(visitor(1)),
        };
        let mut writer = client.try_clone().unwrap();
        let sent = bulk.clone();
        let writes = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        let (mut service, _) = setting.service.accept().unwrap();
        service.set_read_timeout(Some(PATIENCE)).unwrap();
        let_pass(Duration::from_millis(50));
        assert_header_then(&mut service, version, &client, &bulk);
        writes.join().unwrap();
        assert_echo_back(&mut service, &mut client);
    }
}

fn assert_echo_back(service: &mut TcpStream, client: &mut TcpStream) {
    service.write_all(b"all there").unwrap();
    let mut back = [0; 9];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"all there");
}

/// Whoever is gone before the daemon looks has no address any more. Without a header the service would take what they
/// have said for this host's.
#[test]
fn who_has_gone_is_not_taken_for_this_host() {
    let setting = start("", "client-address = proxy-v1\n");
    setting.daemon.signal(libc::SIGSTOP);
    let mut client = setting.member.enter(visitor(1));
    client.write_all(b"trust me").unwrap();
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    setting.daemon.signal(libc::SIGCONT);
    let error = setting.daemon.wait_for_line(" error mirage=ssh ");
    assert!(
        error.contains(&format!(" source={} ", visitor(1))),
        "{error}"
    );
    let (mut service, _) = setting.service.accept().unwrap();
    let mut said = Vec::new();
    // Whether it is closed or reset does not matter.
    let _ = service.read_to_end(&mut said);
    assert!(said.is_empty(), "{said:?}");
    let (client, mut service, _) = setting.enter(2);
    assert_header_then(&mut service, 1, &client, b"");
}

/// Its first dials fail, so the socket that gets the header is not the first one.
#[test]
fn a_service_on_demand_is_told_as_well() {
    for (word, version) in [("loopback", 0), ("proxy-v1", 1), ("proxy-v2", 2)] {
        let host = own_address();
        // Its port is known, and nobody listens there yet.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mirage = format!("client-address = {word}\nopen-command = /bin/true\n");
        let daemon = Daemon::start(host, &(config(host, address, "") + &mirage));
        let member = Member::new(host, RANGE);
        let mut client = member.enter(visitor(1));
        client.write_all(b"hello").unwrap();
        daemon.wait_for_line(" accept mirage=ssh ");
        let service = TcpListener::bind(address).unwrap();
        let (mut service, seen) = service.accept().unwrap();
        service.set_read_timeout(Some(PATIENCE)).unwrap();
        match version {
            0 => {
                let accept = daemon.wait_for_line(" accept mirage=ssh ");
                assert!(
                    accept.ends_with(&format!(" client-address={}", seen.ip())),
                    "{accept}"
                );
                let mut hello = [0; 5];
                service.read_exact(&mut hello).unwrap();
                assert_eq!(&hello, b"hello");
            }
            _ => assert_header_then(&mut service, version, &client, b"hello"),
        }
        assert_echo_back(&mut service, &mut client);
    }
}

#[test]
fn a_service_of_ipv6_sees_this_host_and_check_says_so() {
    let service = TcpListener::bind("[::1]:0").unwrap();
    let host = own_address();
    let text = config(host, service.local_addr().unwrap(), "");
    let daemon = Daemon::start(host, &text);
    let line = daemon.wait_for_line(": forward: an IPv6 service sees one address for all visitors");
    assert!(line.contains(" warn ") && line.contains("exec"), "{line}");
    let _client = Member::new(host, RANGE).enter(visitor(1));
    let (_service, seen) = service.accept().unwrap();
    assert!(seen.ip().is_loopback(), "{seen}");
    let accept = daemon.wait_for_line(" accept mirage=ssh ");
    assert!(!accept.contains("client-address"), "{accept}");
}
