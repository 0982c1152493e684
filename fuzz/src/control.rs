//! The control socket: a client's line, and the daemon's answer.

use shimmer::daemon::fuzzing::{Asked, asked};
use shimmer::proto::input::Order;
use shimmer::proto::source::canonical;
use shimmer::status::{self, Banned, Forecast, Refusal, Status, Unbanned};

/// A line, or an answer.
pub fn control(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let question = asked(text);
    let line = match question {
        Asked::Forecast(address) => format!("status {address}"),
        Asked::Order(Order::Ban(address)) => format!("ban {address}"),
        Asked::Order(Order::Unban(address)) => format!("unban {address}"),
        Asked::Order(Order::UnbanAll) => "unban all".to_owned(),
        Asked::Status | Asked::Nonsense => text.to_owned(),
    };
    assert_eq!(asked(&line), question, "{line}");
    if let Asked::Forecast(address) | Asked::Order(Order::Ban(address) | Order::Unban(address)) =
        question
    {
        assert_eq!(address, canonical(address));
    }
    macro_rules! answers {
        ($($answer:ty)*) => {$(
            if let Some(read) = status::read::<$answer>(text) {
                let written = status::answer(&read);
                let again = status::read::<$answer>(&written);
                assert_eq!(again.map(|again| status::answer(&again)), Some(written));
            }
        )*};
    }
    answers!(Status Forecast Banned Unbanned Refusal);
}
