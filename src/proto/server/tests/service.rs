//! The hidden service: dials that fail, and one that is started when somebody comes.

use super::shell::{Body, Dial, Dialled};
use super::world::{World, but, home, mirage};
use crate::proto::conn::ConnId;
use crate::proto::gates::GateSettings;
use crate::proto::input::End;
use crate::proto::settings::MirageSettings;
use crate::terms::{ClientAddress, Door, Forward, OnDemand, ProxyVersion, Service};

const MEMBER: &str = "203.0.113.5";
const OTHER: &str = "203.0.113.6";

/// What is started when somebody comes, and ended a minute after its last session.
fn on_demand(port: u16) -> Door {
    let on_demand = OnDemand {
        open: "/bin/start".parse().unwrap(),
        close: Some("/bin/stop".parse().unwrap()),
        idle_s: 60,
    };
    Door::Forward(Forward {
        to: Service::At(([127, 0, 0, 1], port).into()),
        on_demand: Some(on_demand),
    })
}

fn lazy() -> MirageSettings {
    MirageSettings {
        door: on_demand(22),
        ..home()
    }
}

fn come(world: &mut World, peer: &str) -> ConnId {
    let conn = world.visit(peer, world.real("home")).unwrap();
    world.turn();
    conn
}

/// A member for whom the service was started, which takes them.
fn started() -> (World, ConnId) {
    let mut world = World::serving(&[lazy()]);
    world.shell.dials = [Dial::Refused, Dial::Accepted].into();
    let conn = come(&mut world, MEMBER);
    world.end_job(None);
    world.pass(100);
    assert_eq!(world.shell.body(conn), Some(Body::Link(Dialled::Open)));
    world.shell.trace.clear();
    (world, conn)
}

#[test]
fn a_service_that_takes_nobody_ends_the_session() {
    let mut world = World::serving(&[home()]);
    world.shell.dials = [Dial::Refused].into();
    world.visit(MEMBER, world.real("home")).unwrap();
    let expected = [
        "> dial",
        "accept source=203.0.113.5",
        "error mirage=home source=203.0.113.5 service:",
        "close source=203.0.113.5 end=no-service",
        "> close",
    ];
    world.assert_trace(&expected);
}

#[test]
fn a_service_has_ten_seconds() {
    let mut world = World::serving(&[home()]);
    let conn = world.visit(MEMBER, world.real("home")).unwrap();
    world.pass(9_999);
    assert_eq!(world.counts(), (0, 1));
    world.shell.trace.clear();
    world.pass(1);
    world.assert_trace(&[
        "error service: timed out",
        "close seconds=10 end=no-service",
        "> close",
    ]);
    assert_eq!(world.shell.body(conn), None);
}

#[test]
fn the_first_who_comes_starts_it_and_all_wait() {
    let mut world = World::serving(&[lazy()]);
    world.shell.dials = [Dial::Refused, Dial::Refused].into();
    let conns = [MEMBER, OTHER].map(|peer| come(&mut world, peer));
    let expected = [
        "> dial",
        "accept source=203.0.113.5",
        "> journal",
        "> run /bin/start",
        "> dial",
        "accept source=203.0.113.6",
    ];
    world.assert_trace(&expected);
    assert!(conns.iter().all(|&conn| world.is_waiting(conn)));
    assert_eq!(world.shell.journal, ["/bin/stop"]);
    world.end_job(None);
    world.shell.dials = [Dial::Accepted, Dial::Accepted].into();
    world.pass(100);
    world.assert_trace(&["open mirage=home service seconds=60", "> dial", "> dial"]);
    assert!(!conns.iter().any(|&conn| world.is_waiting(conn)));
}

#[test]
fn one_that_can_not_be_written_down_is_not_started_and_all_who_wait_end() {
    let mut world = World::serving(&[lazy()]);
    world.shell.is_disk_full = true;
    world.shell.dials = [Dial::Refused, Dial::Refused].into();
    come(&mut world, MEMBER);
    world.turn();
    world.assert_trace(&[
        "> dial",
        "accept source=203.0.113.5",
        "> journal",
        "error mirage=home service open-command: not run, because",
        "error mirage=home source=203.0.113.5 service:",
        "close end=no-service",
        "> close",
    ]);
    assert!(world.shell.jobs.is_empty() && world.shell.bodies.is_empty());
}

#[test]
fn one_that_is_not_ready_in_time_ends_the_session() {
    let mut world = World::serving(&[lazy()]);
    world.shell.dials = [Dial::Refused; 60].into();
    let conn = come(&mut world, MEMBER);
    world.end_job(None);
    world.pass(4_999);
    assert!(world.is_waiting(conn));
    world.shell.trace.clear();
    world.pass(1);
    let expected = [
        "> dial",
        "error mirage=home service: not ready within 5s:",
        "error mirage=home source=203.0.113.5 service:",
        "close end=no-service",
        "> close",
        "> journal",
    ];
    world.assert_trace(&expected);
    // It runs, so it is ended in its time.
    world.pass(60_000);
    assert_eq!(&world.shell.jobs[0].1[..], ["/bin/stop"]);
}

#[test]
fn if_it_can_not_be_started_those_who_wait_end_one_a_tick() {
    let mut world = World::serving(&[lazy()]);
    world.shell.dials = [Dial::Refused; 3].into();
    for peer in [MEMBER, OTHER, "203.0.113.7"] {
        come(&mut world, peer);
    }
    world.shell.trace.clear();
    world.end_job(Some("exit=1"));
    world.assert_trace(&["error mirage=home service open-command: exit=1"]);
    for left in [2, 1, 0] {
        assert_eq!(world.core.deadline(), Some(crate::proto::Instant(0)));
        assert!(world.tick());
        world.assert_trace(&["error service:", "close end=no-service", "> close"]);
        assert_eq!(world.counts(), (0, left));
    }
}

#[test]
fn it_is_ended_a_while_after_its_last_session() {
    let (mut world, conn) = started();
    world.pass(600_000);
    assert!(world.shell.jobs.is_empty());
    world.end(conn, End::Closed);
    world.pass(59_000);
    // Somebody comes in time.
    let again = world.join(OTHER, "home");
    world.pass(60_000);
    assert!(world.shell.jobs.is_empty());
    world.end(again, End::Closed);
    world.pass(59_999);
    assert!(world.shell.jobs.is_empty());
    world.pass(1);
    assert_eq!(&world.shell.jobs[0].1[..], ["/bin/stop"]);
    world.shell.trace.clear();
    world.end_job(None);
    world.turn();
    world.assert_trace(&["shut mirage=home service", "> journal"]);
    assert!(world.shell.journal.is_empty());
}

#[test]
fn one_that_has_died_is_started_again() {
    let (mut world, conn) = started();
    world.end(conn, End::Closed);
    world.shell.dials = [Dial::Refused, Dial::Accepted].into();
    world.shell.trace.clear();
    let conn = come(&mut world, OTHER);
    world.assert_trace(&["> dial", "accept", "> journal", "> run /bin/start"]);
    world.end_job(None);
    world.pass(100);
    assert_eq!(world.shell.body(conn), Some(Body::Link(Dialled::Open)));
}

#[test]
fn one_that_comes_while_it_is_ended_has_it_started_again() {
    let (mut world, conn) = started();
    world.end(conn, End::Closed);
    world.pass(60_000);
    world.shell.dials = [Dial::Refused, Dial::Refused].into();
    let conn = come(&mut world, MEMBER);
    world.end_job(None);
    world.pass(100);
    assert_eq!(&world.shell.jobs[0].1[..], ["/bin/start"]);
    world.end_job(None);
    world.shell.dials = [Dial::Accepted].into();
    world.pass(100);
    assert_eq!(world.shell.body(conn), Some(Body::Link(Dialled::Open)));
}

#[test]
fn an_answer_after_the_dial_was_given_up_counts() {
    let mut world = World::serving(&[but(lazy(), |plain| plain.ready_s = 30)]);
    // A machine that has to wake up.
    let conn = come(&mut world, MEMBER);
    world.pass(10_000);
    assert!(world.is_waiting(conn));
    world.take_dial(conn);
    assert!(!world.is_waiting(conn));
    world.pass(60_000);
    assert_eq!(world.counts(), (0, 1));
}

#[test]
fn who_waits_is_dialled_to_where_the_service_is_by_then() {
    let mut world = World::serving(&[lazy()]);
    world.shell.dials = [Dial::Refused].into();
    come(&mut world, MEMBER);
    world.reload(&[MirageSettings {
        door: on_demand(23),
        ..lazy()
    }]);
    world.shell.trace.clear();
    world.pass(100);
    world.assert_trace(&["> dial 127.0.0.1:23"]);
}

#[test]
fn who_waits_for_one_that_is_no_longer_served_ends() {
    let mut world = World::serving(&[lazy()]);
    world.shell.dials = [Dial::Refused].into();
    let conn = come(&mut world, MEMBER);
    world.reload(&[mirage("work", (11_000, 11_999))]);
    world.shell.trace.clear();
    world.pass(100);
    world.assert_trace(&[
        "error mirage=home service:",
        "close mirage=home end=no-service",
        "> close",
        "> journal",
    ]);
    assert_eq!(world.shell.body(conn), None);
}

#[test]
fn a_dial_again_without_a_descriptor_waits_on() {
    let mut world = World::serving(&[lazy()]);
    world.shell.dials = [Dial::Refused, Dial::Short, Dial::Accepted].into();
    let conn = come(&mut world, MEMBER);
    world.end_job(None);
    world.pass(100);
    assert!(world.is_waiting(conn));
    world.pass(100);
    assert_eq!(world.shell.body(conn), Some(Body::Link(Dialled::Open)));
    assert_eq!(world.core.counters().accepted, 1);
}

#[test]
fn one_who_could_not_be_joined_to_it_does_not_keep_it() {
    let mut world = World::serving(&[MirageSettings {
        gate_settings: GateSettings::Token,
        ..lazy()
    }]);
    let said = |world: &mut World, nonce| {
        let conn = world.visit(OTHER, world.real("home")).unwrap();
        (conn, world.token("home", nonce))
    };
    let (first, token) = said(&mut world, 1);
    world.shell.dials = [Dial::Refused, Dial::Brief].into();
    world.say(first, Some(token));
    world.turn();
    world.end_job(None);
    world.pass(100);
    // The first place that is wanted is that of a member, whose session is over before the other has none.
    let (brief, token) = said(&mut world, 2);
    world.shell.unread.push((brief, token));
    let (failing, token) = said(&mut world, 3);
    said(&mut world, 4);
    world.shell.dials = [Dial::Short, Dial::Short, Dial::Brief, Dial::Failed].into();
    world.say(failing, Some(token));
    assert_eq!(world.counts(), (0, 0));
    world.pass(60_000);
    assert_eq!(&world.shell.jobs[0].1[..], ["/bin/stop"]);
}

fn seen(
    mut mirage: MirageSettings,
    to: &str,
    client_address: Option<ClientAddress>,
) -> MirageSettings {
    mirage.plain.client_address = client_address;
    mirage.door = Door::Forward(Forward {
        to: Service::At(to.parse().unwrap()),
        on_demand: None,
    });
    mirage
}

#[test]
fn a_service_sees_each_source_at_an_address_of_its_own() {
    let local = "127.0.0.1:22";
    let mut world = World::serving(&[
        home(),
        seen(
            mirage("same", (20_000, 20_999)),
            local,
            Some(ClientAddress::Loopback),
        ),
    ]);
    let mut address_of = |peer: &str, section: &str| {
        let conn = world.join(peer, section);
        let address = world.core.conns.get(conn).unwrap().client_address.unwrap();
        let (dial, accept) = (
            format!("> dial from {address}"),
            format!("accept client-address={address}"),
        );
        world.assert_trace(&[&dial, &accept]);
        address
    };
    let member = address_of(MEMBER, "home");
    assert_eq!(address_of(MEMBER, "home"), member);
    assert_ne!(address_of(OTHER, "home"), member);
    assert_ne!(address_of(MEMBER, "same"), member);
    let neighbours = ["2001:db8::1", "2001:db8::2"].map(|peer| address_of(peer, "home"));
    assert_eq!(neighbours[0], neighbours[1]);
}

#[test]
fn a_service_elsewhere_or_that_is_told_otherwise_sees_what_it_is_told() {
    use ClientAddress::{Loopback, Plain, Proxy};
    for (to, how, told) in [
        ("127.0.0.1:22", None, "from"),
        ("192.0.2.9:22", None, "from"),
        ("[::1]:22", None, ""),
        ("127.0.0.1:22", Some(Loopback), "from"),
        ("127.0.0.1:22", Some(Plain), ""),
        ("127.0.0.1:22", Some(Proxy(ProxyVersion::V1)), "header V1"),
        ("[::1]:22", Some(Proxy(ProxyVersion::V2)), "header V2"),
    ] {
        let mut world = World::serving(&[seen(home(), to, how)]);
        world.join(MEMBER, "home");
        let dial = world.shell.trace.remove(0);
        let rest = dial
            .strip_prefix(&format!("> dial {to}"))
            .unwrap()
            .trim_start();
        assert!(
            rest.starts_with(told) && rest.is_empty() == told.is_empty(),
            "{dial}"
        );
    }
}

#[test]
fn it_is_remembered_whom_an_address_stands_for() {
    let mut world = World::serving(&[home()]);
    let conn = world.join(MEMBER, "home");
    let address = world.core.conns.get(conn).unwrap().client_address.unwrap();
    world.join(OTHER, "home");
    let told = |world: &World| {
        let clients = world.core.clients_at(address);
        let told = clients
            .iter()
            .map(|it| format!("{} {} {}", it.source, it.mirage, it.sessions));
        told.collect::<Vec<_>>()
    };
    assert_eq!(told(&world), ["203.0.113.5 home 1"]);
    let again = world.join(MEMBER, "home");
    assert_eq!(told(&world), ["203.0.113.5 home 2"]);
    for conn in [conn, again] {
        world.end(conn, End::Closed);
    }
    assert_eq!(told(&world), ["203.0.113.5 home 0"]);
    assert!(world.core.clients_at([127, 0, 0, 1].into()).is_empty());
}
