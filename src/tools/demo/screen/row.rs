//! A line of a frame: text with colours, and the column it has reached.

/// How text looks, by ECMA-48's "select graphic rendition".
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// As the terminal has it.
    Plain,
    /// What matters.
    Strong,
    /// The light that runs through the name.
    Light,
    /// What matters less.
    Faint,
    /// A real port of the last or the next minute.
    Good,
    /// The real port now.
    Way,
    /// A trap.
    Trap,
    /// The scanner, and what shuts it out.
    Bad,
    /// The member.
    Member,
}

impl Look {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Light => "1;97",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Way => "1;32",
            Self::Trap => "33",
            Self::Bad => "1;31",
            Self::Member => "1;36",
        }
    }
}

/// A line of a frame.
#[derive(Debug, Default)]
pub struct Row {
    text: String,
    columns: usize,
    has_colours: bool,
}

impl Row {
    /// An empty row.
    pub fn new(has_colours: bool) -> Self {
        Self {
            has_colours,
            ..Self::default()
        }
    }

    /// The text, with its escape sequences.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many columns it takes.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Adds text.
    pub fn put(mut self, look: Look, text: &str) -> Self {
        let code = look.code();
        if self.has_colours && !code.is_empty() && !text.trim().is_empty() {
            self.text += &format!("\x1b[{code}m{text}\x1b[0m");
        } else {
            self.text += text;
        }
        self.columns += text.chars().count();
        self
    }

    /// Adds a symbol and what it means.
    pub fn symbol(self, look: Look, symbol: char, meaning: &str) -> Self {
        self.put(look, symbol.encode_utf8(&mut [0; 4]))
            .put(Look::Faint, meaning)
    }

    /// Goes on at this column, counted from 1.
    pub fn at(mut self, column: usize) -> Self {
        while self.columns + 1 < column {
            self.text.push(' ');
            self.columns += 1;
        }
        self
    }
}
