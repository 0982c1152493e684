//! `shimmer check`: what the daemon would serve, or why it would not start; and with `--needs`, for an
//! init script, what the system has to give it.

use crate::cli::{self, Args, Error, warn};
use crate::config::{ServerConfig, ServerMirage, capabilities};
use crate::proto::gates::{GateSettings, HopList, PacketSettings};
use crate::terms::{Door, Service};
use core::fmt::{self, Write};
use std::path::Path;

/// `shimmer check [FILE]`
///
/// # Errors
/// [`Error::Configuration`] with every mistake of the file; those of [`cli::print`].
pub fn main(mut args: Args) -> Result<(), Error> {
    let shows_needs = args.flag("--needs");
    let file = match args.value("--config")? {
        Some(file) => Some(file),
        None => args.word()?,
    };
    args.end()?;
    let file = Path::new(file.unwrap_or(cli::CONFIG.as_ref()));
    let server = super::load(file, ServerConfig::load)?;
    for warning in &server.warnings {
        warn(format_args!("{warning}"));
    }
    if shows_needs {
        return cli::print(&needs(&server.mirages));
    }
    let mut text = format!("{}: ok\n", file.display());
    for mirage in &server.mirages {
        summarise(&mut text, mirage);
    }
    cli::print(&text)
}

/// A line for each thing, a word and its value.
fn needs(mirages: &[ServerMirage]) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    for capability in capabilities(mirages) {
        let _ = writeln!(text, "capability {}", capability.word());
    }
    for mirage in mirages {
        if let Some(bound) = mirage.bound() {
            let (low, high) = (bound.low(), bound.high());
            let _ = writeln!(text, "open tcp {low}-{high}\nreserve {low}-{high}");
        }
    }
    if mirages.iter().any(|mirage| mirage.pool_port.is_some()) {
        text.push_str("redirect\n");
    }
    let has_rules = |mirage: &ServerMirage| {
        mirage.gate().is_silent() || matches!(mirage.door, Door::Nft { .. })
    };
    if mirages.iter().any(has_rules) {
        text.push_str("rules\n");
    }
    if mirages
        .iter()
        .any(|mirage| mirage.commands().next().is_some())
    {
        text.push_str("root\n");
    }
    text
}

/// Adds what a visitor of the mirage needs to know and where it leads.
fn summarise(text: &mut String, mirage: &ServerMirage) {
    // Writing to a String can't fail.
    let _ = write!(text, "\n[mirage-{}]\n", mirage.section);
    let gate = mirage.gate();
    if let Some(keyed) = &mirage.keyed {
        let pattern = keyed.pattern;
        let (range, decoys) = (pattern.range(), pattern.decoys());
        let _ = write!(
            text,
            "  name     {}\n  range    {}-{}, {} ports\n  ports    ",
            mirage.plain.name,
            range.low(),
            range.high(),
            range.count(),
        );
        let period = pattern.period();
        let _ = if gate.is_silent() {
            writeln!(text, "another each {period} s, and none is open before")
        } else {
            let ports = decoys + 1;
            writeln!(
                text,
                "{ports} each {period} s: the real one and {decoys} traps"
            )
        };
    }
    let _ = writeln!(text, "  gate     {}", Gateway(&mirage.gate_settings));
    let _ = match &mirage.door {
        Door::Forward(forward) => match &forward.to {
            Service::Exec(command) => writeln!(text, "  leads to {command}, one for each visitor"),
            service => writeln!(text, "  leads to {service}"),
        },
        Door::Command { open, .. } => writeln!(text, "  runs     {open}"),
        Door::Nft { set, .. } => writeln!(text, "  adds to  {set}"),
    };
    if let Some(service) = mirage.forward().and_then(|to| to.on_demand.as_ref()) {
        let _ = writeln!(text, "  started  by {}", service.open);
    }
    text.push_str("  listens  on");
    if mirage.plain.listen.is_empty() {
        text.push_str(" all addresses");
    }
    for address in &mirage.plain.listen {
        let _ = write!(text, " {address}");
    }
    if let Some(port) = mirage.pool_port {
        let _ = write!(
            text,
            ", at port {port} for the whole range: see shimmer firewall"
        );
    }
    text.push('\n');
}

/// A gate in a few words.
struct Gateway<'a>(&'a GateSettings);

impl fmt::Display for Gateway<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.gate().word())?;
        match self.0 {
            GateSettings::Knock(knock) if knock.is_fixed() => {
                f.write_str(": ")?;
                HopList(&knock.sequence).fmt(f)
            }
            GateSettings::Knock(knock) => {
                write!(f, ": {} ports of the minute in their order", knock.knocks)
            }
            GateSettings::Packet(PacketSettings {
                port: Some(port), ..
            }) => write!(f, ": a datagram to port {port}"),
            GateSettings::Packet(_) => f.write_str(": a datagram to the minute's port"),
            GateSettings::Port | GateSettings::Token => Ok(()),
        }
    }
}
