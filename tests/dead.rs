//! Clients that vanish without a word, as a laptop does that loses power: their sessions make room for their owner.
//! Sessions whose clients are there never do, however long nothing is said.

use crate::common::gates::apart;
use crate::common::*;
use shimmer::limits::DEAD_MS;
use shimmer::sys::filter;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A session's two ends.
type Ends = (TcpStream, TcpStream);

fn serve(host: Ipv4Addr) -> (Daemon, Member, TcpListener) {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = "max-sessions-per-source = 3";
    let text = config(host, service.local_addr().unwrap(), more);
    let member = Member::new(host, (10_000, 10_999));
    (Daemon::start(host, &text), member, service)
}

fn assert_moves((client, service): &mut Ends) {
    service.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut byte = [0];
    client.write_all(b"a").unwrap();
    service.read_exact(&mut byte).unwrap();
    service.write_all(b"b").unwrap();
    client.read_exact(&mut byte).unwrap();
}

#[test]
fn a_session_without_its_client_makes_room_for_its_owner_and_no_other_does() {
    apart(|| {
        let host = own_address();
        let (daemon, member, service) = serve(host);
        let mut sessions: Vec<Ends> = (0..3)
            .map(|_| {
                let client = member.enter(visitor(1));
                (client, service.accept().unwrap().0)
            })
            .collect();
        sessions.iter_mut().for_each(assert_moves);
        assert_closed(&mut member.enter(visitor(1)));
        daemon.wait_for_line("full source=127.1.0.1");
        // One does not read. Its kernel says so again and again, so it is there.
        let (mut paused, mut flood) = sessions.remove(0);
        flood.set_nonblocking(true).unwrap();
        while flood.write(&[0; 65_536]).is_ok() {}
        // From now on another gets nothing, so it acknowledges nothing. That needs CAP_NET_ADMIN.
        let mut dead = sessions.remove(0);
        filter::admit_only(&dead.0, &[]).unwrap();
        dead.1.write_all(b"who is there?").unwrap();
        let begin = Instant::now();
        // Whoever is not let in sees the end at once.
        let newcomer = wait_for("a place", || {
            let client = member.enter(visitor(1));
            service.set_nonblocking(true).unwrap();
            let_pass(Duration::from_millis(200));
            let (service, _) = service.accept().ok()?;
            service.set_nonblocking(false).unwrap();
            Some((client, service))
        });
        assert!(begin.elapsed() >= Duration::from_millis(DEAD_MS));
        let line = daemon.wait_for_line(" close ");
        assert!(line.ends_with(" end=dead"), "{line}");
        assert!(line.contains(" bytes-in=1 bytes-out=14 "), "{line}");
        // The service is told by a reset.
        dead.1.set_read_timeout(Some(PATIENCE)).unwrap();
        let error = dead.1.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        sessions.push(newcomer);
        sessions.iter_mut().for_each(assert_moves);
        // The three that are left are alive.
        assert_closed(&mut member.enter(visitor(1)));
        assert_eq!(daemon.count(" close "), 1);
        paused.read_exact(&mut [0; 65_536]).unwrap();
    });
}
