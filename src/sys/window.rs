//! How much of the terminal there is to draw on.

use rustix::{stdio, termios};

/// The columns and rows of the terminal that stdout is. None if it is not a terminal, or does not know:
/// a serial line has no size.
#[must_use]
pub fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(stdio::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}
