//! What a simulated daemon serves.

use crate::proto::gates::{GateSettings, KnockSettings, PacketSettings};
use crate::proto::scheme::knock::parse_sequence;
use crate::proto::scheme::schedule::{Pattern, Range};
use crate::proto::server::tests::world::mirage;
use crate::proto::settings::MirageSettings;
use crate::terms::{Door, Forward, OnDemand, Service};

/// A mirage with few ports, so that many visitors meet.
pub fn narrow(section: &str, low: u16) -> MirageSettings {
    let range = Range::new(low, low + 23).unwrap();
    let pattern = Pattern::new(range, 3, 60);
    MirageSettings {
        pattern,
        ..mirage(section, (low, low + 23))
    }
}

fn knocking() -> GateSettings {
    let mut knock = KnockSettings {
        sequence: parse_sequence("7000,7001:udp").unwrap(),
        close_sequence: parse_sequence("7001,7000").unwrap(),
        ..KnockSettings::default()
    };
    knock.rules.range = Range::new(12_000, 12_023);
    GateSettings::Knock(Box::new(knock))
}

/// A door whose commands say which mirage's it is. What no command closes ends by itself.
fn command(section: &str, is_closed: bool) -> Door {
    let command = |what: &str| format!("/bin/{what} {section} %IP%").parse().unwrap();
    let open = if is_closed {
        "open"
    } else {
        "open-for-a-while"
    };
    Door::Command {
        open: command(open),
        close: is_closed.then(|| command("close")),
    }
}

fn on_demand() -> Door {
    Door::Forward(Forward {
        to: Service::At(([127, 0, 0, 1], 23).into()),
        on_demand: Some(OnDemand {
            open: "/bin/open home service".parse().unwrap(),
            close: Some("/bin/close home service".parse().unwrap()),
            idle_s: 30,
        }),
    })
}

/// Several configurations: mirages come and go, and change their gates and doors.
pub fn configurations() -> Vec<Vec<MirageSettings>> {
    let (home, work, away) = (
        narrow("home", 10_000),
        narrow("work", 11_000),
        narrow("away", 12_000),
    );
    let set = Door::Nft {
        set: "ip/fw4/ssh".parse().unwrap(),
        port: None,
    };
    let program = Door::Forward(Forward {
        to: Service::Exec("/bin/cat".parse().unwrap()),
        on_demand: None,
    });
    let packet = GateSettings::Packet(PacketSettings::default());
    let with = |mirage: &MirageSettings, gate: GateSettings, door: Door| MirageSettings {
        gate_settings: gate,
        door,
        ..mirage.clone()
    };
    let forward = home.door.clone();
    vec![
        vec![
            home.clone(),
            with(&work, GateSettings::Token, forward.clone()),
            with(&away, knocking(), forward.clone()),
        ],
        vec![
            with(&home, GateSettings::Token, on_demand()),
            with(&away, knocking(), command("away", true)),
        ],
        vec![
            MirageSettings {
                pool_port: Some(9_000),
                ..home.clone()
            },
            with(&work, GateSettings::Port, set.clone()),
            with(&away, packet.clone(), forward),
        ],
        vec![
            with(&home, GateSettings::Port, on_demand()),
            with(&work, GateSettings::Token, command("work", true)),
            with(&away, knocking(), set),
        ],
        vec![
            with(&away, packet, program.clone()),
            with(&work, GateSettings::Port, command("work", false)),
            with(&home, GateSettings::Token, program),
        ],
    ]
}
