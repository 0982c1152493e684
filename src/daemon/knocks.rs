//! What has come to ports where nobody listens, and what it means: the silent gates.

use super::Daemon;
use super::event::{Event, Limit, Refusal, Section, Warning};
use super::host::Host;
use super::reload::Mirage;
use super::sensor::{BOUND_MEANS, Sensed, Sensor, Spot, Trouble, Way};
use crate::proto::gates::GateSettings;
use crate::proto::scheme::knock::{self, Answer, Hop, Protocol, Sequences, Which};
use crate::proto::scheme::packet::{self, Shown};
use crate::proto::source::Source;
use crate::sys::socket::ListenAddress;
use core::net::IpAddr;
use std::rc::Rc;

impl Mirage {
    /// The sequences that count now.
    fn count_sequences(&self) -> Sequences {
        let GateSettings::Knock(rules) = &self.config.gate_settings else {
            return Sequences::new();
        };
        if rules.is_fixed() {
            let close = Some(&rules.close_sequence).filter(|hops| !hops.is_empty());
            return knock::fixed(&rules.sequence, close);
        }
        let (Some(schedule), Some(range)) = (&self.schedule, self.config.range()) else {
            return Sequences::new();
        };
        let knocks = rules.knocks.into();
        knock::rotating(
            schedule.key(),
            range,
            &schedule.live(),
            knocks,
            rules.protocols,
        )
    }

    /// Where its datagrams come in now.
    fn packet_ports(&self) -> heapless::Vec<u16, { crate::limits::LIVE_WINDOWS }> {
        match &self.config.gate_settings {
            GateSettings::Packet(packet) => match packet.port {
                Some(port) => [port].into_iter().collect(),
                None => self.plan.reals(),
            },
            GateSettings::Port | GateSettings::Token | GateSettings::Knock(_) => {
                heapless::Vec::new()
            }
        }
    }

    /// Adds what it wants to be knocked at, port by port.
    fn add_spots(&self, spots: &mut Vec<Spot>) {
        let mut add = |hop: Hop| {
            let listen = &self.config.plain.listen;
            for index in 0..listen.len().max(1) {
                let address = listen.get(index);
                let place =
                    address.map_or(ListenAddress::Any, |&address| ListenAddress::One(address));
                if !spots.contains(&(place, hop)) {
                    spots.push((place, hop));
                }
            }
        };
        for sequence in &self.sequences {
            sequence.hops.iter().for_each(|&hop| add(hop));
        }
        for port in self.packet_ports() {
            let protocol = Protocol::Udp;
            add(Hop { port, protocol });
        }
    }

    fn listens_at(&self, address: Option<IpAddr>) -> bool {
        let listen = &self.config.plain.listen;
        let is_at = |to: IpAddr| {
            let covers =
                |own: &IpAddr| *own == to || own.is_unspecified() && own.is_ipv4() == to.is_ipv4();
            listen.iter().any(covers)
        };
        listen.is_empty() || address.is_none_or(is_at)
    }
}

impl<H: Host> Daemon<H> {
    /// After a turn, a reload: which sequences count, and what is to be sensed.
    pub(super) fn watch_knocks(&mut self) {
        let (mut ranges, mut spots) = (Vec::new(), Vec::new());
        for mirage in &mut self.mirages {
            if mirage.config.gate().is_silent() {
                mirage.sequences = mirage.count_sequences();
                ranges.append(&mut mirage.config.watched());
                mirage.add_spots(&mut spots);
            }
        }
        if self.sensor.is_none() && !ranges.is_empty() {
            self.open_sensor();
        }
        let Some(sensor) = &mut self.sensor else {
            return;
        };
        if let Err(error) = sensor.watch(self.poll.registry(), &ranges, &spots) {
            self.log.write(&Event::Warning(Warning::Deaf(error)));
        } else if sensor.has_closed() {
            self.open_again = Some(self.now.boot);
        }
    }

    fn open_sensor(&mut self) {
        match Sensor::open(self.poll.registry()) {
            Ok(sensor) => {
                if sensor.way() == Way::Bound {
                    let warning = Warning::KnockPortsOpen(BOUND_MEANS);
                    self.log.write(&Event::Warning(warning));
                }
                self.sensor = Some(sensor);
            }
            Err(error) => {
                self.log.write(&Event::Warning(Warning::Deaf(error)));
            }
        }
    }

    /// Tries the ports again that a sensor without packet sockets could not open.
    pub(super) fn open_ears_again(&mut self) -> bool {
        let Self {
            sensor, poll, log, ..
        } = self;
        let Some(sensor) = sensor else { return false };
        sensor.retry(poll.registry(), |Trouble { hop, error }| {
            log.write(&match error {
                Some(error) => Event::KnockPortClosed(hop, error),
                None => Event::KnockPortOpen(hop),
            });
        });
        sensor.has_closed()
    }

    /// Something has come.
    pub(super) fn heed_sensor(&mut self, number: u32) {
        if let Some(sensor) = &mut self.sensor {
            sensor.heed(number);
        }
    }

    /// Weighs what has come, a turn's worth of it.
    pub(super) fn sense(&mut self) {
        let now = self.now.boot;
        while let Some(sensed) = self.sensor.as_mut().and_then(|sensor| sensor.next(now)) {
            for mirage in 0..self.mirages.len() {
                if self.mirages[mirage].listens_at(sensed.to) {
                    self.weigh(mirage, &sensed);
                }
            }
        }
    }

    fn weigh(&mut self, number: usize, sensed: &Sensed) {
        let mirage = &self.mirages[number];
        // Who is let in comes to the minute's port, and does not knock at it.
        let is_visit = sensed.hop.protocol == Protocol::Tcp
            && mirage.admitted.contains(sensed.from)
            && mirage.plan.is_open(sensed.hop.port);
        if is_visit {
            return;
        }
        match &mirage.config.gate_settings {
            GateSettings::Knock(_) => self.hear_knock(number, sensed),
            GateSettings::Packet(_) => self.read_packet(number, sensed),
            GateSettings::Port | GateSettings::Token => {}
        }
    }

    fn hear_knock(&mut self, number: usize, sensed: &Sensed) {
        let (now, from) = (self.now.boot, sensed.from);
        let mirage = &mut self.mirages[number];
        let Some(knockers) = &mut mirage.knockers else {
            return;
        };
        let answer = knockers.knock(Source::of(from), sensed.hop, &mirage.sequences, now);
        let label = Rc::clone(&mirage.label);
        match answer {
            Answer::Passed(Which::Close) => self.close_door(number, from),
            Answer::Passed(Which::Open | Which::Minute(_)) => self.pass(number, from),
            Answer::Wrong { position } => {
                self.log.write(&Event::WrongKnock {
                    mirage: label,
                    peer: from,
                    knocks: position,
                });
            }
            Answer::Used(_) => {
                self.log.write(&Event::UsedKnock {
                    mirage: label,
                    peer: from,
                });
            }
            Answer::Nothing | Answer::Ignored | Answer::Waiting { .. } | Answer::Again => {}
        }
    }

    fn read_packet(&mut self, number: usize, sensed: &Sensed) {
        let mirage = &self.mirages[number];
        let GateSettings::Packet(rules) = &mirage.config.gate_settings else {
            return;
        };
        let is_its = sensed.hop.protocol == Protocol::Udp
            && mirage.packet_ports().contains(&sensed.hop.port);
        let (Some(datagram), Some(schedule), Some(used), true) =
            (&sensed.said, &mirage.schedule, mirage.used, is_its)
        else {
            return;
        };
        let (nonces, now) = (&mut self.used[used].nonces, self.now.boot);
        let shown = packet::prove(schedule, datagram, sensed.from, rules.address, nonces, now);
        let (label, from) = (Rc::clone(&mirage.label), sensed.from);
        match shown {
            Shown::Good { address } => self.pass(number, address),
            Shown::Unremembered => {
                self.turn_away_full(from, sensed.hop.port, Limit::Nonces);
                self.tell_nonces_full(number);
            }
            // Anybody's bytes.
            Shown::NotOurs => {}
            Shown::Stale { unix } => {
                let off = self.now.unix().abs_diff(unix);
                self.refuse(label, from, Refusal::Clock(off));
            }
            Shown::Replayed => self.refuse(label, from, Refusal::Replayed),
            Shown::NoAddress => self.refuse(label, from, Refusal::NoAddress),
            Shown::WrongAddress { .. } => self.refuse(label, from, Refusal::Address),
        }
    }

    fn refuse(&mut self, mirage: Section, peer: IpAddr, reason: Refusal) {
        self.log.write(&Event::Refuse {
            mirage,
            peer,
            reason,
        });
    }

    /// Forgets those whose sequence, or whose lock, is over.
    pub(super) fn expire_knockers(&mut self) {
        let now = self.now.boot;
        let trackers = self.mirages.iter_mut();
        for knockers in trackers.filter_map(|mirage| mirage.knockers.as_mut()) {
            knockers.expire(now);
        }
    }

    /// What has to be looked at when, for those who knock.
    pub(super) fn next_knock_end(&self) -> Option<crate::proto::Instant> {
        let mut soonest = self.sensor.as_ref().and_then(Sensor::due);
        for mirage in &self.mirages {
            if let Some(knockers) = &mirage.knockers {
                soonest = super::sooner(soonest, knockers.next_deadline());
            }
        }
        soonest
    }
}
