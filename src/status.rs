//! The answers of the control socket: one definition for the daemon, which writes them, and for the tool, which
//! reads them.
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
//! Each row of a list is on a line of its own, so that a script without a JSON parser can find it. The
//! functions below add one field, list or row at a time: a long answer is made in pieces.
//!
//! Unknown keys are ignored, and most keys may be missing: a daemon of another version may send more, or less.

mod json;

use json::{Reader, push_string};

/// A value that can be written as JSON.
pub trait ToJson {
    /// Appends it to a text.
    fn write(&self, text: &mut String);

    /// Whether there is no value; then its key is not written either.
    fn is_missing(&self) -> bool {
        false
    }
}

/// A value that can be read from JSON.
pub trait FromJson {
    /// Reads it from the front; None if the text has another type there, or a required key is missing.
    fn read(&mut self, json: &mut Reader<'_>) -> Option<()>;

    /// Whether its key may be missing.
    fn may_be_missing(&self) -> bool {
        false
    }
}

/// Defines objects whose keys are the names of their fields.
///
/// A derive would generate code for each of these types. Here each type is a list of fields, with one function
/// that writes such a list and one that reads it.
macro_rules! objects {
    ($(
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$about_field:meta])* pub $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$about_field])* pub $field: $type,)*
        }

        impl ToJson for $name {
            fn write(&self, text: &mut String) {
                write_object(text, &[$(stringify!($field)),*], &[$(&self.$field),*]);
            }
        }

        impl FromJson for $name {
            fn read(&mut self, json: &mut Reader<'_>) -> Option<()> {
                read_object(json, &[$(stringify!($field)),*], &mut [$(&mut self.$field),*])
            }
        }
    )*};
}

objects! {
    /// The answer to `status`.
    pub struct Status {
        /// The daemon's version.
        pub version: Option<String>,
        /// When the daemon was started, in Unix seconds.
        pub since: Option<u64>,
        /// The daemon's real clock, in Unix seconds.
        pub now: Option<u64>,
        /// `right`, or `waiting` while the clock is not trusted.
        pub clock: Option<String>,
        /// Whether the daemon is in its sandbox: `on` or `off`.
        pub sandbox: Option<String>,
        /// In the order of the configuration.
        pub mirages: Option<Vec<MirageRow>>,
        /// In no order.
        pub sessions: Option<Vec<SessionRow>>,
        /// In no order.
        pub doors: Option<Vec<DoorRow>>,
        /// In no order.
        pub bans: Option<Vec<BanRow>>,
        /// Totals since the start.
        pub counters: Option<CounterList>,
        /// How full each table is.
        pub places: Option<Vec<PlacesRow>>,
    }

    /// A mirage.
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
        /// `loaded`, or what is missing of the set and the rules of `door = nft`; missing at other doors.
        pub rules: Option<String>,
        /// `ports` or `pool`; missing at a silent gate.
        pub listen: Option<String>,
        /// `LOW-HIGH`
        pub range: Option<String>,
        /// The length of a window in seconds.
        pub period: Option<u32>,
        /// The number of the current window.
        pub minute: Option<u64>,
        /// The number of open ports.
        pub open: Option<u32>,
        /// The real ports of the last window, this one and the next.
        pub real: Option<Vec<u16>>,
        /// The ports that are open.
        pub ports: Option<Vec<u16>>,
    }

    /// One session.
    pub struct SessionRow {
        /// The visitor's address.
        pub source: String,
        /// The mirage's section.
        pub mirage: String,
        /// Bytes from the visitor to the service.
        pub bytes_in: u64,
        /// Bytes from the service to the visitor.
        pub bytes_out: u64,
        /// Its duration in seconds.
        pub age: u64,
        /// The address of 127/8 at which the service sees the visitor; missing if it sees another.
        pub client_address: Option<String>,
    }

    /// An open door.
    pub struct DoorRow {
        /// The address it is open for, or `service` for a service on demand.
        pub source: String,
        /// The mirage's section.
        pub mirage: String,
        /// How long it stays open, in seconds.
        pub seconds: u64,
    }

    /// A ban.
    pub struct BanRow {
        /// An IPv4 address, or the /64 of an IPv6 address.
        pub source: String,
        /// How much longer it lasts, in seconds.
        pub seconds: u64,
        /// `trap`, `token`, `hand` or `state`.
        pub why: String,
        /// Connections since the ban began, the first one included.
        pub attempts: u32,
    }

    /// How full a table is.
    pub struct PlacesRow {
        /// `sessions`, `traps`, `bans` or `nonces`.
        pub of: String,
        /// The section of the mirage that the table belongs to; missing if it is shared.
        pub mirage: Option<String>,
        /// Entries in use.
        pub taken: u64,
        /// Entries in total.
        pub places: u64,
        /// Whether all entries are in use.
        pub full: bool,
    }

    /// The answer to `status ADDRESS`: what would happen to it.
    pub struct Forecast {
        /// The source that a ban of this address would cover.
        pub source: String,
        /// The number of its sessions.
        pub sessions: u64,
        /// Its ban; empty if it has none.
        pub bans: Vec<BanRow>,
        /// In the order of the configuration.
        pub mirages: Vec<ForecastRow>,
        /// The sources that services see, or have last seen, at this address; missing if there are none.
        pub clients: Option<Vec<ClientRow>>,
    }

    /// A source that a service sees at an address of 127/8.
    pub struct ClientRow {
        /// An IPv4 address, or the /64 of an IPv6 address.
        pub source: String,
        /// The mirage's section.
        pub mirage: String,
        /// The number of its sessions from that address.
        pub sessions: u64,
    }

    /// What would happen to an address at a mirage.
    pub struct ForecastRow {
        /// The mirage's section.
        pub mirage: String,
        /// `port`, `token`, `knock` or `packet`.
        pub gate: String,
        /// What happens to a visitor with the secret: `admit`, `hold`, `ban`, `refuse` or `ignore`.
        pub right: String,
        /// What happens to a visitor who guesses.
        pub wrong: String,
        /// `stranger`, `banned`, `allow`, `from`, `session` or `clock`.
        pub why: String,
    }

    /// The answer to `ban`.
    pub struct Banned {
        /// `banned`
        pub ok: String,
        /// The banned source.
        pub source: String,
        /// How long the ban lasts, in seconds.
        pub seconds: u64,
    }

    /// The answer to `unban`.
    pub struct Unbanned {
        /// `unbanned`
        pub ok: String,
        /// The number of lifted bans.
        pub count: u64,
    }

    /// The answer to a request that is invalid or refused.
    pub struct Refusal {
        /// What is wrong; missing in all other answers.
        pub error: Option<String>,
    }
}

fn write_object(text: &mut String, keys: &[&str], fields: &[&dyn ToJson]) {
    begin(text);
    for (key, field) in keys.iter().zip(fields) {
        if !field.is_missing() {
            push_key(text, key, ",");
            field.write(text);
        }
    }
    text.push('}');
}

fn read_object(
    json: &mut Reader<'_>,
    keys: &[&str],
    fields: &mut [&mut dyn FromJson],
) -> Option<()> {
    let mut are_there = vec![false; keys.len()];
    json.object(&mut |json, key| {
        let Some(place) = keys.iter().position(|known| *known == key) else {
            return json.pass();
        };
        are_there[place] = true;
        fields[place].read(json)
    })?;
    let mut all = fields.iter().zip(are_there);
    all.all(|(field, is_there)| is_there || field.may_be_missing())
        .then_some(())
}

impl ToJson for bool {
    fn write(&self, text: &mut String) {
        text.push_str(if *self { "true" } else { "false" });
    }
}

impl FromJson for bool {
    fn read(&mut self, json: &mut Reader<'_>) -> Option<()> {
        *self = json.bool()?;
        Some(())
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl ToJson for $type {
            fn write(&self, text: &mut String) {
                text.push_str(&self.to_string());
            }
        }

        impl FromJson for $type {
            fn read(&mut self, json: &mut Reader<'_>) -> Option<()> {
                *self = json.number()?.try_into().ok()?;
                Some(())
            }
        }
    )*};
}

numbers! { u16 u32 u64 usize }

impl ToJson for &str {
    fn write(&self, text: &mut String) {
        push_string(text, self);
    }
}

impl ToJson for String {
    fn write(&self, text: &mut String) {
        push_string(text, self);
    }
}

impl FromJson for String {
    fn read(&mut self, json: &mut Reader<'_>) -> Option<()> {
        *self = json.string()?;
        Some(())
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn write(&self, text: &mut String) {
        text.push('[');
        for (number, item) in self.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            item.write(text);
        }
        text.push(']');
    }
}

impl<T: FromJson + Default> FromJson for Vec<T> {
    fn read(&mut self, json: &mut Reader<'_>) -> Option<()> {
        json.list(&mut |json| {
            self.push(T::default());
            self.last_mut()?.read(json)
        })
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn write(&self, text: &mut String) {
        if let Some(value) = self {
            value.write(text);
        }
    }

    fn is_missing(&self) -> bool {
        self.is_none()
    }
}

impl<T: FromJson + Default> FromJson for Option<T> {
    fn read(&mut self, json: &mut Reader<'_>) -> Option<()> {
        self.insert(T::default()).read(json)
    }

    fn may_be_missing(&self) -> bool {
        true
    }
}

/// Counters by name, in the order of the answer.
#[derive(Debug, Default)]
pub struct CounterList(pub Vec<(String, u64)>);

impl ToJson for CounterList {
    fn write(&self, text: &mut String) {
        begin(text);
        for (name, count) in &self.0 {
            push_key(text, name, ",");
            count.write(text);
        }
        text.push('}');
    }
}

impl FromJson for CounterList {
    fn read(&mut self, json: &mut Reader<'_>) -> Option<()> {
        json.object(&mut |json, name| {
            self.0.push((name.to_owned(), json.number()?));
            Some(())
        })
    }
}

/// Reads a complete answer; None if it is cut short or lacks a required key.
pub fn read<T: FromJson + Default>(text: &str) -> Option<T> {
    let (mut answer, mut json) = (T::default(), Reader::new(text));
    answer.read(&mut json)?;
    json.end()?;
    Some(answer)
}

/// Starts an answer.
pub fn begin(text: &mut String) {
    text.push('{');
}

/// Adds a field to an answer, on a line of its own.
pub fn push_field(text: &mut String, key: &str, value: &dyn ToJson) {
    push_key(text, key, ",\n");
    value.write(text);
}

/// Adds a field to an answer, on the line of the field before it.
pub fn push_beside(text: &mut String, key: &str, value: &dyn ToJson) {
    push_key(text, key, ",");
    value.write(text);
}

/// Starts a list.
pub fn begin_list(text: &mut String, key: &str) {
    push_key(text, key, ",\n");
    text.push('[');
}

/// Adds a row to a list.
pub fn push_row(text: &mut String, is_first: bool, row: &dyn ToJson) {
    text.push_str(if is_first { "\n" } else { ",\n" });
    row.write(text);
}

/// Ends a list.
pub fn end_list(text: &mut String) {
    text.push_str("\n]");
}

/// Ends an answer.
pub fn end(text: &mut String) {
    text.push_str("}\n");
}

/// A complete answer on one line.
pub fn answer(value: &dyn ToJson) -> String {
    let mut text = String::new();
    value.write(&mut text);
    text.push('\n');
    text
}

fn push_key(text: &mut String, key: &str, separator: &str) {
    if !text.ends_with('{') {
        text.push_str(separator);
    }
    push_string(text, key);
    text.push(':');
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
            rules: None,
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

        let status: Status = read(&text).unwrap();
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
            assert!(read::<Status>(&text[..end]).is_none(), "{end}");
        }
        assert!(read::<Status>(text).is_some());
    }
}
