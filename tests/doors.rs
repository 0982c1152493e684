//! Goal: each gate works with each door. A stranger gets nothing at any of them; whoever passes the gate
//! finds the door open, alone, and closed again after its time.

use crate::common::gates::*;
use crate::common::nft::{load, nft, with_firewall};
use crate::common::*;
use shimmer::proto::scheme::knock::{Hop, Protocols};
use shimmer::sys::clock;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

/// Ports of each mirage.
const WIDTH: u16 = 200;

/// Seconds for which a door stays open.
const OPEN_S: u64 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    Port,
    Token,
    Knock(&'static str, Kind),
    Fixed,
    Packet,
}

/// A word of [`Protocols`] that can be shown and compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Tcp,
    Udp,
    Mixed,
}

impl From<Kind> for Protocols {
    fn from(word: Kind) -> Self {
        match word {
            Kind::Tcp => Self::Tcp,
            Kind::Udp => Self::Udp,
            Kind::Mixed => Self::Mixed,
        }
    }
}

const GATES: [Gate; 7] = [
    Gate::Port,
    Gate::Token,
    Gate::Knock("tcp", Kind::Tcp),
    Gate::Knock("udp", Kind::Udp),
    Gate::Knock("mixed", Kind::Mixed),
    Gate::Fixed,
    Gate::Packet,
];

impl Gate {
    fn is_silent(self) -> bool {
        !matches!(self, Self::Port | Self::Token)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Door {
    Forward,
    Exec,
    OnDemand,
    Command,
    Set,
}

impl Door {
    /// Whether whoever has passed comes to a port of the mirage.
    fn leads(self) -> bool {
        matches!(self, Self::Forward | Self::Exec | Self::OnDemand)
    }
}

/// One gate with one door.
struct Pair {
    gate: Gate,
    door: Door,
    name: String,
    member: Member,
    sequence: Vec<Hop>,
    service: Option<Service>,
    source: Ipv4Addr,
    stranger: Ipv4Addr,
    session: Option<TcpStream>,
}

impl Pair {
    fn new(number: u16, gate: Gate, door: Door, host: Ipv4Addr, folder: &Folder) -> Self {
        let gate_word = match gate {
            Gate::Knock(word, _) => format!("knock-{word}"),
            other => format!("{other:?}").to_lowercase(),
        };
        let name = format!("{gate_word}-{door:?}").to_lowercase();
        let low = 10_000 + number * WIDTH;
        let range = calm_range(&name, (low, low + WIDTH - 1));
        let member = silent_member(host, &name, range);
        let sequence = match gate {
            Gate::Knock(_, protocols) => member
                .sequence(member.minute(), 3, protocols.into())
                .to_vec(),
            Gate::Fixed => vec![tcp(7_000 + number), udp(8_000), tcp(9_000)],
            _ => Vec::new(),
        };
        Self {
            gate,
            door,
            service: (door == Door::OnDemand).then(|| Service::new(folder, &name)),
            name,
            member,
            sequence,
            source: visitor(100 + number),
            stranger: visitor(1_000 + number),
            session: None,
        }
    }

    /// Its section of the configuration.
    fn text(&self, echo: SocketAddr, folder: &Folder) -> String {
        let Self { gate, door, .. } = *self;
        let (name, host) = (&self.name, self.member.host);
        let mut text = format!("[mirage-{name}]\nlisten-address = {host}\n");
        let range = self.member.pattern.range();
        if gate != Gate::Fixed || door.leads() {
            let (low, high) = (range.low(), range.high());
            let _ = write!(text, "secret = {SECRET}\nrange = {low}-{high}\n{STILL}");
        }
        let _ = match gate {
            Gate::Port => writeln!(text, "gate = port"),
            Gate::Token => writeln!(text, "gate = token\ntrap-time = 4s"),
            Gate::Knock(word, _) => writeln!(text, "gate = knock\nprotocols = {word}"),
            Gate::Fixed => {
                let hops: Vec<String> = self.sequence.iter().map(Hop::to_string).collect();
                writeln!(text, "gate = knock\nsequence = {}", hops.join(","))
            }
            Gate::Packet => writeln!(text, "gate = packet"),
        };
        let file = folder.file(name);
        let file = file.display();
        let _ = match door {
            Door::Forward => writeln!(text, "forward = {echo}"),
            Door::Exec => writeln!(text, "exec = cat"),
            Door::OnDemand => {
                let service = self.service.as_ref().unwrap();
                writeln!(
                    text,
                    "forward = {}\nopen-command = touch {file}\nclose-command = rm {file}",
                    service.address
                )
            }
            Door::Command => writeln!(
                text,
                "door = command\nopen-command = touch {file}-%IP%\nclose-command = rm {file}-%IP%"
            ),
            Door::Set => writeln!(text, "door = nft\nopen-set = inet/shimmer-test/{name}"),
        };
        if gate.is_silent() || door != Door::Forward && door != Door::Exec {
            let _ = writeln!(text, "open-timeout = {OPEN_S}s");
        }
        text
    }

    fn at(&self) -> SocketAddr {
        self.member.at(self.member.port())
    }

    /// What somebody does who does not know the secret, but where and when.
    fn try_as_stranger(&mut self, keeper: &Gatekeeper) {
        match self.gate {
            Gate::Port => {
                let range = self.member.pattern.range();
                let loud = Member {
                    key: self.member.key.clone(),
                    pattern: shimmer::proto::scheme::schedule::Pattern::new(range, 15, STILL_S)
                        .unwrap(),
                    host: self.member.host,
                };
                loud.connect(self.stranger, loud.traps()[0]).unwrap();
            }
            Gate::Token => {
                let mut stream = self
                    .member
                    .connect(self.stranger, self.member.port())
                    .unwrap();
                stream.write_all(&[b'x'; 48]).unwrap();
                self.session = Some(stream);
            }
            Gate::Knock(..) | Gate::Fixed => {
                let mut wrong = self.sequence.clone();
                wrong.swap(0, 1);
                keeper.knock(self.stranger, &wrong);
                assert_shut(self.stranger, self.at());
            }
            Gate::Packet => {
                let mut wrong = self.member.datagram(clock::unix(), None);
                wrong[71] ^= 1;
                keeper.send(self.stranger, self.member.port(), &wrong);
                assert_shut(self.stranger, self.at());
            }
        }
    }

    /// Shows the gate what it wants to see. At the gates that want a connection, that is the session.
    fn pass(&mut self, keeper: &Gatekeeper) {
        let member = &self.member;
        self.session = match self.gate {
            Gate::Port => Some(member.enter(self.source)),
            Gate::Token => Some(member.enter_with_token(self.source)),
            Gate::Knock(..) | Gate::Fixed => {
                keeper.knock(self.source, &self.sequence);
                None
            }
            Gate::Packet => {
                let datagram = member.datagram(clock::unix(), None);
                keeper.send(self.source, member.port(), &datagram);
                None
            }
        };
    }

    fn told(&self, verb: &str) -> String {
        format!(" {verb} mirage={} source={}", self.name, self.source)
    }

    /// Passes, and finds the door open.
    fn open(&mut self, keeper: &Gatekeeper, folder: &Path) {
        self.pass(keeper);
        let daemon = &keeper.daemon;
        if self.gate.is_silent() || !self.door.leads() {
            let line = daemon.wait_for_line(&self.told("open"));
            let seconds = if self.door == Door::OnDemand {
                30
            } else {
                OPEN_S
            };
            assert!(line.ends_with(&format!(" seconds={seconds}")), "{line}");
        }
        if self.door.leads() {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => {
                    // It is open, and to nobody else.
                    assert_shut(self.stranger, self.at());
                    self.member.enter(self.source)
                }
            };
            assert_echo(&mut session, "in");
            daemon.wait_for_line(&self.told("accept"));
            self.session = Some(session);
        } else if let Some(mut session) = self.session.take() {
            // That it is closed says that the door is open.
            assert_closed(&mut session);
        }
        match self.door {
            Door::OnDemand => {
                assert!(self.service.as_ref().unwrap().runs());
                let line = format!(" open mirage={} service seconds={OPEN_S}", self.name);
                daemon.wait_for_line(&line);
            }
            Door::Command => {
                let file = folder.join(format!("{}-{}", self.name, self.source));
                assert!(file.exists(), "{}", file.display());
            }
            Door::Set => {
                assert!(self.elements().contains(&self.source.to_string()));
                let door = format!("{} {}", self.source, self.name);
                assert!(keeper.doors().contains(&door));
            }
            Door::Forward | Door::Exec => {}
        }
    }

    /// Nobody is let in any more, and who is in stays.
    fn leave(&mut self, keeper: &Gatekeeper) {
        let daemon = &keeper.daemon;
        // At a service on demand the time is the service's, and the address has its own.
        if self.gate.is_silent() && matches!(self.door, Door::Forward | Door::Exec) {
            daemon.wait_for_line(&self.told("shut"));
            assert_shut(self.source, self.at());
        }
        if let Some(mut session) = self.session.take() {
            assert_echo(&mut session, "still in");
            session.shutdown(Shutdown::Write).unwrap();
            assert_closed(&mut session);
            let line = daemon.wait_for_line(&self.told("close"));
            assert!(line.ends_with(" end=closed"), "{line}");
        }
    }

    /// What was done for it is undone.
    fn close(&mut self, keeper: &Gatekeeper, folder: &Path) {
        let daemon = &keeper.daemon;
        if let Door::Command | Door::Set = self.door {
            daemon.wait_for_line(&self.told("shut"));
        }
        match self.door {
            Door::OnDemand => {
                daemon.wait_for_line(&format!(" shut mirage={} service", self.name));
                assert!(!self.service.as_ref().unwrap().runs());
            }
            Door::Command => {
                let file = folder.join(format!("{}-{}", self.name, self.source));
                assert!(!file.exists(), "{}", file.display());
            }
            Door::Set => assert!(!self.elements().contains(&self.source.to_string())),
            Door::Forward | Door::Exec => {}
        }
    }

    fn elements(&self) -> String {
        let name = format!("{}4", self.name);
        nft(&["list", "set", "inet", "shimmer-test", &name], "").unwrap()
    }
}

/// All gates with this door, one after the other, at one daemon. With all doors at one, its log would have
/// more lines than it takes in ten seconds.
fn show(door: Door, prepare: impl FnOnce(&[Pair])) {
    stay_clear_of_its_end();
    let (host, echo, folder) = (own_address(), Echo::start(), Folder::new());
    let pair = |(number, gate)| Pair::new(number, gate, door, host, &folder);
    let mut pairs: Vec<Pair> = (0..).zip(GATES).map(pair).collect();
    prepare(&pairs);
    let texts: Vec<String> = pairs
        .iter()
        .map(|pair| pair.text(echo.address, &folder))
        .collect();
    let path = folder.0.clone();
    let keeper = Gatekeeper::start(folder, host, &texts.concat());
    for pair in &mut pairs {
        pair.try_as_stranger(&keeper);
    }
    assert_eq!(keeper.counter("accepted") + keeper.counter("passed"), 0);
    for pair in &mut pairs {
        pair.open(&keeper, &path);
    }
    for pair in &mut pairs {
        pair.leave(&keeper);
    }
    for pair in &mut pairs {
        pair.close(&keeper, &path);
    }
    for line in keeper.daemon.log() {
        let is_entry = [" open ", " accept "]
            .iter()
            .any(|verb| line.contains(verb));
        let is_strange = |pair: &Pair| line.contains(&format!("source={} ", pair.stranger));
        assert!(!is_entry || !pairs.iter().any(is_strange), "{line}");
    }
    assert_eq!(keeper.daemon.count(" error "), 0);
}

#[test]
fn each_gate_works_with_a_service() {
    apart(|| show(Door::Forward, |_| {}));
}

#[test]
fn each_gate_works_with_a_process() {
    apart(|| show(Door::Exec, |_| {}));
}

#[test]
fn each_gate_works_with_a_service_on_demand() {
    apart(|| show(Door::OnDemand, |_| {}));
}

#[test]
fn each_gate_works_with_a_command() {
    apart(|| show(Door::Command, |_| {}));
}

#[test]
fn each_gate_works_with_a_set() {
    with_firewall(|| {
        show(Door::Set, |pairs| {
            let mut text = "table inet shimmer-test {\n".to_owned();
            for Pair { name, .. } in pairs {
                let _ = write!(
                    text,
                    "set {name}4 {{ type ipv4_addr; flags timeout; }}\n\
                     set {name}6 {{ type ipv6_addr; flags timeout; }}\n"
                );
            }
            load(&(text + "}\n"));
        });
    });
}

/// What stands below `[mirage-home]`, and what `shimmer check` has to say of it.
#[test]
fn what_a_gate_or_a_door_can_not_have_is_an_error_that_says_where_it_belongs() {
    const KEYED: &str = "secret = b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai\nrange = 10000-10999\n";
    let folder = Folder::new();
    for (text, wrong) in [
        (
            "port = 22\ndoor = command\nopen-command = x\n",
            "port: has no effect here; it is for door = forward",
        ),
        (
            "forward = 192.0.2.1:22\ngate = token\ndoor = nft\nopen-set = inet/t/s\n",
            "forward: has no effect here; it is for door = forward",
        ),
        (
            "exec = cat\ngate = packet\ndoor = nft\nopen-set = inet/t/s\n",
            "exec: has no effect here; it is for door = forward",
        ),
        ("exec = cat\nport = 22\n", "is given at line "),
        (
            "exec = cat\nidle-timeout = 1h\n",
            "idle-timeout: has no effect here; it is for door = forward with port or forward",
        ),
        (
            "exec = cat\nopen-command = x\n",
            "open-command: is not needed with exec",
        ),
        (
            "port = 22\nopen-timeout = 5\n",
            "open-timeout: has no effect here; it is for silent gates",
        ),
        (
            "port = 22\ngate = knock\nlisten = pool\n",
            "listen: has no effect here; it is for gate = port or token",
        ),
        (
            "port = 22\ngate = packet\ndecoys = 3\n",
            "decoys: has no effect here; it is for gate = port or token",
        ),
        (
            "port = 22\ngate = packet\nlock = 5m\n",
            "lock: has no effect here; it is for gate = knock",
        ),
        (
            "port = 22\ngate = knock\npacket-port = 5\n",
            "packet-port: has no effect here; it is for gate = packet",
        ),
        (
            "port = 22\ngate = knock\nsequence = 7,8\nonce = yes\n",
            "once: has no effect here; it is for gate = knock without a sequence",
        ),
        (
            "gate = knock\nsequence = 7,8\ndoor = command\nopen-command = x\n",
            "secret: has no effect here; it is for gates that use a secret",
        ),
        ("door = command\n", "open-command: missing"),
        ("door = nft\n", "open-set: missing"),
        (
            "door = nft\nopen-set = inet/t/s\nclose-command = x\n",
            "close-command: has no effect here; it is for door = command",
        ),
        (
            "door = command\nopen-command = x\nopen-set = inet/t/s\n",
            "open-set: has no effect here; it is for door = nft",
        ),
        (
            "port = 22\nready-timeout = 5\n",
            "ready-timeout: has no effect here; it is for services on demand",
        ),
        (
            "port = 22\nclose-command = x\n",
            "close-command: there is nothing to close without open-command",
        ),
        (
            "door = command\nopen-command = echo %PORT%\n",
            "open-command: %PORT% is not one of %IP%, %FAMILY%",
        ),
    ] {
        let path = folder.file("wrong.conf");
        write_private(&path, format!("[mirage-home]\n{KEYED}{text}"));
        let output = Command::new(program())
            .arg("check")
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}{said}");
        assert!(
            said.contains(wrong),
            "{text}has to say: {wrong}\nbut says: {said}"
        );
    }
    // What a command opens has to be written down.
    let path = folder.file("wrong.conf");
    let text = "door = command\nopen-command = x\nclose-command = y\n";
    write_private(
        &path,
        format!("[common]\nstate-file = none\n[mirage-home]\n{KEYED}{text}"),
    );
    let output = Command::new(program())
        .arg("check")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("close-command: needs a state file"), "{said}");
}
