//! A sentence for a person: what is wrong, then what to do.

use core::fmt;

/// An error that is only ever shown: nobody handles one sentence in another way than the next. It is one
/// word, so that a `Result` with it fits into registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(
    #[allow(
        clippy::box_collection,
        reason = "a boxed str is two words, and 1.8 KB more of the compressed program"
    )]
    Box<String>,
);

impl Message {
    /// The sentence. It is #[cold], because every caller is about to give up.
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

/// A value, or what is wrong with its text and what to write.
pub type Parsed<T> = Result<T, Message>;

/// `Err` with this sentence.
macro_rules! wrong {
    ($($text:tt)*) => {
        Err($crate::message::Message::new(format_args!($($text)*)))
    };
}
pub(crate) use wrong;

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
