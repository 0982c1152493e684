//! A sentence for a person: what is wrong, and what would be right.

use core::fmt;

/// A text behind one word, so that a `Result` with it comes back in registers, and moving an error
/// up through its callers is one instruction each: kilobytes of code.
#[derive(Debug, PartialEq, Eq)]
pub struct Message(
    #[allow(clippy::box_collection, reason = "a boxed str is two words")] Box<String>,
);

impl Message {
    /// Words it. Every place that does so is a cold one.
    #[cold]
    #[must_use]
    pub fn new(text: fmt::Arguments) -> Self {
        Self(Box::new(text.to_string()))
    }
}

impl core::error::Error for Message {}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value, or what is wrong with its text and what would be right.
pub type Parsed<T> = Result<T, Message>;

/// An error with this text.
macro_rules! wrong {
    ($($text:tt)*) => {
        Err($crate::message::Message::new(format_args!($($text)*)))
    };
}
pub(crate) use wrong;

/// Words, with commas between them.
pub struct List<'a>(pub &'a [&'a str]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for word in self.0 {
            f.write_str(between)?;
            f.write_str(word)?;
            between = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
impl PartialEq<&str> for Message {
    fn eq(&self, text: &&str) -> bool {
        *self.0 == *text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The compiler's code for a text of 128 bytes or more is not the one for shorter texts.
    #[test]
    fn a_long_sentence_is_kept_to_its_end() {
        let text = "the secret of home has bytes that `secret =` can't hold, or blanks at its ends; copy \
             its secret-file to the laptop, and give it there as secret-file = PATH";
        assert!(text.len() >= 128);
        let name = "home";
        let message = Message::new(format_args!(
            "the secret of {name} has bytes that `secret =` can't hold, or blanks at its ends; copy \
             its secret-file to the laptop, and give it there as secret-file = {path}",
            path = "PATH",
        ));
        assert_eq!(message, text);
    }
}
