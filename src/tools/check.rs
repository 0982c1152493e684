//! `shimmer check`: what the daemon would serve, or every mistake that keeps it from starting. `--needs`
//! prints for an init script what the system has to give it.

use crate::cli::{self, Args, Error, warn};
use crate::config::{ServerConfig, ServerMirage, capabilities};
use crate::proto::gates::{GateSettings, HopList, PacketSettings};
use crate::proto::scheme::schedule::Pattern;
use crate::proto::settings::MirageSettings;
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
        None => args.positional()?,
    };
    args.finish()?;
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
        // Writing to a String can't fail.
        let _ = write!(text, "{}", MirageSummary(&mirage.settings));
    }
    cli::print(&text)
}

/// What `--needs` prints: a line for each thing, its kind and its value.
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
    if mirages
        .iter()
        .any(|mirage| mirage.settings.pool_port.is_some())
    {
        text.push_str("redirect\n");
    }
    let is_silent = |mirage: &ServerMirage| mirage.settings.gate().is_silent();
    let has_set = |mirage: &ServerMirage| matches!(mirage.settings.door, Door::Nft { .. });
    let has_sets = mirages.iter().any(has_set);
    if has_sets || mirages.iter().any(is_silent) {
        text.push_str("rules\n");
    }
    if has_sets {
        text.push_str("doors\n");
    }
    if mirages
        .iter()
        .any(|mirage| mirage.commands().next().is_some())
    {
        text.push_str("root\n");
    }
    text
}

/// What the daemon serves for a mirage, in lines.
struct MirageSummary<'a>(&'a MirageSettings);

impl fmt::Display for MirageSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mirage = self.0;
        writeln!(f, "\n[mirage-{}]", mirage.section)?;
        if let Some(pattern) = mirage.pattern {
            writeln!(f, "  name     {}", mirage.plain.name)?;
            self.fmt_ports(f, pattern)?;
        }
        writeln!(f, "  gate     {}", GateSummary(&mirage.gate_settings))?;
        self.fmt_door(f)?;
        self.fmt_addresses(f)
    }
}

impl MirageSummary<'_> {
    fn fmt_ports(&self, f: &mut fmt::Formatter<'_>, pattern: Pattern) -> fmt::Result {
        let range = pattern.range();
        let (low, high, count) = (range.low(), range.high(), range.count());
        writeln!(f, "  range    {low}-{high}, {count} ports")?;
        let (period, decoys) = (pattern.period(), pattern.decoys());
        if !self.0.listens() {
            return f.write_str("  ports    none of its own\n");
        }
        if self.0.gate().is_silent() {
            return writeln!(
                f,
                "  ports    one, new every {period} s, and open only to whoever passes the gate"
            );
        }
        let ports = decoys + 1;
        writeln!(
            f,
            "  ports    {ports}, new every {period} s: the real one and {decoys} traps"
        )
    }

    fn fmt_door(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.door {
            Door::Forward(forward) => {
                match &forward.to {
                    Service::Exec(command) => {
                        writeln!(f, "  leads to {command}, run for each visitor")?;
                    }
                    Service::At(service) => writeln!(f, "  leads to {service}")?,
                }
                match &forward.on_demand {
                    Some(service) => writeln!(f, "  starts   {} on demand", service.open),
                    None => Ok(()),
                }
            }
            Door::Command { open, .. } => writeln!(f, "  runs     {open}"),
            Door::Nft { set, .. } => writeln!(f, "  adds to  {set}"),
        }
    }

    fn fmt_addresses(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("  listens  on")?;
        if self.0.plain.listen.is_empty() {
            f.write_str(" all addresses")?;
        }
        for address in &self.0.plain.listen {
            write!(f, " {address}")?;
        }
        if let Some(port) = self.0.pool_port {
            write!(
                f,
                ", at port {port}; shimmer firewall leads the range there"
            )?;
        }
        f.write_str("\n")
    }
}

/// A gate in a few words.
struct GateSummary<'a>(&'a GateSettings);

impl fmt::Display for GateSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.gate().word())?;
        match self.0 {
            GateSettings::Knock(knock) if knock.is_fixed() => {
                f.write_str(": ")?;
                HopList(&knock.sequence).fmt(f)
            }
            GateSettings::Knock(knock) => {
                write!(f, ": a sequence of {} ports that changes", knock.knocks)
            }
            GateSettings::Packet(PacketSettings {
                port: Some(port), ..
            }) => write!(f, ": a datagram to port {port}"),
            GateSettings::Packet(_) => f.write_str(": a datagram to the minute's port"),
            GateSettings::Port | GateSettings::Token => Ok(()),
        }
    }
}
