//! What the daemon's log says: the time, a verb, `key=value`.

use super::{Claim, Player, Story};
use core::net::Ipv4Addr;

impl Story {
    pub(super) fn read_log(&mut self, line: &str) {
        let verb = line.split(' ').nth(1).unwrap_or_default();
        let value = |key: &str| {
            let mut words = line.split(' ');
            words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        if verb == "listen" {
            self.is_open = true;
            let (open, real) = (self.ports.open.len(), self.ports.real.len());
            let (address, range) = (self.scene.address, self.scene.range);
            let (low, high) = (range.low(), range.high());
            return self.tell(
                "daemon",
                format!(
                    "listens at {address}, ports {low}-{high}: {open} are open, {real} lead in"
                ),
            );
        }
        let Some(source) = value("source") else {
            return;
        };
        let port = value("port").and_then(|port| port.parse::<u16>().ok());
        match source.parse::<Ipv4Addr>() {
            Ok(address) if address == self.scene.scanner => self.read_scanner(verb, port),
            Ok(address) if address == self.scene.member => {
                if verb == "ban" {
                    self.disprove(Claim::GetsIn, "the member was banned".into());
                }
            }
            Ok(address) if address == self.scene.newcomer => {
                if verb == "accept" {
                    let port = port_name(port);
                    self.disprove(Claim::StaysIn, format!("{port} let a newcomer in"));
                }
            }
            _ => self.read_player(verb, source, port),
        }
    }

    fn read_scanner(&mut self, verb: &str, port: Option<u16>) {
        match (verb, port) {
            ("ban", Some(port))
                if self.ports.real.contains(&port) && self.before.real.contains(&port) =>
            {
                self.disprove(Claim::IsBanned, format!("{port}, a real port, banned"));
            }
            ("ban", port) => {
                self.scanner.note_ban(port);
                let (source, ban_s) = (self.scene.scanner, self.scene.ban_s);
                let port = port.map_or("that port".into(), |port| port.to_string());
                let what = format!("bans {source} for {ban_s} s: {port} is a trap");
                self.tell("daemon", what);
                self.check_ban();
            }
            ("unban", _) => self.scanner.note_unban(),
            ("accept", port) => self.scanner.note_accept(port),
            ("trap", _) => {
                self.scanner.note_spared();
                let what = "spares the scanner: that port was or will be real";
                self.tell("daemon", what.into());
            }
            _ => {}
        }
    }

    fn read_player(&mut self, verb: &str, source: &str, port: Option<u16>) {
        let port = port_name(port);
        let ban_s = self.scene.ban_s;
        let what = match verb {
            "accept" => format!("is in by {port}"),
            "close" => format!("was in by {port}, and has left"),
            "ban" => format!("is banned for {ban_s} s: {port} is a trap"),
            "trap" => "met a port that was or will be real: no ban".into(),
            "unban" => "is no longer banned".into(),
            _ => return,
        };
        self.tell("player", format!("{source} {what}"));
        self.player = Some(Player {
            source: source.into(),
            what,
        });
    }
}

/// A port for people. The log names none that will be real again soon.
fn port_name(port: Option<u16>) -> String {
    port.map_or("that port".into(), |port| format!("port {port}"))
}
