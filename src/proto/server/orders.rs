//! The orders of `shimmer ban` and `unban`.

use super::tables::{Core, log};
use crate::proto::bans::Why;
use crate::proto::effect::{Effect, Effects, Reply};
use crate::proto::event::{Event, UnbanCause};
use crate::proto::input::Order;
use crate::proto::source::Source;
use core::net::IpAddr;

impl Core {
    /// Carries out an order and answers it.
    pub(super) fn carry_out(&mut self, order: Order, effects: &mut Effects) {
        let reply = match order {
            Order::Ban(address) => self.ban_by_hand(address, effects),
            Order::Unban(address) => {
                let lifted = self.bans.lift(Source::of(address));
                let by = UnbanCause::Hand;
                if let Some(ban) = lifted {
                    log(effects, Event::Unban { ban, by });
                }
                Reply::Unbanned(usize::from(lifted.is_some()))
            }
            Order::UnbanAll => {
                let bans = self.bans.len();
                self.bans.clear();
                log(effects, Event::UnbanAll { bans });
                Reply::Unbanned(bans)
            }
        };
        effects.push_back(Effect::Reply(reply));
    }

    fn ban_by_hand(&mut self, address: IpAddr, effects: &mut Effects) -> Reply {
        let mut allowed = self.common.allow.iter();
        if allowed.any(|network| network.contains(address)) {
            return Reply::NeverBanned(address);
        }
        let (source, seconds) = (Source::of(address), self.common.ban_s);
        log(effects, Event::BanByHand { source, seconds });
        self.ban(source, Why::Hand, effects);
        Reply::Banned { source, seconds }
    }
}
