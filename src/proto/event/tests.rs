//! Each line as it has always been: people and programs read them.

use super::*;
use crate::proto::bans::Why;
use crate::proto::scheme::knock::Protocol;
use crate::proto::time::Instant;

fn denied() -> io::Error {
    io::Error::from_raw_os_error(libc::EACCES)
}

/// libc words the errors.
fn denied_text() -> String {
    denied().to_string()
}

fn home() -> SectionName {
    "home".into()
}

fn peer() -> IpAddr {
    [192, 0, 2, 7].into()
}

fn ban() -> Ban {
    Ban {
        source: Source::of(peer()),
        last: Instant(0),
        attempts: 3,
        why: Why::Trap,
    }
}

fn touched(port: Option<u16>, clock_off_s: i64) -> Touched {
    Touched { port, clock_off_s }
}

#[test]
fn visitors() {
    let (mirage, peer) = (home(), peer());
    let says = |event: Event, line: &str, cause: Cause| {
        assert_eq!(event.to_string(), line);
        assert!(event.cause() == cause, "{line}");
    };
    let port = Some(10_443);
    says(
        Event::Accept {
            mirage: home(),
            peer,
            port,
            client_address: None,
            times: 1,
        },
        "accept mirage=home source=192.0.2.7 port=10443",
        Cause::Member,
    );
    says(
        Event::Accept {
            mirage: home(),
            peer,
            port,
            client_address: Some([127, 31, 4, 77].into()),
            times: 1,
        },
        "accept mirage=home source=192.0.2.7 port=10443 client-address=127.31.4.77",
        Cause::Member,
    );
    says(
        Event::Accept {
            mirage: home(),
            peer,
            port: None,
            client_address: None,
            times: 3,
        },
        "accept mirage=home source=192.0.2.7 times=3",
        Cause::Member,
    );
    says(
        Event::Close {
            mirage: home(),
            peer,
            port,
            bytes_in: 5,
            bytes_out: 7,
            seconds: 61,
            end: "closed",
        },
        "close mirage=home source=192.0.2.7 port=10443 bytes-in=5 bytes-out=7 seconds=61 end=closed",
        Cause::Member,
    );
    for (touched, line) in [
        (
            touched(port, 0),
            "ban source=192.0.2.7 port=10443 seconds=900 mirage=home",
        ),
        (
            touched(None, 420),
            "ban source=192.0.2.7 seconds=900 mirage=home clock-off=7m",
        ),
        (
            touched(port, -7_200),
            "ban source=192.0.2.7 port=10443 seconds=900 mirage=home clock-off=-2h",
        ),
        (
            touched(None, -90),
            "ban source=192.0.2.7 seconds=900 mirage=home clock-off=-90s",
        ),
    ] {
        let seconds = 900;
        let event = Event::Ban {
            peer,
            mirage: home(),
            touched,
            seconds,
        };
        says(event, line, Cause::Stranger);
    }
    says(
        Event::Trap {
            peer,
            mirage,
            touched: touched(None, 60),
            reason: Reason::Grace,
        },
        "trap mirage=home source=192.0.2.7 reason=grace clock-off=1m",
        Cause::Stranger,
    );
    for (by, line, cause) in [
        (
            UnbanCause::Time,
            "unban source=192.0.2.7 attempts=3",
            Cause::Stranger,
        ),
        (
            UnbanCause::Token,
            "unban source=192.0.2.7 attempts=3 by=token",
            Cause::Member,
        ),
        (
            UnbanCause::Hand,
            "unban source=192.0.2.7 attempts=3 by=hand",
            Cause::Daemon,
        ),
    ] {
        says(Event::Unban { ban: ban(), by }, line, cause);
    }
    for (what, word) in [
        (Limit::Descriptors, "descriptors"),
        (Limit::Source, "source"),
        (Limit::Sessions, "sessions"),
        (Limit::Mirage, "mirage"),
        (Limit::Nonces, "nonces"),
    ] {
        let line = format!("full source=192.0.2.7 port=10443 reason={word}");
        says(Event::Full { peer, port, what }, &line, Cause::Stranger);
    }
}

#[test]
fn lines_of_the_daemon_and_their_levels() {
    let (mirage, peer) = (home, peer());
    let open_for = OpenFor::Address(peer);
    let denied_is = denied_text();
    let table: &[(Event, Level, &str)] = &[
        (
            Event::BanByHand {
                source: Source::of(peer),
                seconds: 900,
            },
            Level::Info,
            "ban source=192.0.2.7 seconds=900 by=hand",
        ),
        (
            Event::Start { guards_files: true },
            Level::Info,
            "start sandbox=on",
        ),
        (
            Event::Start {
                guards_files: false,
            },
            Level::Info,
            "start sandbox=on landlock=no",
        ),
        (
            Event::StartOpen { reason: "commands" },
            Level::Info,
            "start sandbox=off reason=commands",
        ),
        (
            Event::Warning(Warning::CallRefused(173)),
            Level::Warn,
            "warn sandbox: system call 173 is not on the daemon's list and has failed; please report it",
        ),
        (
            Event::Warning(Warning::Restart("sandbox")),
            Level::Warn,
            "warn sandbox: a change takes effect after a restart",
        ),
        (
            Event::UnbanAll { bans: 2 },
            Level::Info,
            "unban bans=2 by=hand",
        ),
        (
            Event::DoorsFull {
                mirage: mirage(),
                peer,
                what: Limit::Openings,
            },
            Level::Warn,
            "full mirage=home source=192.0.2.7 reason=openings",
        ),
        (
            Event::DoorsFull {
                mirage: mirage(),
                peer,
                what: Limit::Admitted,
            },
            Level::Warn,
            "full mirage=home source=192.0.2.7 reason=admitted",
        ),
        (
            Event::BansFull { bans: 4_096 },
            Level::Warn,
            "warn the ban list is full, bans=4096: the oldest bans make room",
        ),
        (
            Event::PacketsLost { packets: 90 },
            Level::Warn,
            "warn the silent gates are flooded, lost-packets=90: they take 2000 packets a second",
        ),
        (
            Event::Open {
                mirage: mirage(),
                open_for,
                seconds: 30,
            },
            Level::Info,
            "open mirage=home source=192.0.2.7 seconds=30",
        ),
        (
            Event::Open {
                mirage: mirage(),
                open_for: OpenFor::Service,
                seconds: 30,
            },
            Level::Info,
            "open mirage=home service seconds=30",
        ),
        (
            Event::Shut {
                mirage: mirage(),
                open_for: OpenFor::Element(peer),
            },
            Level::Info,
            "shut mirage=home source=192.0.2.7",
        ),
        (
            Event::WrongKnock {
                mirage: mirage(),
                peer,
                knocks: 2,
            },
            Level::Info,
            "wrong mirage=home source=192.0.2.7 knocks=2",
        ),
        (
            Event::UsedKnock {
                mirage: mirage(),
                peer,
            },
            Level::Info,
            "used mirage=home source=192.0.2.7",
        ),
        (
            Event::Refuse {
                mirage: mirage(),
                peer,
                reason: DatagramRefusal::Clock(300),
            },
            Level::Info,
            "refuse mirage=home source=192.0.2.7 reason=clock off=300s",
        ),
        (
            Event::Refuse {
                mirage: mirage(),
                peer,
                reason: DatagramRefusal::Replayed,
            },
            Level::Info,
            "refuse mirage=home source=192.0.2.7 reason=replayed",
        ),
        (
            Event::Refuse {
                mirage: mirage(),
                peer,
                reason: DatagramRefusal::NoAddress,
            },
            Level::Info,
            "refuse mirage=home source=192.0.2.7 reason=no-address",
        ),
        (
            Event::Refuse {
                mirage: mirage(),
                peer,
                reason: DatagramRefusal::Address,
            },
            Level::Info,
            "refuse mirage=home source=192.0.2.7 reason=address",
        ),
        (
            Event::ServiceNotReady {
                mirage: mirage(),
                seconds: 5,
                error: "refused".into(),
            },
            Level::Error,
            "error mirage=home service: not ready within 5s: refused",
        ),
        (
            Event::CommandFailed {
                mirage: mirage(),
                open_for,
                key: "close",
                outcome: "exit=1: no".into(),
            },
            Level::Error,
            "error mirage=home source=192.0.2.7 close-command: exit=1: no",
        ),
        (
            Event::ElementTooLate {
                mirage: mirage(),
                peer,
                is_addition: false,
            },
            Level::Error,
            "error mirage=home source=192.0.2.7 nft: it took too long to take it out of the set",
        ),
        (
            Event::ElementsMissing { elements: 3 },
            Level::Warn,
            "warn nft missing=3: somebody else has changed the firewall; putting them back",
        ),
        (
            Event::RulesGone {
                mirage: mirage(),
                why: "inet shimmer home4: the table is not there".into(),
            },
            Level::Error,
            "error mirage=home rules=gone inet shimmer home4: the table is not there; to load them: \
             shimmer firewall | nft -f -",
        ),
        (
            Event::RulesBack { mirage: mirage() },
            Level::Info,
            "rules mirage=home state=back",
        ),
        (
            Event::RulesStay,
            Level::Info,
            "rules state=stay the ports behind door = nft stay closed; to open them to everybody: \
             shimmer firewall --remove | nft -f -",
        ),
        (
            Event::Rotate {
                mirage: mirage(),
                open: 48,
                opened: 16,
                closed: 15,
            },
            Level::Info,
            "rotate mirage=home open=48 opened=16 closed=15",
        ),
        (
            Event::PortClosed {
                mirage: mirage(),
                port: 10_443,
                level: Level::Debug,
                error: denied(),
            },
            Level::Debug,
            &format!("error mirage=home port=10443 cannot listen: {denied_is}"),
        ),
        (
            Event::PortOpen {
                mirage: mirage(),
                port: 10_443,
                level: Level::Error,
            },
            Level::Error,
            "listen mirage=home port=10443",
        ),
        (
            Event::KnockPortOpen(Hop {
                port: 7_000,
                protocol: Protocol::Udp,
            }),
            Level::Info,
            "listen knock at 7000:udp",
        ),
        (
            Event::Reload {
                mirages: 2,
                dropped: 1,
            },
            Level::Info,
            "reload mirages=2 dropped=1",
        ),
        (
            Event::ReloadFailed {
                error: "f:1: x".into(),
            },
            Level::Error,
            "error reload: f:1: x",
        ),
        (
            Event::LeftOpen { open: 3 },
            Level::Error,
            "error open=3 doors could not be closed",
        ),
        (Event::End, Level::Info, "end"),
        (
            Event::ClockStep { ms: -90_007 },
            Level::Warn,
            "clock step=-90.007s",
        ),
        (Event::ClockRight, Level::Info, "clock right, ports open"),
        (
            Event::ClockKeepsClosed {
                mirage: mirage(),
                time: Rfc3339 { unix_ms: 0 },
                why: "it is before this release",
            },
            Level::Warn,
            "warn clock keeps the ports of mirage=home closed: 1970-01-01T00:00:00.000Z, it is \
             before this release",
        ),
        (Event::BansLoaded { bans: 3 }, Level::Info, "state bans=3"),
        (
            Event::OpeningsLoaded { open: 1 },
            Level::Info,
            "state open=1",
        ),
        (
            Event::Orphan {
                mirage: mirage(),
                open_for: OpenFor::Service,
            },
            Level::Error,
            "error mirage=home service is open, and no mirage of this name has a close-command for \
             it; it stays recorded until one has",
        ),
        (
            Event::Warning(Warning::JournalUnread(
                "/s".into(),
                denied(),
                Ok("/a".into()),
            )),
            Level::Warn,
            &format!(
                "warn /s: {denied_is}; it is not used, and is now /a; the doors it names stay open"
            ),
        ),
        (
            Event::LeftOut { lines: 900 },
            Level::Warn,
            "warn left-out=900 seconds=10",
        ),
        (Event::Lost { lines: 2 }, Level::Warn, "warn lost-lines=2"),
        (
            Event::Warning(Warning::NoControl("/run/c".into(), "taken".into())),
            Level::Warn,
            "warn control /run/c: taken; `shimmer status` will not work",
        ),
        (
            Event::Warning(Warning::NoClientAddress([127, 31, 4, 77].into(), denied())),
            Level::Warn,
            &format!(
                "warn client-address 127.31.4.77: {denied_is}; services see 127.0.0.1 for all visitors"
            ),
        ),
        (
            Event::Warning(Warning::StateSetAside("/s".into(), "/s.damaged".into())),
            Level::Warn,
            "warn state /s is damaged; it is now /s.damaged",
        ),
        (
            Event::Warning(Warning::SetAside("/s".into(), denied(), Ok("/a".into()))),
            Level::Warn,
            &format!("warn /s: {denied_is}; it is not used, and is now /a"),
        ),
        (
            Event::Warning(Warning::SetAside("/s".into(), denied(), Err(denied()))),
            Level::Warn,
            &format!("warn /s: {denied_is}; it is not used, and cannot be renamed: {denied_is}"),
        ),
        (
            Event::Warning(Warning::StateNotWritten(denied())),
            Level::Warn,
            &format!("warn state was not written: {denied_is}"),
        ),
    ];
    for (event, level, line) in table {
        assert_eq!(event.to_string(), *line);
        assert_eq!(event.level(), *level, "{line}");
    }
}
