//! `shimmer share`: what a laptop needs to get in, to be pasted into its two files.

use crate::cli::{self, Args, Error};
use crate::config::{self, Parsed, ServerConfig};
use crate::limits::{DEFAULT_DECOYS, DEFAULT_KNOCKS, DEFAULT_PERIOD_S};
use crate::message::Message;
use crate::proto::gates::{GateSettings, HopList};
use crate::proto::scheme::knock::Protocols;
use crate::proto::scheme::packet::Admits;
use crate::proto::settings::MirageSettings;
use core::fmt;
use std::path::Path;

/// `shimmer share MIRAGE`
///
/// # Errors
/// [`Error::Configuration`] with every mistake of the daemon's configuration; [`Error::Usage`] if it has
/// no such mirage, or no host is known; [`Error::Failed`] if the secret can't be written in a line; those
/// of [`cli::print`].
pub fn main(mut args: Args) -> Result<(), Error> {
    let given = args.parsed("--host", parse_host)?;
    let file = args.value("--config")?.unwrap_or(cli::CONFIG.as_ref());
    let word = args.positional()?;
    args.finish()?;
    let Some(section) = word.map(cli::text) else {
        return Err(Error::usage(format_args!(
            "no mirage given: name a section of the configuration, such as home for [mirage-home]"
        )));
    };
    let file = Path::new(file);
    let server = super::load(file, ServerConfig::load)?;
    let mut mirages = server.mirages.iter();
    let Some(found) = mirages.find(|mirage| *mirage.settings.section == *section) else {
        let all = server.mirages.iter();
        let sections: Vec<&str> = all.map(|known| &*known.settings.section).collect();
        return Err(Error::unknown_mirage(file, section, &sections));
    };
    let mirage = &found.settings;
    let host = match (given, &mirage.plain.host) {
        (Some(host), _) => host,
        (None, Some(host)) => parse_host(host)
            .map_err(|wrong| Error::usage(format_args!("[mirage-{section}] host: {wrong}")))?,
        (None, None) => {
            return Err(Error::usage(format_args!(
                "no host given: add --host HOST, the name or address at which the laptop finds this server"
            )));
        }
    };
    let secret = match &found.secret {
        Some(secret) => as_line(secret.as_bytes()),
        None => Some(""),
    };
    let Some(secret) = secret else {
        return Err(Error::failed(format_args!(
            "the secret of {section} has bytes that secret = can't hold, or blanks at its ends. Copy its \
             secret-file to the laptop, and set secret-file = there"
        )));
    };
    let files = LaptopFiles {
        mirage,
        secret,
        host: &host,
    };
    cli::print(&files.to_string())
}

/// A host that means the same in both files: `=` and `#` are special in the one, and `%`, quotes and blanks
/// in the other.
fn parse_host(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if text.starts_with(|first: char| first != '-') && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(Message::new(format_args!(
            "a host is a name of letters A-Z a-z, digits and . _ -, or an address without brackets"
        )))
    }
}

/// The secret as the value of `secret =`. None if a terminal or that line would change it.
fn as_line(secret: &[u8]) -> Option<&str> {
    let text = str::from_utf8(secret).ok()?;
    let is_whole = !text.starts_with(' ') && !text.ends_with(' ');
    (is_whole && !text.contains(char::is_control)).then_some(text)
}

/// What belongs in the laptop's files. Settings that have their defaults are left out.
struct LaptopFiles<'a> {
    mirage: &'a MirageSettings,
    secret: &'a str,
    host: &'a str,
}

impl fmt::Display for LaptopFiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = &self.mirage.section;
        write!(
            f,
            "# For the laptop's ~/.config/shimmer.conf, which nobody else may read (chmod 600):
[mirage-{section}]
"
        )?;
        self.write_keys(f)?;
        write_gate(f, &self.mirage.gate_settings)?;
        self.write_use(f)
    }
}

impl LaptopFiles<'_> {
    fn write_keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mirage, secret, .. } = self;
        if *mirage.plain.name != *mirage.section {
            writeln!(f, "name = {}", mirage.plain.name)?;
        }
        let Some(pattern) = mirage.pattern else {
            return Ok(());
        };
        let (range, decoys) = (pattern.range(), pattern.decoys());
        let (low, high) = (range.low(), range.high());
        writeln!(f, "secret = {secret}\nrange = {low}-{high}")?;
        if decoys != DEFAULT_DECOYS && !mirage.gate().is_silent() {
            writeln!(f, "decoys = {decoys}")?;
        }
        match pattern.period() {
            DEFAULT_PERIOD_S => Ok(()),
            period => writeln!(f, "period = {}", config::format_duration(period)),
        }
    }

    /// Writes where the mirage is, and how to get in.
    fn write_use(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mirage, host, .. } = self;
        let section = &*mirage.section;
        if mirage.forward().is_none() {
            return write!(
                f,
                "door = {door}
host = {host}

# To be let in before you connect to the service itself:
#   shimmer knock {section} {host} -- ssh {host}
",
                door = mirage.door.word()
            );
        }
        // In `ssh me@home` the host is home, so home is the alias of a section me@home too.
        let alias = match section.rsplit_once('@') {
            Some((_, host)) if !host.is_empty() => host,
            _ => section,
        };
        write!(
            f,
            "host = {host}

# For its ~/.ssh/config, so that `ssh {alias}` gets in:
Host {alias}
    HostName {host}
    ProxyCommand shimmer connect {section} %h
"
        )
    }
}

/// Writes the settings of a gate that both sides need.
fn write_gate(f: &mut fmt::Formatter<'_>, settings: &GateSettings) -> fmt::Result {
    if !matches!(settings, GateSettings::Port) {
        writeln!(f, "gate = {}", settings.gate().word())?;
    }
    match settings {
        GateSettings::Knock(knock) if knock.is_fixed() => {
            writeln!(f, "sequence = {}", HopList(&knock.sequence))?;
            if !knock.close_sequence.is_empty() {
                writeln!(f, "close-sequence = {}", HopList(&knock.close_sequence))?;
            }
        }
        GateSettings::Knock(knock) => {
            if knock.knocks != DEFAULT_KNOCKS {
                writeln!(f, "knocks = {}", knock.knocks)?;
            }
            if knock.protocols != Protocols::Tcp {
                writeln!(f, "protocols = {}", knock.protocols.word())?;
            }
            if knock.rules.is_once {
                f.write_str("once = yes\n")?;
            }
        }
        GateSettings::Packet(packet) => {
            if let Some(port) = packet.port {
                writeln!(f, "packet-port = {port}")?;
            }
            // The other values concern the server alone.
            if packet.address == Admits::Inside {
                f.write_str("packet-address = inside\n")?;
            }
        }
        GateSettings::Port | GateSettings::Token => {}
    }
    Ok(())
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
