//! The commands: their options, and their help.

use super::error::Error;
use crate::nearest::nearest;

/// The output of `shimmer help`.
pub const OVERVIEW: &str = "\
Hides a TCP service behind ports that change every minute.

usage: shimmer COMMAND [OPTION]...
       shimmer --open NAME:LOW:HIGH [OPTION]...    (the same as shimmer port)

  port      print the port that leads to the service now
  connect   connect stdin and stdout to the service, for ssh's ProxyCommand
  knock     open a silent gate with a sequence of knocks or a datagram
  keygen    make a secret

on the server:
  daemon    run the server (on Linux)
  close-all close what a daemon that was killed has left open
  check     look for mistakes in the daemon's configuration
  share     print what a laptop needs to get in
  firewall  print the firewall rules for nft
  status    show what the daemon does now
  ban       ban an address
  unban     lift the ban on an address, or all bans

  demo      show how it works in ten seconds (on Linux)
  help      print this, or more about a command: shimmer help port

  -h, --help       the same as help
  -V, --version    print the version

example, in ~/.ssh/config, so that `ssh home` gets in:
  Host home
      HostName example.org
      ProxyCommand shimmer connect home %h
";

/// Identifies a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the command of its name")]
pub enum CommandId {
    Port,
    Connect,
    Knock,
    Keygen,
    Daemon,
    CloseAll,
    Check,
    Share,
    Firewall,
    Status,
    Ban,
    Unban,
    Demo,
    Help,
}

/// An option of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandOption {
    /// With its dashes.
    pub name: &'static str,
    /// Whether a value follows it.
    pub has_value: bool,
}

const fn flag(name: &'static str) -> CommandOption {
    CommandOption {
        name,
        has_value: false,
    }
}

const fn value(name: &'static str) -> CommandOption {
    CommandOption {
        name,
        has_value: true,
    }
}

/// The options that every command has. main handles them before the command sees any argument.
const COMMON_OPTIONS: [CommandOption; 2] = [flag("--help"), flag("--version")];

/// A command of the program, `shimmer NAME`.
#[derive(Debug)]
pub struct Command {
    /// Its identity, for a `match`.
    pub id: CommandId,
    /// Its name on the command line.
    pub name: &'static str,
    /// Its own options, in the order of its help. A test compares the two.
    pub options: &'static [CommandOption],
    /// What it does, each of its options, examples.
    pub help: &'static str,
}

/// `shimmer port`
pub const PORT: Command = Command {
    id: CommandId::Port,
    name: "port",
    options: &[
        value("--secret-file"),
        value("--secret"),
        value("--config"),
        value("--period"),
        value("--decoys"),
        value("--at"),
        flag("--all"),
        flag("--watch"),
        value("--open"),
    ],
    help: "\
Prints the port that leads to the service now.

usage: shimmer port MIRAGE [OPTION]...
       shimmer port NAME:LOW:HIGH [OPTION]...
       shimmer --open NAME:LOW:HIGH [OPTION]...

  MIRAGE              a section of the configuration: home is [mirage-home]
  NAME:LOW:HIGH       the name and range of the mirage on the server

  --secret-file FILE  the first line of FILE is the secret
  --secret VALUE      the secret itself, which every local user can see
  --config FILE       the configuration (~/.config/shimmer.conf,
                      on Windows %APPDATA%\\shimmer.conf)
  --period TIME       how long a port lasts on the server (60s)
  --decoys COUNT      how many decoys the server opens beside the real port (15)
  --at TIME           compute for this time instead of now: Unix seconds, or
                      2026-11-21T09:00:00Z
  --all               print all ports of the minute, the real one first
  --watch             keep running and print each new port

The secret comes from --secret-file, or $SHIMMER_SECRET, or the
configuration; otherwise you are prompted for it.

examples:
  ssh -p \"$(shimmer port home)\" -o HostKeyAlias=home me@example.org
  ssh -p \"$(shimmer port ssh:10000:10999)\" -o HostKeyAlias=home me@example.org

Without HostKeyAlias the next minute's port is an unknown host to ssh.
",
};

/// `shimmer connect`
pub const CONNECT: Command = Command {
    id: CommandId::Connect,
    name: "connect",
    options: &[
        value("--secret-file"),
        value("--secret"),
        value("--config"),
        value("--gate"),
        value("--period"),
        value("--decoys"),
    ],
    help: "\
Connects stdin and stdout to the hidden service. It tries the port of this
minute, then that of the last minute, then that of the next.

usage: shimmer connect MIRAGE [HOST] [OPTION]...
       shimmer connect NAME:LOW:HIGH HOST [OPTION]...

  MIRAGE              a section of the configuration: home is [mirage-home]
  NAME:LOW:HIGH       the name and range of the mirage on the server
  HOST                the server, instead of the host in the configuration

  --secret-file FILE  the first line of FILE is the secret
  --secret VALUE      the secret itself, which every local user can see
  --config FILE       the configuration (~/.config/shimmer.conf,
                      on Windows %APPDATA%\\shimmer.conf)
  --gate GATE         the gate on the server: port or token (port)
  --period TIME       how long a port lasts on the server (60s)
  --decoys COUNT      how many decoys the server opens beside the real port (15)

Exits with 0 when the service has closed the connection, and with 1 if there
was no connection or it broke. Then stderr says where to look.

example, in ~/.ssh/config:
  Host home
      HostName example.org
      ProxyCommand shimmer connect home %h
",
};

/// `shimmer knock`
pub const KNOCK: Command = Command {
    id: CommandId::Knock,
    name: "knock",
    options: &[
        value("--address"),
        flag("--next"),
        flag("--close"),
        flag("--print"),
        value("--secret-file"),
        value("--secret"),
        value("--config"),
        value("--period"),
        value("--decoys"),
    ],
    help: "\
Sends the knocks or the datagram that open a gate, then runs COMMAND if it is
given.

usage: shimmer knock MIRAGE [HOST] [OPTION]... [-- COMMAND...]
       shimmer knock HOST PORT[:udp]... [-- COMMAND...]

  MIRAGE              a section of the configuration: home is [mirage-home]
  HOST                the server, instead of the host in the configuration
  PORT                knock at these ports, in this order

  --address ADDRESS   let this address in instead of the sender's
  --next              use the next minute's sequence, because each counts once
                      and this one has been used
  --close             knock the close-sequence
  --print             show what would be sent, and send nothing
  --secret-file FILE  the first line of FILE is the secret
  --secret VALUE      the secret itself, which every local user can see
  --config FILE       the configuration (~/.config/shimmer.conf,
                      on Windows %APPDATA%\\shimmer.conf)
  --period TIME       how long a sequence lasts on the server (60s)
  --decoys COUNT      how many decoys the server opens beside the real port (15)

A silent gate never answers: you learn that it opened when the next connection
works.

examples:
  shimmer knock home -- ssh me@example.org
  shimmer knock example.org 7000 8000:udp 9000
",
};

/// `shimmer keygen`
pub const KEYGEN: Command = Command {
    id: CommandId::Keygen,
    name: "keygen",
    options: &[],
    help: "\
Prints a new secret: 160 random bits in 32 characters.

usage: shimmer keygen

example:
  (umask 077; shimmer keygen > ~/.shimmer)
",
};

/// `shimmer check`
pub const CHECK: Command = Command {
    id: CommandId::Check,
    name: "check",
    options: &[value("--config"), flag("--needs")],
    help: "\
Looks for mistakes in the daemon's configuration, and prints what it would
serve.

usage: shimmer check [FILE] [OPTION]...

  FILE, --config FILE    the configuration (/etc/shimmer.conf)
  --needs                print what the system has to give the daemon, a line
                         each, for an init script

Exits with 0 if there are no mistakes, otherwise with 2.
",
};

/// `shimmer share`
pub const SHARE: Command = Command {
    id: CommandId::Share,
    name: "share",
    options: &[value("--host"), value("--config")],
    help: "\
Prints what a laptop needs to get in: the section for its configuration, with
the secret, and the lines for ~/.ssh/config.

usage: shimmer share MIRAGE [OPTION]...

  MIRAGE           a section of the daemon's configuration: home is
                   [mirage-home]
  --host HOST      the name or address at which the laptop finds this server
                   (the host in the section)
  --config FILE    the daemon's configuration (/etc/shimmer.conf)
",
};

/// `shimmer firewall`
pub const FIREWALL: Command = Command {
    id: CommandId::Firewall,
    name: "firewall",
    options: &[value("--config"), value("--only"), flag("--remove")],
    help: "\
Prints the rules that the mirages need, for nft.

usage: shimmer firewall [OPTION]...

  --config FILE    the daemon's configuration (/etc/shimmer.conf)
  --only PART      ports: what pools, silent gates and open ports need, while
                   the daemon runs
                   doors: who may come to the ports behind door = nft, whether
                   the daemon runs or not
  --remove         print the commands that remove the rules, or the part

example:
  shimmer firewall | nft -f -
",
};

/// `shimmer status`
pub const STATUS: Command = Command {
    id: CommandId::Status,
    name: "status",
    options: &[
        flag("--json"),
        flag("--ports"),
        value("--config"),
        value("--control"),
    ],
    help: "\
Shows what the daemon does now: its mirages, sessions and bans, and which limits
are reached.

usage: shimmer status [OPTION]...
       shimmer status ADDRESS [OPTION]...

  ADDRESS          show what would happen to this address now, and why
                   or, for one of 127/8 in a service's log, whose it is

  --json           print one JSON object, for programs
  --ports          show the ports that are open now, and which are real
  --config FILE    the daemon's configuration, which names its control socket
                   (/etc/shimmer.conf)
  --control PATH   the control socket itself
",
};

/// `shimmer ban`
pub const BAN: Command = Command {
    id: CommandId::Ban,
    name: "ban",
    options: &[value("--config"), value("--control")],
    help: "\
Bans an address, as if it had touched a trap. With gate = token, anyone who has
the secret still gets in.

usage: shimmer ban ADDRESS [OPTION]

  --config FILE    the daemon's configuration, which names its control socket
                   (/etc/shimmer.conf)
  --control PATH   the control socket itself
",
};

/// `shimmer unban`
pub const UNBAN: Command = Command {
    id: CommandId::Unban,
    name: "unban",
    options: &[value("--config"), value("--control")],
    help: "\
Lifts the ban on an address, or all bans.

usage: shimmer unban ADDRESS [OPTION]
       shimmer unban all [OPTION]

  --config FILE    the daemon's configuration, which names its control socket
                   (/etc/shimmer.conf)
  --control PATH   the control socket itself
",
};

/// `shimmer daemon`
pub const DAEMON: Command = Command {
    id: CommandId::Daemon,
    name: "daemon",
    options: &[value("--config")],
    help: "\
Runs the server in the foreground until it is stopped.

usage: shimmer daemon [OPTION]
       shimmerd [OPTION]

  --config FILE    the configuration (/etc/shimmer.conf)
",
};

/// `shimmer close-all`
pub const CLOSE_ALL: Command = Command {
    id: CommandId::CloseAll,
    name: "close-all",
    options: &[value("--config")],
    help: "\
Closes what a daemon that was killed has left open, as its journal says.

usage: shimmer close-all [OPTION]

  --config FILE    the daemon's configuration (/etc/shimmer.conf)

It takes 8 seconds at most. What can't be closed stays in the journal. A daemon
that is stopped closes its doors itself.
",
};

/// `shimmer demo`
pub const DEMO: Command = Command {
    id: CommandId::Demo,
    name: "demo",
    options: &[flag("--stay")],
    help: "\
Shows how it works, in ten seconds and on this machine alone.

usage: shimmer demo [OPTION]

  --stay    keep running until Ctrl-C
",
};

/// `shimmer help`
pub const HELP: Command = Command {
    id: CommandId::Help,
    name: "help",
    // `shimmer --open` is `shimmer port`, so a misspelt --open ends up here.
    options: &[value("--open")],
    help: OVERVIEW,
};

/// All commands, in the order of the overview.
pub const COMMANDS: [&Command; 14] = [
    &PORT, &CONNECT, &KNOCK, &KEYGEN, &DAEMON, &CLOSE_ALL, &CHECK, &SHARE, &FIREWALL, &STATUS,
    &BAN, &UNBAN, &DEMO, &HELP,
];

/// The default path of the daemon's configuration.
pub const CONFIG: &str = "/etc/shimmer.conf";

/// The command of this name.
///
/// # Errors
/// [`Error::Usage`] with the nearest name if there is none.
pub fn command(name: &str) -> Result<&'static Command, Error> {
    for command in COMMANDS {
        if command.name == name {
            return Ok(command);
        }
    }
    let names = Vec::from_iter(COMMANDS.iter().map(|command| command.name));
    Err(match nearest(name, &names) {
        Some(near) => Error::usage(format_args!("unknown command {name}; did you mean {near}?")),
        None => Error::usage(format_args!("unknown command {name}; see shimmer help")),
    })
}

impl Command {
    /// The names of its own options and of those that every command has.
    pub(super) fn all_options(&self) -> impl Iterator<Item = &'static str> + use<> {
        let options = self.options.iter().chain(&COMMON_OPTIONS);
        options.map(|option| option.name)
    }

    pub(super) fn has_option(&self, name: &str) -> bool {
        self.all_options().any(|option| option == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options that a help lists: those that begin a line, or follow another way to give the same.
    fn listed(help: &str) -> Vec<(&str, bool)> {
        let mut listed = Vec::new();
        for line in help.lines() {
            let Some(line) = line
                .strip_prefix("  ")
                .filter(|line| !line.starts_with(' '))
            else {
                continue;
            };
            // Two blanks end the column.
            let column = line.split("  ").next().unwrap_or_default();
            for part in column.split(", ").filter(|part| part.starts_with("--")) {
                let (name, value) = part.split_once(' ').unwrap_or((part, ""));
                listed.push((name, !value.is_empty()));
            }
        }
        listed
    }

    #[test]
    fn helps_list_the_options_that_there_are() {
        for command in COMMANDS
            .iter()
            .filter(|command| command.id != CommandId::Help)
        {
            let own = command.options.iter();
            let known: Vec<(&str, bool)> = own
                .map(|option| (option.name, option.has_value))
                // The original's way to ask for a port stands in the usage.
                .filter(|(name, _)| *name != "--open")
                .collect();
            assert_eq!(listed(command.help), known, "{}", command.name);
        }
    }

    #[test]
    fn a_word_of_the_prose_is_no_option() {
        let prose =
            "Prints --this.\n\nusage: shimmer x --that\n\n  --real FILE, --other  a --word\n";
        assert_eq!(listed(prose), [("--real", true), ("--other", false)]);
        for command in COMMANDS {
            assert!(!command.has_option("--word"), "{}", command.name);
        }
        // It stands in the help of knock and of ban, between others.
        assert!(!CHECK.has_option("--"));
        assert!(PORT.has_option("--open") && !KNOCK.has_option("--open"));
    }

    #[test]
    fn helps_fit_a_terminal_and_every_ssh_line_has_its_alias() {
        for command in COMMANDS {
            for line in command.help.lines() {
                assert!(line.len() <= 80, "{line}");
                assert!(
                    !line.contains("ssh -p") || line.contains("-o HostKeyAlias="),
                    "{line}"
                );
            }
        }
    }
}
