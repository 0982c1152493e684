use super::super::event::{Found, Moment, ShowEvent};
use super::super::story::tests::story;
use super::*;

fn frames(story: &Story) -> Vec<Vec<Row>> {
    let mut frames = Vec::new();
    for (symbols, has_colours) in [(&UNICODE, true), (&ASCII, false)] {
        let painter = Painter {
            has_colours,
            symbols,
        };
        frames.push(painter.frame(story, false));
        frames.push(painter.frame(story, true));
    }
    frames
}

#[track_caller]
fn fits(story: &Story) {
    for frame in frames(story) {
        assert!(frame.len() < usize::from(ROWS), "{} rows", frame.len());
        for row in frame {
            assert!(row.columns() < usize::from(COLUMNS), "{}", row.text());
        }
    }
}

#[test]
fn every_frame_fits_a_small_terminal() {
    let mut story = story();
    fits(&story);
    let [door, real, _] = story.ports.real;
    let scene = story.scene.clone();
    story.handle(ShowEvent::Entered { port: door });
    for _ in 0..999 {
        story.handle(ShowEvent::Echoed);
    }
    story.handle(ShowEvent::Log(format!(
        "T accept source={} port={real}",
        scene.scanner
    )));
    for port in scene.range.low()..=scene.range.high() {
        let found = if port == real {
            Found::Greeting
        } else {
            Found::Shut
        };
        story.handle(ShowEvent::Tried { port, found });
    }
    let trap = scene.range.high();
    story.handle(ShowEvent::Log(format!(
        "T ban source={} port={trap}",
        scene.scanner
    )));
    fits(&story);
    let now = Moment {
        real_ms: story.now.real_ms + 6_000,
        since_ms: story.now.since_ms + 6_000,
    };
    story.advance(now);
    fits(&story);
}

#[test]
fn without_colours_there_is_no_escape_and_without_unicode_only_ascii() {
    let story = story();
    let painter = Painter {
        has_colours: false,
        symbols: &ASCII,
    };
    for row in painter.frame(&story, false) {
        assert!(row.text().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
}
