//! The arguments of a command. Each is taken once, by the code that needs it.

use super::commands::{Command, CommandId};
use super::error::Error;
use crate::message::Message;
use crate::nearest::nearest;
use core::convert::Infallible;
use pico_args::Arguments;
use std::ffi::OsStr;

/// The arguments of a command that are not taken yet. They live as long as the process.
#[derive(Debug)]
pub struct Args {
    command: &'static Command,
    rest: Arguments,
    after_dashes: Vec<&'static OsStr>,
}

impl Args {
    /// The arguments of `command`, without its name. `--option=value` counts as two.
    #[must_use]
    pub fn new(command: &'static Command, mut arguments: Vec<&'static OsStr>) -> Self {
        let dashes = arguments.iter().position(|argument| *argument == "--");
        let after_dashes = match dashes {
            Some(dashes) if command.id == CommandId::Knock => {
                let after = arguments.split_off(dashes + 1);
                arguments.pop();
                after
            }
            _ => Vec::new(),
        };
        let mut args = Vec::new();
        for argument in arguments {
            match argument.to_str().and_then(|text| text.split_once('=')) {
                Some((option, value)) if command.has_option(option) => {
                    args.push(option.into());
                    args.push(value.into());
                }
                _ => args.push(argument.to_owned()),
            }
        }
        let rest = Arguments::from_vec(args);
        Self {
            command,
            rest,
            after_dashes,
        }
    }

    /// Takes what follows `--`: the command that `shimmer knock` runs.
    pub fn after_dashes(&mut self) -> Vec<&'static OsStr> {
        core::mem::take(&mut self.after_dashes)
    }

    /// Takes an option without a value, and returns whether it is there.
    pub fn flag(&mut self, option: &'static str) -> bool {
        self.rest.contains(option)
    }

    /// Takes the value of an option, if it is there.
    ///
    /// # Errors
    /// [`Error::Usage`] if the option is there without its value.
    pub fn value(&mut self, option: &'static str) -> Result<Option<&'static OsStr>, Error> {
        let value = self.rest.opt_value_from_os_str(option, keep);
        value.map_err(|_| Error::usage(format_args!("{option} needs a value")))
    }

    /// Takes the value of an option, if it is there, and parses it.
    ///
    /// # Errors
    /// [`Error::Usage`] if the value is missing or wrong.
    pub fn parsed<T>(
        &mut self,
        option: &'static str,
        parse: fn(&str) -> Result<T, Message>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.value(option)? else {
            return Ok(None);
        };
        match parse(text(value)) {
            Ok(value) => Ok(Some(value)),
            Err(wrong) => Err(Error::argument(option, &wrong)),
        }
    }

    /// Takes the next argument that is not an option, if there is one. All options have to be taken
    /// before.
    ///
    /// # Errors
    /// [`Error::Usage`] if the next argument is an option, which the command has not taken.
    pub fn positional(&mut self) -> Result<Option<&'static OsStr>, Error> {
        // Only `keep` could fail.
        match self.rest.opt_free_from_os_str(keep).unwrap_or(None) {
            Some(option) if option.as_encoded_bytes().starts_with(b"-") => {
                Err(self.unexpected(option))
            }
            argument => Ok(argument),
        }
    }

    /// Checks that every argument has been taken.
    ///
    /// # Errors
    /// [`Error::Usage`] if anything is left.
    pub fn finish(mut self) -> Result<(), Error> {
        match self.positional()? {
            None => Ok(()),
            Some(argument) => Err(self.unexpected(argument)),
        }
    }

    #[cold]
    fn unexpected(&self, argument: &'static OsStr) -> Error {
        let argument = text(argument);
        let name = argument.split('=').next().unwrap_or_default();
        if !name.starts_with('-') {
            return Error::usage(format_args!("{argument}: unexpected argument"));
        }
        if self.command.has_option(name) {
            return Error::usage(format_args!(
                "{name} is given twice, or can't be combined with the other arguments"
            ));
        }
        // All options have dashes, so these don't count for which is nearest.
        let known = Vec::from_iter(self.command.all_options().map(without_dashes));
        let unknown = format_args!("unknown option {name}");
        match (nearest(without_dashes(name), &known), self.command.name) {
            (Some(near), _) => Error::usage(format_args!("{unknown}; did you mean --{near}?")),
            (None, "help") => Error::usage(format_args!("{unknown}; see shimmer help")),
            (None, help) => Error::usage(format_args!("{unknown}; see shimmer help {help}")),
        }
    }
}

/// Keeps an argument as long as the process.
fn keep(argument: &OsStr) -> Result<&'static OsStr, Infallible> {
    Ok(argument.to_owned().leak())
}

/// An argument as text. Bytes that are not UTF-8 are replaced.
#[must_use]
pub fn text(argument: &'static OsStr) -> &'static str {
    match argument.to_str() {
        Some(text) => text,
        None => argument.to_string_lossy().into_owned().leak(),
    }
}

fn without_dashes(option: &str) -> &str {
    option.trim_start_matches('-')
}

#[cfg(test)]
mod tests {
    use super::super::commands::{COMMANDS, PORT, command};
    use super::*;
    use std::ffi::OsString;

    fn args(line: &[&str]) -> Args {
        let leak = |word: &&str| OsString::from(word).leak() as &OsStr;
        Args::new(&PORT, line.iter().map(leak).collect())
    }

    fn usage<T>(outcome: Result<T, Error>) -> Message {
        match outcome {
            Err(Error::Usage(text)) => text,
            _ => panic!("no usage error"),
        }
    }

    #[test]
    fn values_follow_a_space_or_an_equals_sign() {
        for line in [
            ["--at", "5", "x"].as_slice(),
            &["--at=5", "x"],
            &["x", "--at=5"],
        ] {
            let mut args = args(line);
            assert!(args.value("--at").ok().flatten().unwrap() == "5");
            assert!(args.positional().ok().flatten().unwrap() == "x");
            assert!(args.finish().is_ok());
        }
    }

    #[test]
    fn a_value_keeps_its_quotes_equals_signs_and_dashes() {
        for (line, value) in [
            (["--secret=\"a=b\""].as_slice(), "\"a=b\""),
            (&["--secret", "--x=y"], "--x=y"),
            (&["--secret="], ""),
        ] {
            assert!(args(line).value("--secret").ok().flatten().unwrap() == value);
        }
    }

    #[test]
    fn what_is_mistyped_is_named() {
        let wrong = |line: &[&str]| usage(args(line).finish());
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
        assert_eq!(
            wrong(&["--all"]),
            "--all is given twice, or can't be combined with the other arguments"
        );
        assert_eq!(wrong(&["web"]), "web: unexpected argument");
        assert_eq!(usage(args(&["--at"]).value("--at")), "--at needs a value");
        assert_eq!(
            usage(command("prot")),
            "unknown command prot; did you mean port?"
        );
    }

    #[test]
    fn every_option_of_every_command_is_taken_and_every_other_is_unknown() {
        for command in COMMANDS {
            for option in command.options {
                let word = match option.has_value {
                    true => format!("{}=5", option.name),
                    false => option.name.to_owned(),
                };
                let word: &OsStr = OsString::from(word).leak();
                let mut args = Args::new(command, vec![word]);
                if option.has_value {
                    assert!(args.value(option.name).unwrap().unwrap() == "5");
                } else {
                    assert!(args.flag(option.name));
                }
                args.finish().unwrap();
                // Its last letter is left out.
                let cut = &option.name[..option.name.len() - 1];
                let cut: &OsStr = OsString::from(cut).leak();
                let wrong = usage(Args::new(command, vec![cut]).finish()).to_string();
                assert!(wrong.contains("; did you mean --"), "{wrong}");
            }
            let args = Args::new(command, vec!["--word".as_ref()]);
            assert!(
                usage(args.finish())
                    .to_string()
                    .starts_with("unknown option --word")
            );
        }
    }
}
