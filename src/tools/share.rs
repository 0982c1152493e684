//! `shimmer share`: what a laptop needs to get in, ready to be pasted into its two files.

use crate::cli::{self, Args, Error};
use crate::config::{self, Parsed, ServerConfig, ServerMirage};
use crate::limits::{DEFAULT_DECOYS, DEFAULT_KNOCKS, DEFAULT_PERIOD_S};
use crate::message::Message;
use crate::proto::gates::{GateSettings, HopList};
use crate::proto::scheme::knock::Protocols;
use crate::proto::scheme::packet::Admits;
use core::fmt::Write;
use std::path::Path;

/// `shimmer share MIRAGE`
///
/// # Errors
/// [`Error::Configuration`] with every mistake of the daemon's configuration; [`Error::Usage`]
/// if it has no such mirage, or there is no host; [`Error::Failed`] if the secret fits into no
/// line; those of [`cli::print`].
pub fn main(mut args: Args) -> Result<(), Error> {
    let given = args.parsed("--host", parse_host)?;
    let file = args.value("--config")?.unwrap_or(cli::CONFIG.as_ref());
    let word = args.word()?;
    args.end()?;
    let Some(section) = word.map(cli::text) else {
        return Err(Error::usage(format_args!(
            "no mirage given: name a section of the configuration, such as home for [mirage-home]"
        )));
    };
    let file = Path::new(file);
    let server = super::load(file, ServerConfig::load)?;
    let mut mirages = server.mirages.iter();
    let Some(mirage) = mirages.find(|mirage| mirage.section == section) else {
        let sections: Vec<&str> = server.mirages.iter().map(|known| &*known.section).collect();
        return Err(Error::unknown_mirage(file, section, &sections));
    };
    let host = match (given, &mirage.plain.host) {
        (Some(host), _) => host,
        (None, Some(host)) => parse_host(host)
            .map_err(|wrong| Error::usage(format_args!("[mirage-{section}] host: {wrong}")))?,
        (None, None) => {
            return Err(Error::usage(format_args!(
                "by which name or address does the laptop find this server? Give --host HOST"
            )));
        }
    };
    let secret = match &mirage.keyed {
        Some(keyed) => as_line(keyed.secret.as_bytes()),
        None => Some(""),
    };
    let Some(secret) = secret else {
        return Err(Error::failed(format_args!(
            "the secret of {section} has bytes that `secret =` can't hold, or blanks at its ends; \
             copy its secret-file to the laptop, and give it there as secret-file ="
        )));
    };
    cli::print(&lines(mirage, secret, &host))
}

/// A host that can stand in either file: in the one `=` and `#` mean something else, in the other
/// `%`, quotes and blanks.
fn parse_host(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if text.starts_with(|first: char| first != '-') && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(Message::new(format_args!(
            "a host is a name of letters A-Z a-z, digits and . _ - or an address without brackets"
        )))
    }
}

/// The secret as text that comes through a terminal and `secret = …` as it is, if it does.
fn as_line(secret: &[u8]) -> Option<&str> {
    let text = str::from_utf8(secret).ok()?;
    let is_whole = !text.starts_with(' ') && !text.ends_with(' ');
    (is_whole && !text.contains(char::is_control)).then_some(text)
}

/// What is to be pasted. What the laptop takes for granted is left out.
fn lines(mirage: &ServerMirage, secret: &str, host: &str) -> String {
    let section = &*mirage.section;
    let mut text = format!(
        "# For the laptop's ~/.config/shimmer.conf, which nobody else may read (chmod 600):
[mirage-{section}]
"
    );
    // Writing to a String can't fail.
    if mirage.plain.name != section {
        let _ = writeln!(text, "name = {}", mirage.plain.name);
    }
    if let Some(keyed) = &mirage.keyed {
        let pattern = keyed.pattern;
        let (low, high) = (pattern.range().low(), pattern.range().high());
        let _ = write!(text, "secret = {secret}\nrange = {low}-{high}\n");
        if pattern.decoys() != DEFAULT_DECOYS && !mirage.gate().is_silent() {
            let _ = writeln!(text, "decoys = {}", pattern.decoys());
        }
        if pattern.period() != DEFAULT_PERIOD_S {
            let _ = writeln!(text, "period = {}", config::duration(pattern.period()));
        }
    }
    push_gate(&mut text, &mirage.gate_settings);
    let door = mirage.door.word();
    if mirage.forward().is_none() {
        let _ = write!(
            text,
            "door = {door}
host = {host}

# To be let in, before whatever you come for:
#   shimmer knock {section} {host} -- ssh {host}
"
        );
        return text;
    }
    // In `ssh me@home` the host is home, so a section of that name is meant by it, too.
    let behind_at = section.bytes().rposition(|byte| byte == b'@');
    let alias = match &section[behind_at.map_or(0, |at| at + 1)..] {
        "" => section,
        behind => behind,
    };
    let _ = write!(
        text,
        "host = {host}

# For its ~/.ssh/config, so that `ssh {alias}` gets in:
Host {alias}
    HostName {host}
    ProxyCommand shimmer connect {section} %h
"
    );
    text
}

/// Adds what both sides have to know of a gate.
fn push_gate(text: &mut String, gate: &GateSettings) {
    if !matches!(gate, GateSettings::Port) {
        let _ = writeln!(text, "gate = {}", gate.gate().word());
    }
    match gate {
        GateSettings::Knock(knock) if knock.is_fixed() => {
            let _ = writeln!(text, "sequence = {}", HopList(&knock.sequence));
            if !knock.close_sequence.is_empty() {
                let _ = writeln!(text, "close-sequence = {}", HopList(&knock.close_sequence));
            }
        }
        GateSettings::Knock(knock) => {
            if knock.knocks != DEFAULT_KNOCKS {
                let _ = writeln!(text, "knocks = {}", knock.knocks);
            }
            if knock.protocols != Protocols::Tcp {
                let _ = writeln!(text, "protocols = {}", knock.protocols.word());
            }
            if knock.rules.is_once {
                text.push_str("once = yes\n");
            }
        }
        GateSettings::Packet(packet) => {
            if let Some(port) = packet.port {
                let _ = writeln!(text, "packet-port = {port}");
            }
            // The others are the server's business alone.
            if packet.address == Admits::Inside {
                text.push_str("packet-address = inside\n");
            }
        }
        GateSettings::Port | GateSettings::Token => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_means_the_same_in_both_files() {
        for host in ["example.org", "192.0.2.7", "2001:db8::7", "a-b_c.local"] {
            assert_eq!(parse_host(host), Ok(host.to_owned()));
        }
        for host in [
            "",
            "-x",
            "a b",
            "a\tb",
            "a\nb",
            "a%h",
            "fe80::1%eth0",
            "a#b",
            "a;b",
            "a=b",
            "a\"b",
            "[::1]",
            "a,b",
            "a/b",
            "b\u{fc}cher.example",
            "a*",
        ] {
            assert!(parse_host(host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_secret_is_a_line_if_nothing_of_it_is_lost_on_the_way() {
        for secret in ["a", "# a = b ; c", "a  b", "\"a\"", "\u{fc}", "[a]"] {
            assert_eq!(as_line(secret.as_bytes()), Some(secret));
        }
        for secret in [
            " a", "a ", "\ta", "a\t", "a\tb", "a\r", "a\rb", "a\x1bb", "a\u{85}",
        ] {
            assert_eq!(as_line(secret.as_bytes()), None, "{secret}");
        }
        assert_eq!(as_line(b"\xFF\xFE"), None);
    }
}
