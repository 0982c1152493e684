//! The addresses that a silent gate lets in, and until when.

use crate::limits::ADMITTED;
use crate::proto::time::Instant;
use core::net::IpAddr;

/// The admitted addresses of one mirage, [`ADMITTED`] at most.
#[derive(Default)]
pub struct Admitted(Vec<(IpAddr, Instant)>);

/// What became of an address that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is admitted from now on.
    New,
    /// It was admitted already, and stays so for longer.
    Renewed,
    /// All [`ADMITTED`] places are taken.
    Full,
}

impl Admitted {
    /// Admits an address until then; one that is admitted already gets the new end.
    pub fn insert(&mut self, address: IpAddr, until: Instant) -> Admission {
        if let Some((_, end)) = self.0.iter_mut().find(|(known, _)| *known == address) {
            *end = until;
            Admission::Renewed
        } else if self.0.len() == ADMITTED {
            Admission::Full
        } else {
            self.0.push((address, until));
            Admission::New
        }
    }

    /// Ends an address's admission now.
    pub fn end(&mut self, address: IpAddr, now: Instant) {
        if let Some((_, end)) = self.0.iter_mut().find(|(known, _)| *known == address) {
            *end = now;
        }
    }

    /// Takes out an address whose time is over.
    pub fn expire(&mut self, now: Instant) -> Option<IpAddr> {
        let place = self.0.iter().position(|(_, until)| *until <= now)?;
        Some(self.0.swap_remove(place).0)
    }

    /// When the next admission ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.0.iter().map(|&(_, until)| until).min()
    }

    /// Whether an address is admitted.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(known, _)| *known == address)
    }

    /// Whether no address is admitted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All addresses, each with the end of its admission.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Instant)> {
        self.0.iter().copied()
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.iter().map(|(address, _)| address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> IpAddr {
        let [.., high, low] = number.to_be_bytes();
        [10, 0, high, low].into()
    }

    #[test]
    fn who_passes_is_in_for_his_time_and_longer_when_he_passes_again() {
        let mut admitted = Admitted::default();
        assert_eq!(admitted.insert(address(1), Instant(100)), Admission::New);
        assert_eq!(
            admitted.insert(address(1), Instant(200)),
            Admission::Renewed
        );
        assert_eq!(admitted.insert(address(2), Instant(150)), Admission::New);
        assert!(admitted.expire(Instant(149)).is_none());
        assert_eq!(admitted.next_end(), Some(Instant(150)));
        assert_eq!(admitted.expire(Instant(150)), Some(address(2)));
        assert!(admitted.contains(address(1)) && !admitted.contains(address(2)));
        admitted.end(address(1), Instant(160));
        assert_eq!(admitted.expire(Instant(160)), Some(address(1)));
        assert!(admitted.is_empty() && admitted.next_end().is_none());
    }

    #[test]
    fn there_are_only_so_many_places() {
        let mut admitted = Admitted::default();
        for number in 0..ADMITTED {
            assert_eq!(admitted.insert(address(number), Instant(1)), Admission::New);
        }
        assert_eq!(
            admitted.insert(address(ADMITTED), Instant(1)),
            Admission::Full
        );
        assert_eq!(admitted.insert(address(0), Instant(2)), Admission::Renewed);
    }
}
