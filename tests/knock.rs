//! Goal: who knows what a silent gate wants to see opens it, by packets of their own; whatever else comes opens
//! nothing, and costs nobody anything. What the client sends is in `knocking.rs`.

use crate::common::gates::*;
use crate::common::silent::*;
use crate::common::*;
use shimmer::proto::scheme::knock::{Hop, Protocols};
use shimmer::sys::clock;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn three_minutes_are_live_and_no_fourth() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\n", "");
        for (number, off) in [(1, -1), (2, 0), (3, 1)] {
            setting
                .keeper
                .knock(visitor(number), &setting.sequence(off));
            setting.wait_for("open", visitor(number));
        }
        for (number, off) in [(4, -2), (5, 2)] {
            setting
                .keeper
                .knock(visitor(number), &setting.sequence(off));
            assert_eq!(setting.opened(visitor(number)), 0);
        }
        assert_eq!(setting.keeper.counter("passed"), 3);
    });
}

#[test]
fn a_wrong_knock_starts_again_and_a_doubled_one_does_no_harm() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\n", "");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        let wrong = setting.wrong();
        keeper.knock(visitor(1), &[hops[0], hops[1], wrong, hops[2]]);
        let line = setting.wait_for("wrong", visitor(1));
        assert!(line.ends_with(" knocks=2"), "{line}");
        assert_eq!(keeper.counter("passed"), 0);
        keeper.knock(visitor(1), &hops);
        setting.wait_for("open", visitor(1));

        let doubled: Vec<Hop> = hops.iter().flat_map(|&hop| [hop, hop]).collect();
        keeper.knock(visitor(2), &doubled);
        setting.wait_for("open", visitor(2));
        // Knocks from different sources do not add up.
        keeper.knock(visitor(3), &hops[..2]);
        keeper.knock(visitor(4), &hops[2..]);
        assert_eq!(keeper.counter("passed"), 2);
    });
}

/// A sequence counts as its own echo for at most half of the open-timeout, so it can be renewed afterwards.
#[test]
fn whoever_knocks_again_in_time_stays_in() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\n", "open-timeout = 4s\n");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        let seconds = || keeper.ask("status")["doors"][0]["seconds"].as_u64();
        keeper.knock(visitor(1), &hops);
        for _ in 0..2 {
            wait_for("half of the time", || (seconds() <= Some(2)).then_some(()));
            keeper.knock(visitor(1), &hops);
            assert!(seconds() > Some(2));
        }
        assert_eq!(setting.opened(visitor(1)), 1, "it was renewed");
    });
}

/// It does no harm if neighbouring packets swap places or come twice: each knock is sent twice, so one of them
/// arrives before the next knock.
#[test]
fn a_network_that_shuffles_keeps_nobody_out() {
    apart(|| {
        for (word, protocols) in [("tcp", Protocols::Tcp), ("udp", Protocols::Udp)] {
            let gate = format!("gate = knock\nprotocols = {word}\n");
            // A single wrong knock would lock the source out for longer than this test takes.
            let setting = SilentGate::new(&gate, "lock = 1h\n");
            let (keeper, member) = (&setting.keeper, &setting.member);
            let hops = member.sequence(member.minute(), KNOCKS, protocols);
            for (number, order) in (1..).zip([
                &[0, 2, 1, 4, 3, 5][..],
                &[1, 0, 3, 2, 5, 4],
                &[0, 0, 2, 2, 1, 1, 4, 4, 3, 3, 5, 5],
                // One that arrives after all the others.
                &[0, 1, 3, 4, 5, 2],
            ]) {
                let network = Shuffler::new(&hops);
                let there = network.host.to_string();
                thread::scope(|scope| {
                    scope.spawn(|| network.pass_on(keeper, visitor(number), order));
                    setting.knocks(&[NAME, &there]);
                });
                setting.wait_for("open", visitor(number));
                assert_echo(&mut member.enter(visitor(number)), "in");
            }
            assert_eq!(keeper.counter("passed"), 4, "each passed once");
            assert!(keeper.counter("sensed") >= 4);
            assert_eq!(keeper.counter("lost_packets"), 0);
            assert_eq!(keeper.daemon.count(" wrong "), 0);
        }
    });
}

#[test]
fn a_lock_ignores_its_source_silently_for_its_time() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\n", "lock = 3s\nopen-timeout = 1s\n");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        keeper.daemon.wait_for_line(" can lock you out with it");
        let begin = Instant::now();
        keeper.knock(visitor(1), &[hops[0], setting.wrong()]);
        setting.wait_for("wrong", visitor(1));
        let lines = keeper.daemon.log().len();
        keeper.knock(visitor(1), &hops);
        if begin.elapsed() < Duration::from_secs(2) {
            assert_eq!(keeper.counter("passed"), 0);
            assert_eq!(keeper.daemon.log().len(), lines);
        }
        keeper.knock(visitor(2), &hops);
        setting.wait_for("open", visitor(2));
        wait_for("the lock's end", || {
            keeper.knock(visitor(1), &hops);
            (setting.opened(visitor(1)) > 0).then_some(())
        });
        assert_took(begin, 3);
    });
}

#[test]
fn a_lock_of_all_ignores_everybody() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\n", "lock = 3s\nlock-scope = all\n");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        keeper
            .daemon
            .wait_for_line(" can lock everybody out with it");
        let begin = Instant::now();
        keeper.knock(visitor(1), &[hops[0], setting.wrong()]);
        setting.wait_for("wrong", visitor(1));
        wait_for("the lock's end", || {
            keeper.knock(visitor(2), &hops);
            (setting.opened(visitor(2)) > 0).then_some(())
        });
        assert_took(begin, 3);
    });
}

#[test]
fn a_datagram_lets_in_the_address_it_names_once_and_in_its_time() {
    apart(|| {
        let setting = SilentGate::new("gate = packet\n", "");
        let (keeper, member) = (&setting.keeper, &setting.member);
        let now = clock::unix();
        let mine = member.datagram(now, None);
        keeper.send(visitor(1), member.port(), &mine);
        setting.wait_for("open", visitor(1));
        // Whoever has captured it is too late, from any address.
        keeper.send(visitor(2), member.port(), &mine);
        let line = setting.wait_for("refuse", visitor(2));
        assert!(line.ends_with(" reason=replayed"), "{line}");

        let anothers = member.datagram(now, Some(IpAddr::V4(visitor(3))));
        keeper.send(visitor(2), member.port(), &anothers);
        setting.wait_for("open", visitor(3));
        assert_echo(&mut member.enter(visitor(3)), "in");

        let late = member.datagram(now - 3 * u64::from(STILL_S), None);
        keeper.send(visitor(4), member.port(), &late);
        let line = setting.wait_for("refuse", visitor(4));
        assert!(line.contains(" reason=clock off=2592"), "{line}");

        // Wrong port, wrong length, wrong key.
        keeper.send(
            visitor(5),
            setting.wrong().port,
            &member.datagram(now, None),
        );
        keeper.send(visitor(5), member.port(), &member.datagram(now, None)[..71]);
        let stranger = silent_member(member.host, "other", range());
        keeper.send(visitor(5), member.port(), &stranger.datagram(now, None));
        assert_eq!(keeper.counter("passed"), 2);
        assert_eq!(keeper.daemon.count("127.1.0.5"), 0);
    });
}

#[test]
fn whose_address_counts_is_configured() {
    apart(|| {
        let setting = SilentGate::new("gate = packet\n", "packet-address = sender\n");
        let (keeper, member) = (&setting.keeper, &setting.member);
        let inside = |number| member.datagram(clock::unix(), Some(IpAddr::V4(visitor(number))));
        keeper.send(visitor(1), member.port(), &inside(2));
        let line = setting.wait_for("refuse", visitor(1));
        assert!(line.ends_with(" reason=address"), "{line}");
        keeper.send(visitor(2), member.port(), &inside(2));
        setting.wait_for("open", visitor(2));

        let setting = SilentGate::new("gate = packet\n", "packet-address = inside\n");
        let (keeper, member) = (&setting.keeper, &setting.member);
        keeper.send(
            visitor(1),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        let line = setting.wait_for("refuse", visitor(1));
        assert!(line.ends_with(" reason=no-address"), "{line}");
        setting.knocks(&[NAME, "--address", "127.1.0.9"]);
        setting.wait_for("open", visitor(9));
        assert_eq!(keeper.counter("passed"), 1);
    });
}

#[test]
fn outside_from_nobody_is_let_in() {
    apart(|| {
        let inside = Ipv4Addr::new(127, 1, 8, 1);
        for gate in ["gate = packet\n", "gate = knock\n"] {
            let setting = SilentGate::new(gate, "from = 127.1.8.0/24\n");
            let (keeper, member) = (&setting.keeper, &setting.member);
            for source in [visitor(1), inside] {
                keeper.knock(source, &setting.sequence(0));
                let datagram = member.datagram(clock::unix(), None);
                keeper.send(source, member.port(), &datagram);
            }
            // The address inside counts, not the sender's.
            let forwarded = member.datagram(clock::unix(), Some(IpAddr::V4(visitor(2))));
            keeper.send(inside, member.port(), &forwarded);
            setting.wait_for("open", inside);
            assert_eq!(keeper.counter("passed"), 1);
        }
    });
}

#[test]
fn a_source_that_is_banned_elsewhere_may_knock() {
    apart(|| {
        let (host, echo) = (own_address(), Echo::start());
        let loud = format!(
            "[mirage-loud]\nsecret = {SECRET}\nrange = 20000-20999\nport = 22\n{STILL}\
             listen-address = {host}\n"
        );
        let server = format!("forward = {}\n{loud}", echo.address);
        let setting = SilentGate::with(host, echo, &(keys() + "gate = packet\n"), &server);
        let (keeper, member) = (&setting.keeper, &setting.member);
        keeper.ask("ban 127.1.0.1");
        let stranger = SocketAddr::from((host, 20_000));
        assert_eq!(
            keeper.ask("status 127.1.0.1")["mirages"][1]["right"],
            "refuse",
            "{stranger}"
        );
        keeper.send(
            visitor(1),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        setting.wait_for("open", visitor(1));
        assert_echo(&mut member.enter(visitor(1)), "in");
        assert_eq!(keeper.daemon.count(" unban "), 0);
    });
}

/// A sequence that was begun and never finished once kept the loop awake forever.
#[test]
fn an_unfinished_sequence_costs_nothing() {
    apart(|| {
        let setting = SilentGate::new("gate = knock\n", "seq-timeout = 1s\nlock = 1s\n");
        let (keeper, hops) = (&setting.keeper, setting.sequence(0));
        keeper.knock(visitor(1), &hops[..1]);
        keeper.knock(visitor(2), &[hops[0], setting.wrong()]);
        setting.wait_for("wrong", visitor(2));
        // Longer than the daemon remembers anything about them.
        let_pass(Duration::from_secs(6));
        let before = keeper.daemon.ticks();
        let_pass(Duration::from_secs(2));
        let used = keeper.daemon.ticks() - before;
        assert!(used < 20, "{used} ticks in two seconds");
    });
}

/// A reload gives the port of a silent gate to gate = port, while somebody is let in.
#[test]
fn a_port_that_was_open_to_some_is_open_to_all_after_a_reload() {
    apart(|| {
        let setting = SilentGate::new("gate = packet\n", "");
        let (keeper, member) = (&setting.keeper, &setting.member);
        keeper.send(
            visitor(1),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        setting.wait_for("open", visitor(1));
        let text = std::fs::read_to_string(keeper.daemon.config_path()).unwrap();
        keeper
            .daemon
            .reload(&text.replace("gate = packet", "gate = port"));
        keeper.daemon.wait_for_line(" reload mirages=1 ");
        setting.wait_for("shut", visitor(1));
        assert_echo(&mut member.enter(visitor(2)), "in");
        assert!(keeper.doors().is_empty());
        // And back: those who were let in are not any more.
        keeper.daemon.reload(&text);
        keeper.daemon.wait_for_lines(" reload mirages=1 ", 2);
        assert_shut(visitor(1), member.at(member.port()));
        // A new minute changes nothing for those who are in either.
        keeper.send(
            visitor(3),
            member.port(),
            &member.datagram(clock::unix(), None),
        );
        setting.wait_for("open", visitor(3));
        let mut session = member.enter(visitor(3));
        keeper.daemon.reload(&text);
        keeper.daemon.wait_for_lines(" reload mirages=1 ", 3);
        assert_echo(&mut session, "still in");
        assert_eq!(keeper.doors(), ["127.1.0.3 ssh"]);
        assert_echo(&mut member.enter(visitor(3)), "in again");
        assert_shut(visitor(4), member.at(member.port()));
    });
}
