//! A command with placeholders. It is split into words when the configuration is read, so that nothing
//! that a visitor sends can become another word, an option or a program. No shell sees it.
//!
//! ```text
//!   open-command = /usr/bin/logger -t shimmer "%IP% is in"
//! ```

use core::error::Error;
use core::fmt;
use core::mem;
use core::net::IpAddr;
use core::str::FromStr;
use std::rc::Rc;

const IP: &str = "%IP%";
const FAMILY: &str = "%FAMILY%";
const MIRAGE: &str = "%MIRAGE%";

/// A program and its arguments: at least one word. Copies share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTemplate(Rc<[Vec<Part>]>);

/// A part of a word: text as it is, or what is filled in when the command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Ip,
    Family,
    Mirage,
}

/// Why a text is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandTemplateError {
    /// It has no first word.
    NoProgram,
    /// Its program is a path that does not start at the root.
    Relative(String),
    /// Something between two % is not a placeholder. With its %.
    UnknownPlaceholder(String),
    /// This quote is opened and not closed.
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
                write!(f, "{name} is not one of {IP}, {FAMILY}, {MIRAGE}")
            }
            Self::OpenQuote(quote) => write!(f, "a {quote} is never closed"),
            Self::Nul => f.write_str("must not contain a NUL byte"),
        }
    }
}

/// Blanks separate words; '…' and "…" keep them together; a backslash is an ordinary letter.
impl FromStr for CommandTemplate {
    type Err = CommandTemplateError;

    fn from_str(text: &str) -> Result<Self, CommandTemplateError> {
        let words = split(text)?;
        let program = words.first().filter(|program| !program.is_empty());
        let program = program.ok_or(CommandTemplateError::NoProgram)?;
        if program.contains('/') && !program.starts_with('/') {
            return Err(CommandTemplateError::Relative(program.clone()));
        }
        let words: Result<_, _> = words.iter().map(|word| parse_word(word)).collect();
        Ok(Self(words?))
    }
}

impl CommandTemplate {
    /// The program and its arguments for a visitor's address and the section of a mirage.
    #[must_use]
    pub fn words(&self, address: IpAddr, mirage: &str) -> Rc<[String]> {
        let fill = |word: &Vec<Part>| {
            let mut filled = String::new();
            for part in word {
                match part {
                    Part::Text(text) => filled.push_str(text),
                    Part::Ip => filled.push_str(&address.to_string()),
                    Part::Family if address.is_ipv4() => filled.push_str("ipv4"),
                    Part::Family => filled.push_str("ipv6"),
                    Part::Mirage => filled.push_str(mirage),
                }
            }
            filled
        };
        self.0.iter().map(fill).collect()
    }
}

/// The words with blanks between them and without their quotes, for a person.
impl fmt::Display for CommandTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { " " })?;
            for part in word {
                f.write_str(match part {
                    Part::Text(text) => text,
                    Part::Ip => IP,
                    Part::Family => FAMILY,
                    Part::Mirage => MIRAGE,
                })?;
            }
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
            (' ' | '\t', None) => words.extend(word.take()),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(quoted)) if quoted == letter => quote = None,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    match quote {
        Some(quote) => Err(CommandTemplateError::OpenQuote(quote)),
        None => Ok(words),
    }
}

/// Two or more letters between two % are a placeholder: a single one is common elsewhere, as in %Y%m.
fn parse_word(word: &str) -> Result<Vec<Part>, CommandTemplateError> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some(percent) = rest.find('%') {
        text.push_str(&rest[..percent]);
        rest = &rest[percent..];
        let letters = rest[1..].bytes().take_while(u8::is_ascii_alphabetic);
        let after = 1 + letters.count();
        if after < 3 || !rest[after..].starts_with('%') {
            text.push('%');
            rest = &rest[1..];
            continue;
        }
        let (name, others) = rest.split_at(after + 1);
        if !text.is_empty() {
            parts.push(Part::Text(mem::take(&mut text)));
        }
        parts.push(match name {
            IP => Part::Ip,
            FAMILY => Part::Family,
            MIRAGE => Part::Mirage,
            _ => return Err(CommandTemplateError::UnknownPlaceholder(name.to_owned())),
        });
        rest = others;
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
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
