//! Whether the doors' sets are in the kernel, and the rules that close the ports behind them.
//!
//! Somebody else may have taken them away, by `nft flush ruleset`, or nobody has loaded them. Then the port behind a
//! door is open to everybody, or closed to whoever passes its gate.

use super::kernel::{Kernel, SetRefusal};
use crate::limits::NFT_TOLD_MS;
use crate::proto::Instant;
use crate::terms::{FamilySet, NftSet};
use core::fmt;
use std::rc::Rc;

/// A door that the firewall guards.
#[derive(Clone, Copy)]
pub struct GuardedDoor<'a> {
    /// The mirage's section.
    pub mirage: &'a Rc<str>,
    /// Who may come in.
    pub set: &'a NftSet,
    /// Whether our own rules close a port behind it.
    pub has_rules: bool,
}

/// What is wrong with a door's set, or with its rules.
#[derive(Clone)]
pub struct GuardProblem {
    set: FamilySet,
    why: SetRefusal,
}

/// For the log and the status.
impl fmt::Display for GuardProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.set, self.why)
    }
}

/// What has become of a door's guard, for the log.
pub enum GuardNews {
    /// The set or the rules are gone.
    Gone(Rc<str>, GuardProblem),
    /// They are there again.
    Back(Rc<str>),
}

struct Watched {
    mirage: Rc<str>,
    set: NftSet,
    has_rules: bool,
    problem: Option<GuardProblem>,
    /// The log has the problem.
    is_told: bool,
    /// When the log may have the next one: somebody may flush the firewall again and again.
    tell_again: Instant,
}

/// All doors that the firewall guards.
#[derive(Default)]
pub struct Guard(Vec<Watched>);

impl Guard {
    /// Takes over the doors that are served now. Returns the sets that are new; None if the doors are as before.
    pub fn take(&mut self, doors: &[GuardedDoor<'_>]) -> Option<Vec<NftSet>> {
        let wanted = doors.iter().map(|it| (it.mirage, it.set, it.has_rules));
        if wanted.eq(self.0.iter().map(|it| (&it.mirage, &it.set, it.has_rules))) {
            return None;
        }
        let mut old = core::mem::take(&mut self.0);
        let mut new: Vec<NftSet> = Vec::new();
        for &GuardedDoor {
            mirage,
            set,
            has_rules,
        } in doors
        {
            let is_known = old.iter().chain(&self.0).any(|it| it.set == *set);
            new.extend((!is_known).then(|| set.clone()));
            let is_it = |it: &mut Watched| it.mirage == *mirage && it.set == *set;
            let known = old.extract_if(.., is_it).next();
            self.0.push(Watched {
                mirage: Rc::clone(mirage),
                set: set.clone(),
                has_rules,
                problem: None,
                is_told: known.as_ref().is_some_and(|it| it.is_told),
                tell_again: known.map_or(Instant(0), |it| it.tell_again),
            });
        }
        Some(new)
    }

    /// Whether there is a door to guard.
    pub fn is_needed(&self) -> bool {
        !self.0.is_empty()
    }

    /// Looks at each door's set and rules, where something may be wrong.
    pub fn look(
        &mut self,
        kernel: &mut Kernel,
        has_changed: Result<bool, SetRefusal>,
        mut tell: impl FnMut(GuardNews),
        now: Instant,
    ) {
        for it in &mut self.0 {
            match has_changed {
                Ok(false) if it.problem.is_none() => {}
                Ok(_) => it.problem = find_problem(kernel, &it.set, it.has_rules),
                Err(why) => {
                    it.problem = it.set.both().next().map(|set| GuardProblem { set, why });
                }
            }
            match &it.problem {
                Some(problem) if !it.is_told && it.tell_again <= now => {
                    it.is_told = true;
                    it.tell_again = now.after(NFT_TOLD_MS);
                    tell(GuardNews::Gone(Rc::clone(&it.mirage), problem.clone()));
                }
                None if it.is_told => {
                    it.is_told = false;
                    tell(GuardNews::Back(Rc::clone(&it.mirage)));
                }
                _ => {}
            }
        }
    }

    /// What is wrong with a mirage's door, if anything is.
    pub fn problem(&self, mirage: &str) -> Option<&GuardProblem> {
        let of = self.0.iter().find(|it| *it.mirage == *mirage);
        of?.problem.as_ref()
    }

    /// Whether rules of ours close a port.
    pub fn closes_a_port(&self) -> bool {
        let mut all = self.0.iter();
        all.any(|it| it.has_rules && it.problem.is_none())
    }
}

fn find_problem(kernel: &mut Kernel, set: &NftSet, has_rules: bool) -> Option<GuardProblem> {
    let mut sets = set.both();
    sets.find_map(|set| {
        let why = kernel.find_fault(&set, has_rules)?;
        Some(GuardProblem { set, why })
    })
}
