//! What the control socket answers: one definition for the daemon, which writes it, and for the tool,
//! which reads it.
//!
//! ```text
//!   {"version":"0.1.0",
//!   "since":1794000000,
//!   "bans":[
//!   {"source":"203.0.113.9","seconds":812,"why":"trap","attempts":12},
//!   {"source":"198.51.100.4","seconds":3,"why":"hand","attempts":1}
//!   ]}
//! ```
//!
//! Each row of a list has a line of its own, so that a script without a JSON reader finds it. The
//! functions below add a field, a list or a row at a time: a long answer is made in pieces.
//!
//! Unknown keys are ignored, and most may be missing: a daemon of another version may say more, or less.

use core::mem;
use miniserde::de::{self, Visitor};
use miniserde::ser::{self, Fragment};
use miniserde::{Deserialize, Serialize, make_place};
use std::borrow::Cow;

/// The answer to `status`.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// Of the daemon.
    pub version: Option<String>,
    /// When the daemon was started, in Unix seconds.
    pub since: Option<u64>,
    /// In Unix seconds.
    pub now: Option<u64>,
    /// `right`, or `waiting` while the clock is not trusted.
    pub clock: Option<String>,
    /// In the order of the configuration.
    pub mirages: Option<Vec<MirageRow>>,
    /// In no order.
    pub sessions: Option<Vec<SessionRow>>,
    /// In no order.
    pub doors: Option<Vec<DoorRow>>,
    /// In no order.
    pub bans: Option<Vec<BanRow>>,
    /// What has happened since the start.
    pub counters: Option<CounterList>,
    /// How full each table is.
    pub places: Option<Vec<PlacesRow>>,
}

/// A mirage.
#[derive(Debug, Deserialize)]
pub struct MirageRow {
    /// The section of the configuration: `[mirage-NAME]`.
    pub mirage: String,
    /// The name from which the keys are derived.
    pub name: Option<String>,
    /// `port`, `token`, `knock` or `packet`.
    pub gate: Option<String>,
    /// `forward`, `command` or `nft`.
    pub door: String,
    /// The hidden service.
    pub forward: Option<String>,
    /// `ports` or `pool`; none at a silent gate.
    pub listen: Option<String>,
    /// `LOW-HIGH`
    pub range: Option<String>,
    /// How long a window lasts, in seconds.
    pub period: Option<u32>,
    /// The number of the current window.
    pub minute: Option<u64>,
    /// How many ports are open.
    pub open: Option<u32>,
    /// The real ports of the last window, this one and the next.
    pub real: Option<Vec<u16>>,
    /// The ports that are open.
    pub ports: Option<Vec<u16>>,
}

/// A session.
#[derive(Debug, Deserialize, Serialize)]
pub struct SessionRow {
    /// The visitor's address.
    pub source: String,
    /// The section of its mirage.
    pub mirage: String,
    /// Bytes from the visitor to the service.
    pub bytes_in: u64,
    /// Bytes from the service to the visitor.
    pub bytes_out: u64,
    /// In seconds.
    pub age: u64,
}

/// A door that is open.
#[derive(Debug, Deserialize, Serialize)]
pub struct DoorRow {
    /// The address for which it is open, or `service` for a service that was started on demand.
    pub source: String,
    /// The section of its mirage.
    pub mirage: String,
    /// For how long it stays open.
    pub seconds: u64,
}

/// A ban.
#[derive(Debug, Deserialize, Serialize)]
pub struct BanRow {
    /// An IPv4 address, or the /64 of an IPv6 address.
    pub source: String,
    /// For how long it stays banned.
    pub seconds: u64,
    /// `trap`, `token`, `hand` or `state`.
    pub why: String,
    /// How often it came, the attempt that began the ban included.
    pub attempts: u32,
}

/// How full a table is.
#[derive(Debug, Deserialize)]
pub struct PlacesRow {
    /// `sessions`, `traps`, `bans` or `nonces`.
    pub of: String,
    /// The section of the mirage that has this table to itself.
    pub mirage: Option<String>,
    /// How many entries it has.
    pub taken: u64,
    /// How many it can have.
    pub places: u64,
    /// Whether no entry fits any more.
    pub full: bool,
}

/// The answer to `status ADDRESS`: what would happen to it.
#[derive(Debug, Deserialize)]
pub struct Forecast {
    /// What a ban of this address would cover.
    pub source: String,
    /// How many sessions it has.
    pub sessions: u64,
    /// Its ban, if it has one.
    pub bans: Vec<BanRow>,
    /// In the order of the configuration.
    pub mirages: Vec<ForecastRow>,
}

/// What would happen to an address at a mirage.
#[derive(Debug, Deserialize, Serialize)]
pub struct ForecastRow {
    /// Its section.
    pub mirage: String,
    /// `port`, `token`, `knock` or `packet`.
    pub gate: String,
    /// What happens to whoever has the secret: `admit`, `hold`, `ban`, `refuse` or `ignore`.
    pub right: String,
    /// What happens to whoever guesses.
    pub wrong: String,
    /// `stranger`, `banned`, `allow`, `from`, `session` or `clock`.
    pub why: String,
}

/// The answer to `ban`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Banned {
    /// `banned`
    pub ok: String,
    /// What the ban covers.
    pub source: String,
    /// For how long.
    pub seconds: u64,
}

/// The answer to `unban`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Unbanned {
    /// `unbanned`
    pub ok: String,
    /// How many bans were lifted.
    pub count: u64,
}

/// The answer to a request that makes no sense, or that is refused.
#[derive(Debug, Deserialize, Serialize)]
pub struct Refusal {
    /// What is wrong; none in all other answers.
    pub error: Option<String>,
}

/// Counters by name, in the order of the answer.
#[derive(Debug, Default)]
pub struct CounterList(pub Vec<(String, u64)>);

impl Serialize for MirageRow {
    fn begin(&self) -> Fragment<'_> {
        let optional: [(_, Option<&dyn Serialize>); 8] = [
            ("forward", self.forward.as_ref().map(|value| value as _)),
            ("listen", self.listen.as_ref().map(|value| value as _)),
            ("range", self.range.as_ref().map(|value| value as _)),
            ("period", self.period.as_ref().map(|value| value as _)),
            ("minute", self.minute.as_ref().map(|value| value as _)),
            ("open", self.open.as_ref().map(|value| value as _)),
            ("real", self.real.as_ref().map(|value| value as _)),
            ("ports", self.ports.as_ref().map(|value| value as _)),
        ];
        let mut fields: Vec<(&str, &dyn Serialize)> = vec![
            ("mirage", &self.mirage),
            ("name", &self.name),
            ("gate", &self.gate),
            ("door", &self.door),
        ];
        let there = |(key, value): (_, Option<_>)| value.map(|value| (key, value));
        fields.extend(optional.into_iter().filter_map(there));
        fragment(fields)
    }
}

impl Serialize for PlacesRow {
    fn begin(&self) -> Fragment<'_> {
        let mut fields: Vec<(&str, &dyn Serialize)> = vec![("of", &self.of)];
        if let Some(mirage) = &self.mirage {
            fields.push(("mirage", mirage));
        }
        fields.push(("taken", &self.taken));
        fields.push(("places", &self.places));
        fields.push(("full", &self.full));
        fragment(fields)
    }
}

impl Serialize for CounterList {
    fn begin(&self) -> Fragment<'_> {
        let entries = self.0.iter();
        fragment(entries.map(|(name, count)| (&**name, count as _)).collect())
    }
}

/// An object of these fields. The derived one writes `null` for each field that is missing.
fn fragment<'a>(fields: Vec<(&'a str, &'a dyn Serialize)>) -> Fragment<'a> {
    struct Fields<'a>(std::vec::IntoIter<(&'a str, &'a dyn Serialize)>);

    impl ser::Map for Fields<'_> {
        fn next(&mut self) -> Option<(Cow<'_, str>, &dyn Serialize)> {
            let (key, value) = self.0.next()?;
            Some((Cow::Borrowed(key), value))
        }
    }

    Fragment::Map(Box::new(Fields(fields.into_iter())))
}

make_place!(Place);

impl Deserialize for CounterList {
    fn begin(out: &mut Option<Self>) -> &mut dyn Visitor {
        Place::new(out)
    }
}

impl Visitor for Place<CounterList> {
    fn map(&mut self) -> miniserde::Result<Box<dyn de::Map + '_>> {
        Ok(Box::new(Counters {
            out: &mut self.out,
            list: Vec::new(),
            name: String::new(),
            count: None,
        }))
    }
}

/// Reads counters: a name, then its count into the place that it was given.
struct Counters<'a> {
    out: &'a mut Option<CounterList>,
    list: Vec<(String, u64)>,
    name: String,
    count: Option<u64>,
}

impl Counters<'_> {
    fn keep_last(&mut self) {
        if let Some(count) = self.count.take() {
            self.list.push((mem::take(&mut self.name), count));
        }
    }
}

impl de::Map for Counters<'_> {
    fn key(&mut self, name: &str) -> miniserde::Result<&mut dyn Visitor> {
        self.keep_last();
        name.clone_into(&mut self.name);
        Ok(Deserialize::begin(&mut self.count))
    }

    fn finish(&mut self) -> miniserde::Result<()> {
        self.keep_last();
        *self.out = Some(CounterList(mem::take(&mut self.list)));
        Ok(())
    }
}

/// Begins an answer.
pub fn begin(text: &mut String) {
    text.push('{');
}

/// Adds a field to an answer, on a line of its own.
pub fn push_field(text: &mut String, key: &str, value: &impl Serialize) {
    push_key(text, key, ",\n");
    push_value(text, value);
}

/// Adds a field to an answer, on the line of the field before it.
pub fn push_beside(text: &mut String, key: &str, value: &impl Serialize) {
    push_key(text, key, ",");
    push_value(text, value);
}

/// Begins a list of an answer.
pub fn begin_list(text: &mut String, key: &str) {
    push_key(text, key, ",\n");
    text.push('[');
}

/// Adds a row to a list.
pub fn push_row(text: &mut String, is_first: bool, row: &impl Serialize) {
    text.push_str(if is_first { "\n" } else { ",\n" });
    push_value(text, row);
}

/// Ends a list.
pub fn end_list(text: &mut String) {
    text.push_str("\n]");
}

/// Ends an answer.
pub fn end(text: &mut String) {
    text.push_str("}\n");
}

/// A whole answer, on one line.
pub fn answer(value: &impl Serialize) -> String {
    let mut text = String::new();
    push_value(&mut text, value);
    text.push('\n');
    text
}

fn push_key(text: &mut String, key: &str, separator: &str) {
    if !text.ends_with('{') {
        text.push_str(separator);
    }
    push_value(text, &key);
    text.push(':');
}

fn push_value(text: &mut String, value: &impl Serialize) {
    text.push_str(&miniserde::json::to_string(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_line_and_a_missing_key_is_not_written() {
        let mirage = |forward: Option<&str>, real| MirageRow {
            mirage: "home".to_owned(),
            name: Some("ssh".to_owned()),
            gate: Some("knock".to_owned()),
            door: "command".to_owned(),
            forward: forward.map(str::to_owned),
            listen: None,
            range: None,
            period: Some(60),
            minute: None,
            open: None,
            real,
            ports: None,
        };
        let mut text = String::new();
        begin(&mut text);
        push_field(&mut text, "version", &"1".to_owned());
        push_beside(&mut text, "now", &5u64);
        begin_list(&mut text, "mirages");
        push_row(&mut text, true, &mirage(None, None));
        push_row(&mut text, false, &mirage(Some("exec"), Some(vec![7, 8])));
        end_list(&mut text);
        begin_list(&mut text, "bans");
        end_list(&mut text);
        let counters = [("visitors", 2), ("accepted", 1)];
        let counters = counters.map(|(name, count)| (name.to_owned(), count));
        push_field(&mut text, "counters", &CounterList(counters.into()));
        end(&mut text);
        assert_eq!(
            text,
            r#"{"version":"1","now":5,
"mirages":[
{"mirage":"home","name":"ssh","gate":"knock","door":"command","period":60},
{"mirage":"home","name":"ssh","gate":"knock","door":"command","forward":"exec","period":60,"real":[7,8]}
],
"bans":[
],
"counters":{"visitors":2,"accepted":1}}
"#
        );

        let status: Status = miniserde::json::from_str(&text).unwrap();
        assert_eq!(status.now, Some(5));
        assert!(status.sessions.is_none() && status.bans.unwrap().is_empty());
        let [plain, full] = &status.mirages.unwrap()[..] else {
            panic!("two rows were written");
        };
        assert_eq!((plain.period, &plain.real), (Some(60), &None));
        assert_eq!(full.real.as_deref(), Some([7, 8].as_slice()));
        let names: Vec<String> = status
            .counters
            .unwrap()
            .0
            .into_iter()
            .map(|e| e.0)
            .collect();
        assert_eq!(names, ["visitors", "accepted"]);
    }

    #[test]
    fn an_answer_that_breaks_off_is_not_read() {
        let text = "{\"version\":\"1\",\n\"weather\":[{\"a\":[1,{}]}],\n\"bans\":[\n]}";
        for end in 0..text.len() {
            assert!(
                miniserde::json::from_str::<Status>(&text[..end]).is_err(),
                "{end}"
            );
        }
        assert!(miniserde::json::from_str::<Status>(text).is_ok());
    }
}
