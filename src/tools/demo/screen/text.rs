//! What both the frames and the lines say.

use crate::tools::demo::scene::{NAME, PERIOD_S};
use crate::tools::demo::story::Story;
use std::env;

/// What comes before the first line.
pub const OPENING: &str = "\
SHIMMER hides a service behind ports that change every minute.
Here a minute takes 3 seconds; a member has the secret, a scanner does not.
";

/// What comes last.
pub const CLOSING: [&str; 2] = [
    "That was the real daemon. The secret gets you in, guessing gets you banned.",
    "To hide a service: shimmer help and README.md. To play: shimmer demo --stay",
];

/// What to type in another terminal.
pub fn invitation(story: &Story) -> [String; 4] {
    let scene = &story.scene;
    let (address, secret, seconds) = (scene.address, &scene.secret, scene.ban_s);
    let (low, high, period) = (scene.range.low(), scene.range.high(), PERIOD_S);
    let program = env::args_os().next().unwrap_or_default();
    let program = program.to_string_lossy();
    [
        "Now you, from another terminal. Ctrl-C here ends the show.".into(),
        format!("  export SHIMMER_SECRET={secret}"),
        format!("  nc {address} $({program} port {NAME}:{low}:{high} --period {period}s)"),
        format!("  nc -zv {address} {low}-{high}    # guessing: banned for {seconds} s"),
    ]
}
