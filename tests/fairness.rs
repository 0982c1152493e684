//! Goal: whoever floods one port has a share of the loop's time, and no more.

use crate::common::driven::{DrivenDaemon, NOON, World};
use crate::common::*;
use shimmer::limits::TURN_ACCEPTS;
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};

/// Turns of which each finds the port's queue full.
const TURNS: usize = 20;

/// Fills the queue of a port, and says by how many visitors. They are gone at once, and wait there all the same.
fn fill(port: SocketAddr) -> usize {
    let connects = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let source = SocketAddrV4::new(visitor(1), 0);
        socket.bind(&SockAddr::from(source)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&port.into());
        // On lo the handshake is over by now, or nobody answers because the queue is full.
        socket.peer_addr().is_ok()
    };
    (0..).take_while(|_| connects()).count()
}

#[test]
fn a_port_whose_queue_is_always_full_has_the_same_share_of_each_turn() {
    let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
    let more = format!("log = {}\n", folder.file("log").display());
    let path = folder.file("shimmer.conf");
    write_private(&path, config(host, echo.address, &more));
    let daemon = DrivenDaemon::start(path, World::at(NOON), |_| {});
    let member = Member::new(host, (10_000, 10_999));
    let minute = member.pattern.minute(NOON);
    let real = member.real(minute);
    let open = || listening(host).contains(&real);
    wait_for("an open port", || open().then_some(()));
    // A stranger who knows no minute: banned at the first touch, and closed at once from then on.
    let ports = member.pattern.ports(&member.key, minute);
    let decoy = ports.into_iter().find(|&port| port != real).unwrap();
    let (port, counts) = (member.at(decoy), Arc::new(Mutex::new(Vec::new())));
    let counted = Arc::clone(&counts);
    let flood = move || counted.lock().unwrap().push(fill(port));
    daemon.change(|world| world.each_turn = Some(Box::new(flood)));
    daemon.turn(TURNS as u64);
    // Before the first turn nobody was there.
    let counts = &counts.lock().unwrap()[1..];
    assert!(counts.len() >= TURNS);
    let most = counts.iter().max().unwrap();
    // One share for the event of this turn, one for who was left in the last.
    assert!(*most <= 2 * TURN_ACCEPTS, "{counts:?}");
    assert!(*most >= TURN_ACCEPTS, "{counts:?}");
}
