//! The answers of the control socket, made piece by piece.

use crate::daemon::netfilter::Netfilter;
use crate::daemon::ports::Ports;
use crate::daemon::sockets::Sockets;
use crate::limits::ANSWER_BYTES;
use crate::proto::bans::Ban;
use crate::proto::doors::OpenFor;
use crate::proto::effect::Reply;
use crate::proto::gates::Verdict;
use crate::proto::ids::{JobId, MirageId};
use crate::proto::input::Order;
use crate::proto::server::{Mirage, MirageForecast};
use crate::proto::settings::MirageSettings;
use crate::proto::source::{self, Source};
use crate::proto::{Core, Instant};
use crate::status::{
    self, BanRow, Banned, ClientRow, CounterList, DoorRow, ForecastRow, MirageRow, PlacesRow,
    Refusal, SessionRow, Unbanned,
};
use crate::terms::Door;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

/// A client's question.
pub enum Question {
    /// Everything.
    Status(PortsShown),
    /// What would happen to this address.
    Forecast(IpAddr),
    /// An order to ban or unban.
    Order(Order),
    /// Not a valid question; with a hint at what would be.
    Nonsense(&'static str),
}

/// Whether an answer names current and future ports.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PortsShown {
    Yes,
    No,
}

impl Question {
    /// Parses a line.
    pub fn parse(line: &str) -> Self {
        let mut words = line.split_ascii_whitespace();
        let (what, about) = (words.next().unwrap_or_default(), words.next());
        match (what, about, words.next()) {
            ("status", None, None) => Self::Status(PortsShown::No),
            ("status", Some("ports"), None) => Self::Status(PortsShown::Yes),
            ("unban", Some("all"), None) => Self::Order(Order::UnbanAll),
            ("status" | "ban" | "unban", Some(text), None) => match (what, address(text)) {
                (_, None) => Self::Nonsense("not an address such as 192.0.2.7"),
                ("status", Some(address)) => Self::Forecast(address),
                ("ban", Some(address)) => Self::Order(Order::Ban(address)),
                (_, Some(address)) => Self::Order(Order::Unban(address)),
            },
            _ => Self::Nonsense("unknown request; there are status, ban and unban"),
        }
    }
}

/// An address, or the form of a source in the ban list: 2001:db8:1:2::/64.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.strip_suffix("/64").unwrap_or(text);
    address.parse().ok().map(source::canonical)
}

/// An answer that is being sent: what is made but not sent yet, and how to continue.
pub struct Answer {
    text: String,
    /// How many of its bytes are sent.
    pub sent: usize,
    /// How to continue.
    pub rest: Rest,
}

/// Where to continue a long answer.
#[derive(Clone, Copy)]
pub enum Rest {
    /// With this mirage.
    Mirages(usize, PortsShown),
    /// With the session in this slot.
    Sessions(usize),
    /// With the ban in this place.
    Bans(usize),
    /// It is complete.
    Nothing,
}

impl Answer {
    fn whole(text: String) -> Self {
        let (sent, rest) = (0, Rest::Nothing);
        Self { text, sent, rest }
    }

    /// The bytes that are made but not sent yet; None if there are none.
    pub fn unsent(&self) -> Option<&[u8]> {
        let unsent = self.text.as_bytes().get(self.sent..)?;
        (!unsent.is_empty()).then_some(unsent)
    }

    /// The answer to an order.
    pub fn to(reply: Reply) -> Self {
        Self::whole(match reply {
            Reply::Banned { source, seconds } => status::answer(&Banned {
                ok: "banned".to_owned(),
                source: source.to_string(),
                seconds: seconds.into(),
            }),
            Reply::NeverBanned(address) => {
                error(format_args!("{address} is in allow, and is never banned"))
            }
            Reply::Unbanned(count) => status::answer(&Unbanned {
                ok: "unbanned".to_owned(),
                count: count as u64,
            }),
        })
    }
}

fn error(what: fmt::Arguments<'_>) -> String {
    let error = Some(what.to_string());
    status::answer(&Refusal { error })
}

/// What answers are made from.
pub struct View<'a> {
    pub core: &'a Core,
    pub ports: &'a Ports,
    pub sockets: &'a Sockets,
    pub netfilter: &'a Netfilter<JobId>,
    /// Packets at the silent gates: taken, and lost.
    pub packets: (u64, u64),
    /// When the daemon was started.
    pub started: Instant,
    /// Whether it is in its sandbox: `on` or `off`.
    pub sandbox: &'static str,
}

impl View<'_> {
    /// The answer to a question, or its first piece.
    pub fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Status(ports) => self.begin_status(*ports),
            Question::Forecast(address) => Answer::whole(self.forecast(*address)),
            Question::Nonsense(what) => Answer::whole(error(format_args!("{what}"))),
            Question::Order(_) => Answer::whole(String::new()),
        }
    }

    fn begin_status(&self, ports: PortsShown) -> Answer {
        let now = self.core.now();
        let up_s = now.boot.since(self.started) / 1_000;
        let (unix, version) = (now.unix(), env!("CARGO_PKG_VERSION"));
        let since = unix.saturating_sub(up_s);
        let clock = match self.core.is_clock_trusted() {
            true => "right",
            false => "waiting",
        };
        let mut text = String::new();
        status::begin(&mut text);
        status::push_field(&mut text, "version", &version);
        status::push_field(&mut text, "since", &since);
        status::push_field(&mut text, "now", &unix);
        status::push_field(&mut text, "clock", &clock);
        status::push_field(&mut text, "sandbox", &self.sandbox);
        status::begin_list(&mut text, "mirages");
        let (sent, rest) = (0, Rest::Mirages(0, ports));
        Answer { text, sent, rest }
    }

    /// Makes the next piece of a long answer.
    pub fn next_piece(&self, rest: Rest) -> Answer {
        let mut text = String::with_capacity(2 * ANSWER_BYTES);
        let rest = match rest {
            Rest::Mirages(place, ports) => self.push_mirages(&mut text, place, ports),
            Rest::Sessions(slot) => self.push_sessions(&mut text, slot),
            Rest::Bans(place) => self.push_bans(&mut text, place),
            Rest::Nothing => Rest::Nothing,
        };
        let sent = 0;
        Answer { text, sent, rest }
    }

    fn push_mirages(&self, text: &mut String, from: usize, ports: PortsShown) -> Rest {
        for (number, (id, mirage)) in self.core.mirages().enumerate().skip(from) {
            if text.len() >= ANSWER_BYTES {
                return Rest::Mirages(number, ports);
            }
            status::push_row(text, number == 0, &self.mirage_row(id, mirage, ports));
        }
        status::end_list(text);
        status::begin_list(text, "sessions");
        Rest::Sessions(0)
    }

    fn mirage_row(&self, id: MirageId, mirage: &Mirage, ports: PortsShown) -> MirageRow {
        let settings = &mirage.settings;
        let gate = settings.gate();
        let listen = match settings.pool_port {
            Some(_) => "pool",
            None => "ports",
        };
        let (pattern, unix) = (settings.pattern, self.core.now().unix());
        let range = settings.range();
        let shows_ports = ports == PortsShown::Yes && mirage.schedule.is_some();
        // A silent gate has ports open only while an address is admitted.
        let open = || match mirage.is_listening() {
            true => mirage.plan.ports().to_vec(),
            false => Vec::new(),
        };
        MirageRow {
            mirage: settings.section.to_string(),
            name: Some(settings.plain.name.to_string()),
            gate: Some(gate.word().to_owned()),
            door: settings.door.word().to_owned(),
            forward: settings.forward().map(|forward| forward.to.to_string()),
            rules: self.rules(settings),
            listen: (!gate.is_silent()).then(|| listen.to_owned()),
            range: range.map(|range| format!("{}-{}", range.low(), range.high())),
            period: pattern.map(|pattern| pattern.period()),
            minute: pattern.map(|pattern| pattern.minute(unix)),
            open: settings.listens().then(|| self.ports.count_open(id) as u32),
            real: shows_ports.then(|| mirage.plan.reals().to_vec()),
            ports: shows_ports.then(open),
        }
    }

    /// Whether the firewall has what the door needs.
    fn rules(&self, settings: &MirageSettings) -> Option<String> {
        if !matches!(settings.door, Door::Nft { .. }) {
            return None;
        }
        let problem = self.netfilter.problem(&settings.section);
        Some(problem.map_or("loaded".to_owned(), ToString::to_string))
    }

    fn push_sessions(&self, text: &mut String, from: usize) -> Rest {
        let mut is_first = from == 0;
        for (id, conn) in self.core.sessions_from(from) {
            if text.len() >= ANSWER_BYTES {
                return Rest::Sessions(id.slot());
            }
            let (bytes_in, bytes_out) = self.sockets.moved(id);
            let row = SessionRow {
                source: conn.peer.to_string(),
                mirage: self.core.name(conn.mirage).to_string(),
                bytes_in,
                bytes_out,
                age: self.core.now().boot.since(conn.since) / 1_000,
                client_address: conn.client_address.map(|address| address.to_string()),
            };
            status::push_row(text, is_first, &row);
            is_first = false;
        }
        // There are few open doors, so they are sent in one piece.
        status::end_list(text);
        status::begin_list(text, "doors");
        self.push_open_doors(text);
        status::end_list(text);
        status::begin_list(text, "bans");
        Rest::Bans(0)
    }

    /// Adds what is open for an address, by a port or by a command.
    fn push_open_doors(&self, text: &mut String) {
        let now = self.core.now().boot;
        let mut is_first = true;
        let mut push = |source: String, mirage: MirageId, ms: u64| {
            let row = DoorRow {
                source,
                mirage: self.core.name(mirage).to_string(),
                seconds: ms.div_ceil(1_000),
            };
            status::push_row(text, core::mem::take(&mut is_first), &row);
        };
        for (id, mirage) in self.core.mirages() {
            for (address, until) in mirage.admitted.iter() {
                push(address.to_string(), id, until.since(now));
            }
        }
        let openings = self.core.openings().iter();
        for opening in openings.filter(|opening| opening.is_open()) {
            let source = match opening.open_for {
                OpenFor::Address(address) | OpenFor::Element(address) => address.to_string(),
                OpenFor::Service => "service".to_owned(),
            };
            push(source, opening.mirage, opening.stays_ms(now));
        }
    }

    fn push_bans(&self, text: &mut String, from: usize) -> Rest {
        let mut is_first = from == 0;
        for (behind, ban) in self.core.bans().from(from) {
            if text.len() >= ANSWER_BYTES {
                return Rest::Bans(behind - 1);
            }
            status::push_row(text, is_first, &self.ban_row(&ban));
            is_first = false;
        }
        status::end_list(text);
        self.push_counters(text);
        status::begin_list(text, "places");
        for (number, of) in self.core.places().into_iter().enumerate() {
            let row = PlacesRow {
                of: of.of.to_owned(),
                mirage: of.mirage.map(|mirage| mirage.to_string()),
                taken: of.taken as u64,
                places: of.places as u64,
                full: of.taken >= of.places,
            };
            status::push_row(text, number == 0, &row);
        }
        status::end_list(text);
        status::end(text);
        Rest::Nothing
    }

    fn ban_row(&self, ban: &Ban) -> BanRow {
        let bans = self.core.bans();
        BanRow {
            source: ban.source.to_string(),
            seconds: bans.seconds_left(ban, self.core.now().boot),
            why: ban.why.word().to_owned(),
            attempts: ban.attempts,
        }
    }

    fn push_counters(&self, text: &mut String) {
        let counters = self.core.counters();
        let (sensed, lost_packets) = self.packets;
        let list = [
            ("visitors", counters.visitors),
            ("accepted", counters.accepted),
            ("banned", counters.banned),
            ("refused", counters.refused),
            ("held", counters.held),
            ("good_tokens", counters.good_tokens),
            ("bad_tokens", counters.bad_tokens),
            ("turned_away", counters.turned_away),
            ("passed", counters.passed),
            ("sensed", sensed),
            ("lost_packets", lost_packets),
        ];
        let list = list.map(|(name, count)| (name.to_owned(), count)).into();
        status::push_field(text, "counters", &CounterList(list));
    }

    /// What would happen to an address at each mirage.
    fn forecast(&self, address: IpAddr) -> String {
        let source = Source::of(address);
        let mut text = String::new();
        status::begin(&mut text);
        status::push_field(&mut text, "source", &source.to_string());
        status::push_beside(&mut text, "sessions", &self.core.sessions_of(source));
        status::begin_list(&mut text, "bans");
        if let Some(ban) = self.core.ban_of(source) {
            status::push_row(&mut text, true, &self.ban_row(&ban));
        }
        status::end_list(&mut text);
        status::begin_list(&mut text, "mirages");
        for (number, forecast) in self.core.forecast(address).enumerate() {
            let row = ForecastRow {
                mirage: forecast.mirage.to_string(),
                gate: forecast.gate.word().to_owned(),
                right: forecast.right.word().to_owned(),
                wrong: forecast.wrong.word().to_owned(),
                why: why(&forecast).to_owned(),
            };
            status::push_row(&mut text, number == 0, &row);
        }
        status::end_list(&mut text);
        if let IpAddr::V4(address) = address {
            self.push_clients(&mut text, address);
        }
        status::end(&mut text);
        text
    }

    /// Adds the sources that services see at an address of 127/8, if there are any.
    fn push_clients(&self, text: &mut String, address: Ipv4Addr) {
        let clients = self.core.clients_at(address);
        if clients.is_empty() {
            return;
        }
        status::begin_list(text, "clients");
        for (number, client) in clients.into_iter().enumerate() {
            let row = ClientRow {
                source: client.source.to_string(),
                mirage: client.mirage.to_string(),
                sessions: client.sessions,
            };
            status::push_row(text, number == 0, &row);
        }
        status::end_list(text);
    }
}

/// The answer's word for the reason.
fn why(forecast: &MirageForecast) -> &'static str {
    let MirageForecast {
        visitor,
        right,
        wrong,
        ..
    } = forecast;
    match wrong {
        Verdict::Refuse { .. } => "banned",
        Verdict::Hold(reason) if *right == Verdict::Admit => reason.word(),
        _ if !visitor.is_welcome => "from",
        Verdict::Hold(reason) => reason.word(),
        // At a silent gate a ban has no effect.
        Verdict::Ignore => "stranger",
        _ if visitor.is_banned => "banned",
        _ => "stranger",
    }
}
