//! The command line: which commands there are, what each says about itself, and what is said to
//! somebody who mistypes one.
//!
//! A command's help is the list of its options: an option that it does not name does not exist.

use crate::message::{List, Message};
use crate::nearest::nearest;
use core::convert::Infallible;
use core::fmt;
use pico_args::Arguments;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

/// Why a command ended without its result.
pub enum Failure {
    /// It did not work, and why.
    Failed(Message),
    /// The command line is wrong, and how.
    Usage(Message),
    /// A configuration is wrong: whole lines, one an error.
    Configuration(Message),
    /// Nobody reads stdout any more. They have what they wanted.
    Unread,
}

impl Failure {
    /// [`Failure::Failed`] with these words.
    #[cold]
    #[must_use]
    pub fn failed(why: fmt::Arguments) -> Self {
        Self::Failed(Message::new(why))
    }

    /// [`Failure::Usage`] with these words.
    #[cold]
    #[must_use]
    pub fn usage(how: fmt::Arguments) -> Self {
        Self::Usage(Message::new(how))
    }

    /// [`Failure::Configuration`] with these lines.
    #[cold]
    #[must_use]
    pub fn configuration(errors: &dyn fmt::Display) -> Self {
        Self::Configuration(Message::new(format_args!("{errors}")))
    }
}

/// What `shimmer help` says.
pub const OVERVIEW: &str = "\
Hides a TCP service behind ports that change every minute.

usage: shimmer COMMAND [OPTION]...
       shimmer --open NAME:LOW:HIGH [OPTION]...    (the same as shimmer port)

  port      print the port that leads to the service now
  connect   join stdin and stdout to the service, for ssh's ProxyCommand
  knock     open a door that nobody sees: a sequence, or a datagram
  keygen    make a secret

on the server:
  daemon    serve (on Linux)
  check     look for mistakes in the daemon's configuration
  share     print what a laptop needs to get in
  firewall  print the rules for nft
  status    show what the daemon does now
  ban       ban an address
  unban     take the ban off an address, or off all

  demo      ten seconds that show how it works (on Linux)
  help      print this, or more about a command: shimmer help port

  -h, --help       the same as help
  -V, --version    print the version

example, in ~/.ssh/config, so that `ssh home` gets in:
  Host home
      HostName example.org
      ProxyCommand shimmer connect home %h
";

/// A command: its name, and what `shimmer help NAME` says.
pub struct Command {
    /// As it is typed.
    pub name: &'static str,
    /// What it does, each of its options, examples.
    pub help: &'static str,
}

/// `shimmer port`
pub const PORT: Command = Command {
    name: "port",
    help: "\
Prints the port that leads to the service now.

usage: shimmer port MIRAGE [OPTION]...
       shimmer port NAME:LOW:HIGH [OPTION]...
       shimmer --open NAME:LOW:HIGH [OPTION]...

  MIRAGE              a section of the configuration: home is [mirage-home]
  NAME:LOW:HIGH       its name and its range, as the server has them

  --secret-file FILE  the first line of FILE is the secret
  --secret VALUE      the secret itself; every local user can read it here
  --config FILE       instead of ~/.config/shimmer.conf
                      (on Windows %APPDATA%\\shimmer.conf)
  --period TIME       how long a port lasts, as the server has it (60s)
  --decoys COUNT      the ports beside the real one, as the server has it (15)
  --at TIME           not now: unix seconds, or as in 2026-11-21T09:00:00Z
  --all               all ports of the minute, the real one first
  --watch             go on, and print each port as it comes

The secret comes from --secret-file, else from $SHIMMER_SECRET, else from the
configuration, else the terminal is asked for it.

examples:
  ssh -p \"$(shimmer port home)\" -o HostKeyAlias=home me@example.org
  ssh -p \"$(shimmer port ssh:10000:10999)\" -o HostKeyAlias=home me@example.org

Without HostKeyAlias the next minute's port is an unknown host to ssh.
",
};

/// `shimmer connect`
pub const CONNECT: Command = Command {
    name: "connect",
    help: "\
Joins stdin and stdout to the hidden service, by the port of this minute, and
where that does not answer by the last minute's, then by the next one's.

usage: shimmer connect MIRAGE [HOST] [OPTION]...
       shimmer connect NAME:LOW:HIGH HOST [OPTION]...

  MIRAGE              a section of the configuration: home is [mirage-home]
  NAME:LOW:HIGH       its name and its range, as the server has them
  HOST                the server; instead of the configuration's host

  --secret-file FILE  the first line of FILE is the secret
  --secret VALUE      the secret itself; every local user can read it here
  --config FILE       instead of ~/.config/shimmer.conf
                      (on Windows %APPDATA%\\shimmer.conf)
  --gate GATE         port or token, as the server has it (port)
  --period TIME       how long a port lasts, as the server has it (60s)
  --decoys COUNT      the ports beside the real one, as the server has it (15)

Ends with 0 once the service has closed the connection, with 1 if there was
none or it broke off, and says on stderr where to look.

example, in ~/.ssh/config:
  Host home
      HostName example.org
      ProxyCommand shimmer connect home %h
",
};

/// `shimmer knock`
pub const KNOCK: Command = Command {
    name: "knock",
    help: "\
Shows a gate what it wants to see, a sequence of knocks or a datagram, and then
runs a command, if one is given.

usage: shimmer knock MIRAGE [HOST] [OPTION]... [-- COMMAND...]
       shimmer knock HOST PORT[:udp]... [-- COMMAND...]

  MIRAGE              a section of the configuration: home is [mirage-home]
  HOST                the server; instead of the configuration's host
  PORT                the plain knocker: these ports, in this order

  --address ADDRESS   let this address in, not the one that sends the datagram
  --next              the next minute's sequence: this one's has been used, and
                      counts once
  --close             knock the close-sequence
  --print             show what would be sent, and send nothing
  --secret-file FILE  the first line of FILE is the secret
  --secret VALUE      the secret itself; every local user can read it here
  --config FILE       instead of ~/.config/shimmer.conf
                      (on Windows %APPDATA%\\shimmer.conf)
  --period TIME       how long a sequence lasts, as the server has it (60s)
  --decoys COUNT      the ports beside the real one, as the server has it (15)

A silent gate answers nothing: whether it has opened shows what comes after.

examples:
  shimmer knock home -- ssh me@example.org
  shimmer knock example.org 7000 8000:udp 9000
",
};

/// `shimmer keygen`
pub const KEYGEN: Command = Command {
    name: "keygen",
    help: "\
Prints a new secret: 160 random bits in 32 characters.

usage: shimmer keygen

example:
  (umask 077; shimmer keygen > ~/.shimmer)
",
};

/// `shimmer check`
pub const CHECK: Command = Command {
    name: "check",
    help: "\
Looks for mistakes in the daemon's configuration, and says what it would serve.

usage: shimmer check [FILE] [OPTION]...

  FILE, --config FILE    the configuration (/etc/shimmer.conf)
  --needs                instead, for an init script, what the system has to
                         give the daemon, a line each

Ends with 0 if there are no mistakes, else with 2.
",
};

/// `shimmer share`
pub const SHARE: Command = Command {
    name: "share",
    help: "\
Prints what a laptop needs to get in: the section for its configuration, with
the secret, and the lines for ~/.ssh/config.

usage: shimmer share MIRAGE [OPTION]...

  MIRAGE           a section of the daemon's configuration: home is
                   [mirage-home]
  --host HOST      the name or address by which the laptop finds this server
                   (the section's host, if it has one)
  --config FILE    the daemon's configuration (/etc/shimmer.conf)
",
};

/// `shimmer firewall`
pub const FIREWALL: Command = Command {
    name: "firewall",
    help: "\
Prints the rules that the mirages need, for nft.

usage: shimmer firewall [OPTION]...

  --config FILE    the daemon's configuration (/etc/shimmer.conf)
  --remove         print what takes the rules away again

example:
  shimmer firewall | nft -f -
",
};

/// `shimmer status`
pub const STATUS: Command = Command {
    name: "status",
    help: "\
Shows what the daemon does now: its mirages, sessions and bans, and what is
full.

usage: shimmer status [OPTION]...
       shimmer status ADDRESS [OPTION]...

  ADDRESS          what would happen to this address now, and why

  --json           as one JSON object, for programs
  --ports          with the ports that are open now, and which are real
  --config FILE    the daemon's configuration, for where its control socket is
                   (/etc/shimmer.conf)
  --control PATH   the control socket itself
",
};

/// `shimmer ban`
pub const BAN: Command = Command {
    name: "ban",
    help: "\
Bans an address, as if it had touched a trap. With gate = token, who has the
secret gets in all the same.

usage: shimmer ban ADDRESS [OPTION]

  --config FILE    the daemon's configuration, for where its control socket is
                   (/etc/shimmer.conf)
  --control PATH   the control socket itself
",
};

/// `shimmer unban`
pub const UNBAN: Command = Command {
    name: "unban",
    help: "\
Takes the ban off an address, or off all.

usage: shimmer unban ADDRESS [OPTION]
       shimmer unban all [OPTION]

  --config FILE    the daemon's configuration, for where its control socket is
                   (/etc/shimmer.conf)
  --control PATH   the control socket itself
",
};

/// `shimmer daemon`
pub const DAEMON: Command = Command {
    name: "daemon",
    help: "\
Serves the mirages of a configuration, in the foreground, until told to end.

usage: shimmer daemon [OPTION]
       shimmerd [OPTION]

  --config FILE    the configuration (/etc/shimmer.conf)
",
};

/// `shimmer demo`
pub const DEMO: Command = Command {
    name: "demo",
    help: "\
Shows in ten seconds, on this machine alone, how it works.

usage: shimmer demo [OPTION]

  --stay    go on until Ctrl-C
",
};

/// `shimmer help`
pub const HELP: Command = Command {
    name: "help",
    help: OVERVIEW,
};

/// All of them.
pub const COMMANDS: [&Command; 13] = [
    &PORT, &CONNECT, &KNOCK, &KEYGEN, &DAEMON, &CHECK, &SHARE, &FIREWALL, &STATUS, &BAN, &UNBAN,
    &DEMO, &HELP,
];

/// The daemon's configuration, unless another is named.
pub const CONFIG: &str = "/etc/shimmer.conf";

/// The command of that name.
///
/// # Errors
/// [`Failure::Usage`] with the nearest name if there is none.
pub fn command(name: &str) -> Result<&'static Command, Failure> {
    for command in COMMANDS {
        if command.name == name {
            return Ok(command);
        }
    }
    let names = COMMANDS.iter().map(|command| command.name);
    Err(match nearest(name, names) {
        Some(near) => unknown(format_args!("command {name}; did you mean {near}?")),
        None => unknown(format_args!("command {name}; see shimmer help")),
    })
}

/// The words behind a command that nobody has asked for yet. They live as long as the process.
pub struct Words {
    command: &'static Command,
    rest: Arguments,
    behind: Vec<&'static OsStr>,
}

impl Words {
    /// The words behind `command`. `--option=value` becomes two words.
    #[must_use]
    pub fn new(command: &'static Command, mut arguments: Vec<&'static OsStr>) -> Self {
        let dashes = arguments.iter().position(|argument| *argument == "--");
        let behind = match dashes {
            Some(dashes) if command.name == KNOCK.name => {
                let behind = arguments.split_off(dashes + 1);
                arguments.pop();
                behind
            }
            _ => Vec::new(),
        };
        let mut words = Vec::new();
        for argument in arguments {
            match argument.to_str().and_then(|text| text.split_once('=')) {
                Some((option, value)) if command.has_option(option) => {
                    words.push(option.into());
                    words.push(value.into());
                }
                _ => words.push(argument.to_owned()),
            }
        }
        let rest = Arguments::from_vec(words);
        Self {
            command,
            rest,
            behind,
        }
    }

    /// What stands behind `--`, which no other is then asked for: a command of its own.
    pub fn behind_dashes(&mut self) -> Vec<&'static OsStr> {
        core::mem::take(&mut self.behind)
    }

    /// Whether the option is there.
    pub fn flag(&mut self, option: &'static str) -> bool {
        self.rest.contains(option)
    }

    /// The value of an option, if it is there.
    ///
    /// # Errors
    /// [`Failure::Usage`] if the option is there without its value.
    pub fn value(&mut self, option: &'static str) -> Result<Option<&'static OsStr>, Failure> {
        let value = self.rest.opt_value_from_os_str(option, keep);
        value.map_err(|_| Failure::usage(format_args!("{option}: its value is missing")))
    }

    /// The value of an option through `parse`, whose error says what is wrong with it.
    ///
    /// # Errors
    /// [`Failure::Usage`] if there is no value, or one that makes no sense.
    pub fn parsed<T>(
        &mut self,
        option: &'static str,
        parse: fn(&str) -> Result<T, Message>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.value(option)? else {
            return Ok(None);
        };
        match parse(text(value)) {
            Ok(value) => Ok(Some(value)),
            Err(wrong) => Err(about(option, &wrong)),
        }
    }

    /// The next word, if there is one. To be asked for when all options have been.
    ///
    /// # Errors
    /// [`Failure::Usage`] if it is an option: nobody has asked for that one.
    pub fn word(&mut self) -> Result<Option<&'static OsStr>, Failure> {
        // It fails with the error of `keep` alone.
        match self.rest.opt_free_from_os_str(keep).unwrap_or(None) {
            Some(word) if word.as_encoded_bytes().starts_with(b"-") => Err(self.wrong(word)),
            word => Ok(word),
        }
    }

    /// That was all.
    ///
    /// # Errors
    /// [`Failure::Usage`] if anything is left.
    pub fn end(mut self) -> Result<(), Failure> {
        match self.word()? {
            None => Ok(()),
            Some(word) => Err(self.wrong(word)),
        }
    }

    #[cold]
    fn wrong(&self, word: &'static OsStr) -> Failure {
        let word = text(word);
        let name = word.split('=').next().unwrap_or_default();
        if !name.starts_with('-') {
            return Failure::usage(format_args!("{word}: one word too many"));
        }
        if self.command.has_option(name) {
            return Failure::usage(format_args!("{name}: one option too many"));
        }
        // The dashes don't count: every option has them in common.
        let known = self.command.options().map(without_dashes);
        match (nearest(without_dashes(name), known), self.command.name) {
            (Some(near), _) => unknown(format_args!("option {name}; did you mean --{near}?")),
            (None, "help") => unknown(format_args!("option {name}; see shimmer help")),
            (None, help) => unknown(format_args!("option {name}; see shimmer help {help}")),
        }
    }
}

/// A word that stays.
fn keep(word: &OsStr) -> Result<&'static OsStr, Infallible> {
    Ok(word.to_owned().leak())
}

/// A word as text; what is not UTF-8 in it is replaced.
#[must_use]
pub fn text(word: &'static OsStr) -> &'static str {
    match word.to_str() {
        Some(text) => text,
        None => word.to_string_lossy().into_owned().leak(),
    }
}

/// [`Failure::Usage`] that says first what it is about.
#[cold]
#[must_use]
pub fn about(what: &str, wrong: &dyn fmt::Display) -> Failure {
    Failure::usage(format_args!("{what}: {wrong}"))
}

#[cold]
fn unknown(what: fmt::Arguments) -> Failure {
    Failure::usage(format_args!("unknown {what}"))
}

fn without_dashes(option: &str) -> &str {
    option.trim_start_matches('-')
}

impl Command {
    /// The options that it has: those that its help names, and those that all have.
    fn options(&self) -> impl Iterator<Item = &'static str> + use<> {
        let is_between: fn(char) -> bool = |letter| matches!(letter, ' ' | '\n' | ',');
        let words = self.help.split(is_between);
        words
            .filter(|word| word.starts_with("--"))
            .chain(["--help", "--version"])
    }

    fn has_option(&self, name: &str) -> bool {
        self.options().any(|option| option == name)
    }
}

/// Writes a result to stdout, now.
///
/// # Errors
/// [`Failure::Unread`] if nobody reads it any more, [`Failure::Failed`] if it can't be written.
pub fn print(text: &str) -> Result<(), Failure> {
    write(io::stdout(), text).map_err(|error| unwritten(&error))
}

/// Why stdout could not be written: [`Failure::Unread`], or [`Failure::Failed`].
#[cold]
#[must_use]
pub fn unwritten(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::failed(format_args!("stdout: {error}")),
    }
}

/// [`Failure::Usage`] for a mirage that a file has no section for: the nearest one is named, or all
/// are.
#[cold]
#[must_use]
pub fn unknown_mirage(file: &Path, section: &str, sections: &[&str]) -> Failure {
    let file = file.display();
    let unknown = format_args!("{file} knows no mirage {section}");
    match nearest(section, sections.iter().copied()) {
        Some(near) => Failure::usage(format_args!("{unknown}; did you mean {near}?")),
        None => Failure::usage(format_args!("{unknown}, only {}", List(sections))),
    }
}

/// Warns on stderr of what works and should not stay so.
pub fn warn(what: fmt::Arguments) {
    complain(format_args!("shimmer: warning: {what}"));
}

/// Writes a line to stderr. Where that can't be written there is nobody left to tell.
pub fn complain(line: fmt::Arguments) {
    let _ = write(io::stderr(), &format!("{line}\n"));
}

/// Writes a text at once.
fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn words(line: &[&str]) -> Words {
        let leak = |word: &&str| OsString::from(word).leak() as &OsStr;
        Words::new(&PORT, line.iter().map(leak).collect())
    }

    fn usage<T>(outcome: Result<T, Failure>) -> Message {
        match outcome {
            Err(Failure::Usage(text)) => text,
            _ => panic!("no usage error"),
        }
    }

    #[test]
    fn values_stand_behind_a_space_or_an_equals_sign() {
        for line in [
            ["--at", "5", "x"].as_slice(),
            &["--at=5", "x"],
            &["x", "--at=5"],
        ] {
            let mut words = words(line);
            assert!(words.value("--at").ok().flatten().unwrap() == "5");
            assert!(words.word().ok().flatten().unwrap() == "x");
            assert!(words.end().is_ok());
        }
    }

    #[test]
    fn a_value_keeps_its_quotes_equals_signs_and_dashes() {
        for (line, value) in [
            (["--secret=\"a=b\""].as_slice(), "\"a=b\""),
            (&["--secret", "--x=y"], "--x=y"),
            (&["--secret="], ""),
        ] {
            assert!(words(line).value("--secret").ok().flatten().unwrap() == value);
        }
    }

    #[test]
    fn what_is_mistyped_is_named() {
        let wrong = |line: &[&str]| usage(words(line).end());
        assert_eq!(
            wrong(&["--wach"]),
            "unknown option --wach; did you mean --watch?"
        );
        assert_eq!(
            wrong(&["--perod=5s"]),
            "unknown option --perod; did you mean --period?"
        );
        assert_eq!(
            wrong(&["--xyzzy"]),
            "unknown option --xyzzy; see shimmer help port"
        );
        assert_eq!(wrong(&["--all"]), "--all: one option too many");
        assert_eq!(wrong(&["web"]), "web: one word too many");
        assert_eq!(
            usage(words(&["--at"]).value("--at")),
            "--at: its value is missing"
        );
        assert_eq!(
            usage(command("prot")),
            "unknown command prot; did you mean port?"
        );
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
