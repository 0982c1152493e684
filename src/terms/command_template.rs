//! A command with placeholders. It is split into words when the configuration is read, so that nothing
//! that a visitor sends can become another word, an option or a program. No shell sees it.
//!
//! ```text
//!   open-command = /usr/bin/logger -t shimmer "%IP% is in"
//! ```

use core::error::Error;
use core::fmt::{self, Write as _};
use core::net::IpAddr;
use core::str::FromStr;
use std::rc::Rc;

/// What is filled in when the command runs.
#[derive(Clone, Copy)]
enum Placeholder {
    Ip,
    Family,
    Mirage,
}

const PLACEHOLDERS: [(&str, Placeholder); 3] = [
    ("%IP%", Placeholder::Ip),
    ("%FAMILY%", Placeholder::Family),
    ("%MIRAGE%", Placeholder::Mirage),
];

fn placeholder(name: &str) -> Option<Placeholder> {
    let found = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
    found.map(|(_, placeholder)| *placeholder)
}

/// A program and its arguments, in which [`PLACEHOLDERS`] may stand. It has at least one word; copies
/// share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTemplate(Rc<[String]>);

/// Why a text is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandTemplateError {
    /// It has no first word.
    NoProgram,
    /// Its program is a path that does not start at the root.
    Relative(String),
    /// Something between two % is not a placeholder. With its %.
    UnknownPlaceholder(String),
    /// This quote is never closed.
    OpenQuote(char),
    /// It has a NUL byte, which would end a word when the kernel reads it.
    Nul,
}

impl Error for CommandTemplateError {}

impl fmt::Display for CommandTemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram => f.write_str("needs a program, for example /usr/bin/logger"),
            Self::Relative(program) => write!(f, "{program} must be an absolute path: /{program}"),
            Self::UnknownPlaceholder(name) => {
                let [(ip, _), (family, _), (mirage, _)] = PLACEHOLDERS;
                write!(f, "{name} is not one of {ip}, {family}, {mirage}")
            }
            Self::OpenQuote(quote) => write!(f, "a {quote} is never closed"),
            Self::Nul => f.write_str("must not contain a NUL byte"),
        }
    }
}

/// A part of a word.
enum Part<'a> {
    Text(&'a str),
    /// With its %: one of [`PLACEHOLDERS`], or a mistake.
    Placeholder(&'a str),
}

/// Blanks separate words; '…' and "…" keep them together; a backslash is an ordinary letter.
impl FromStr for CommandTemplate {
    type Err = CommandTemplateError;

    fn from_str(text: &str) -> Result<Self, CommandTemplateError> {
        let words = split(text)?;
        for word in &words {
            let mut rest = word.as_str();
            while let Some(part) = next_part(&mut rest) {
                if let Part::Placeholder(name) = part
                    && placeholder(name).is_none()
                {
                    return Err(CommandTemplateError::UnknownPlaceholder(name.to_owned()));
                }
            }
        }
        match words.first().map(String::as_str) {
            None | Some("") => Err(CommandTemplateError::NoProgram),
            Some(program) if program.contains('/') && !program.starts_with('/') => {
                Err(CommandTemplateError::Relative(program.to_owned()))
            }
            Some(_) => Ok(Self(words.into())),
        }
    }
}

impl CommandTemplate {
    /// The program and its arguments for a visitor's address and the section of a mirage.
    #[must_use]
    pub fn words(&self, address: IpAddr, mirage: &str) -> Rc<[String]> {
        let mut words = Vec::new();
        for word in self.0.iter() {
            let mut filled = String::new();
            let mut rest = word.as_str();
            while let Some(part) = next_part(&mut rest) {
                match part {
                    Part::Text(text) => filled.push_str(text),
                    Part::Placeholder(name) => match placeholder(name) {
                        Some(Placeholder::Ip) => {
                            let _ = write!(filled, "{address}");
                        }
                        Some(Placeholder::Family) => {
                            filled.push_str(if address.is_ipv4() { "ipv4" } else { "ipv6" });
                        }
                        Some(Placeholder::Mirage) => filled.push_str(mirage),
                        // from_str() has refused it.
                        None => filled.push_str(name),
                    },
                }
            }
            words.push(filled);
        }
        words.into()
    }
}

/// The words with blanks between them and without their quotes, for a person.
impl fmt::Display for CommandTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for word in self.0.iter() {
            f.write_str(between)?;
            f.write_str(word)?;
            between = " ";
        }
        Ok(())
    }
}

fn split(text: &str) -> Result<Vec<String>, CommandTemplateError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (letter, quote) {
            ('\0', _) => return Err(CommandTemplateError::Nul),
            (' ' | '\t', None) => {
                if let Some(word) = word.take() {
                    words.push(word);
                }
            }
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(quoted)) if quoted == letter => quote = None,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(quote) = quote {
        return Err(CommandTemplateError::OpenQuote(quote));
    }
    if let Some(word) = word {
        words.push(word);
    }
    Ok(words)
}

/// Takes the next part of a word. Two letters or more between two % are a placeholder: a single one is
/// common elsewhere, as in %Y%m.
fn next_part<'a>(rest: &mut &'a str) -> Option<Part<'a>> {
    let text = *rest;
    let end = if let Some(behind) = text.strip_prefix('%') {
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        if letters > 1 && behind[letters..].starts_with('%') {
            let (placeholder, others) = text.split_at(letters + 2);
            *rest = others;
            return Some(Part::Placeholder(placeholder));
        }
        1 + behind.find('%').unwrap_or(behind.len())
    } else {
        text.find('%').unwrap_or(text.len())
    };
    let (plain, others) = text.split_at(end);
    *rest = others;
    (end > 0).then_some(Part::Text(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V4: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 7));

    fn parse(text: &str) -> Result<CommandTemplate, CommandTemplateError> {
        text.parse()
    }

    /// Its words for [`V4`] at the mirage `ssh`.
    #[track_caller]
    fn words(text: &str) -> Vec<String> {
        parse(text).unwrap().words(V4, "ssh").to_vec()
    }

    #[test]
    fn blanks_separate_words_and_quotes_keep_them_together() {
        for (text, expected) in [
            ("true", &["true"] as &[&str]),
            ("/bin/true", &["/bin/true"]),
            ("  a \t b  ", &["a", "b"]),
            ("a 'b c' \"d  e\"", &["a", "b c", "d  e"]),
            ("a '' \"\"", &["a", "", ""]),
            ("a --x='b c'd", &["a", "--x=b cd"]),
            ("a 'b\"c' \"d'e\"", &["a", "b\"c", "d'e"]),
            (r"a b\c \ d\", &["a", r"b\c", r"\", r"d\"]),
            ("a $HOME `b` ; > *", &["a", "$HOME", "`b`", ";", ">", "*"]),
            ("'my program' a", &["my program", "a"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn placeholders_are_filled_in_wherever_they_stand() {
        for (text, expected) in [
            ("a %IP% %FAMILY% %MIRAGE%", "a 192.0.2.7 ipv4 ssh"),
            ("a x%IP%y%IP%", "a x192.0.2.7y192.0.2.7"),
            ("/etc/%MIRAGE%.sh '%IP%'", "/etc/ssh.sh 192.0.2.7"),
            ("a %%IP%% 100% %", "a %192.0.2.7% 100% %"),
            ("a %Y%m%d %IP", "a %Y%m%d %IP"),
            ("a %I%P%IP%", "a %I%P192.0.2.7"),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
        let command = parse("a %IP% %FAMILY%").unwrap();
        let words = command.words("2001:db8::7".parse().unwrap(), "ssh");
        assert_eq!(words[1..], ["2001:db8::7", "ipv6"]);
    }

    #[test]
    fn what_is_filled_in_stays_one_word_and_is_not_read_again() {
        let command = parse("a %MIRAGE%").unwrap();
        let words = command.words(V4, "b %IP% 'c");
        assert_eq!(*words, ["a", "b %IP% 'c"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("", "needs a program, for example /usr/bin/logger"),
            (" '' a", "needs a program, for example /usr/bin/logger"),
            ("a 'b", "a ' is never closed"),
            ("a \"b'", "a \" is never closed"),
            ("a %USER%", "%USER% is not one of %IP%, %FAMILY%, %MIRAGE%"),
            ("a %IP%%ip%", "%ip% is not one of %IP%, %FAMILY%, %MIRAGE%"),
            ("bin/a b", "bin/a must be an absolute path: /bin/a"),
            ("a b\0c", "must not contain a NUL byte"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_words_can_be_written_down(words in prop::collection::vec("[^'\0]*", 0..6)) {
            let mut text = String::from("/program");
            for word in &words {
                text += &format!(" '{word}'");
            }
            let Ok(command) = parse(&text) else {
                // It has a placeholder that is none.
                prop_assert!(text.contains('%'));
                return Ok(());
            };
            let filled = command.words(V4, "ssh");
            prop_assert_eq!(filled.len(), words.len() + 1);
            for (filled, word) in filled[1..].iter().zip(&words) {
                let by_hand = word.replace("%IP%", "192.0.2.7");
                let by_hand = by_hand.replace("%FAMILY%", "ipv4").replace("%MIRAGE%", "ssh");
                prop_assert_eq!(filled, &by_hand);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a%IP '\"\\\\/é\t\0]*") {
            if let Ok(command) = parse(&text) {
                prop_assert!(!command.words(V4, "ssh").is_empty());
            }
        }
    }
}
