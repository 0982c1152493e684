//! A configuration whose keys are still being computed.
//!
//! A key takes a router seconds. So the missing keys are stretched one slice per turn, while everything else
//! goes on as before. When the last key is there, the new configuration can take over at once.

use crate::config::{Common, Secret, ServerMirage};
use crate::limits::{MAX_SESSIONS, STRETCH_ROUNDS_PER_TURN};
use crate::proto::scheme::key::{DIGEST, Key, Stretch};
use crate::proto::settings::{CommonSettings, MirageSettings};
use std::rc::Rc;

/// A key, and what it was derived from. The secret itself is not kept.
struct Stretched {
    name: String,
    mark: [u8; DIGEST],
    key: Key,
}

/// A configuration with all its keys.
pub struct Complete {
    pub common: Rc<Common>,
    pub mirages: Vec<(MirageSettings, Option<Key>)>,
}

/// A configuration that still lacks keys.
struct Coming {
    common: Rc<Common>,
    mirages: Vec<ServerMirage>,
    stretch: Option<Stretch>,
}

/// The configuration that is coming, if any, and the known keys.
#[derive(Default)]
pub struct Reload {
    coming: Option<Coming>,
    /// The keys of served mirages, and those of a reload that was overtaken by another: otherwise SIGHUPs in
    /// quick succession would never come to an end.
    keys: Vec<Stretched>,
}

impl Reload {
    /// Starts with a configuration, in place of one that is coming.
    pub fn begin(&mut self, common: Rc<Common>, mirages: Vec<ServerMirage>) {
        self.coming = Some(Coming {
            common,
            mirages,
            stretch: None,
        });
    }

    /// Whether a configuration is coming.
    pub fn is_under_way(&self) -> bool {
        self.coming.is_some()
    }

    /// Computes one slice of the keys. Returns the configuration with the last one.
    pub fn advance(&mut self) -> Option<Complete> {
        let coming = self.coming.as_mut()?;
        let missing = coming.mirages.iter().find_map(|mirage| {
            let secret = mirage.secret.as_ref()?;
            let is_known = self.keys.iter().any(|key| is_of(key, mirage));
            (!is_known).then_some((&mirage.settings.plain.name, secret))
        });
        if let Some((name, secret)) = missing {
            let begin = || Stretch::new(secret.as_bytes(), name);
            let stretch = coming.stretch.get_or_insert_with(begin);
            if let Some(key) = stretch.advance(STRETCH_ROUNDS_PER_TURN) {
                coming.stretch = None;
                self.keys.push(Stretched {
                    name: name.clone(),
                    mark: key.mark(secret.as_bytes()),
                    key,
                });
            }
            return None;
        }
        let Coming {
            common, mirages, ..
        } = self.coming.take()?;
        self.keys
            .retain(|key| mirages.iter().any(|mirage| is_of(key, mirage)));
        let with_key = |mirage| {
            let key = self.keys.iter().find(|key| is_of(key, &mirage));
            let key = key.map(|stretched| stretched.key.clone());
            (mirage.settings, key)
        };
        let mirages = mirages.into_iter().map(with_key).collect();
        Some(Complete { common, mirages })
    }
}

fn is_of(known: &Stretched, mirage: &ServerMirage) -> bool {
    let is_it = |secret: &Secret| known.key.mark(secret.as_bytes()) == known.mark;
    known.name == mirage.settings.plain.name && mirage.secret.as_ref().is_some_and(is_it)
}

/// The common settings that the core needs, if the process may have this many descriptors.
pub fn common_settings(common: &Common, descriptors: usize) -> CommonSettings {
    let usual = MAX_SESSIONS.min(descriptors / 3);
    CommonSettings {
        ban_s: common.ban_s,
        allow: common.allow.clone(),
        clock: common.clock,
        max_sessions: common.max_sessions.unwrap_or(usual),
        max_sessions_per_source: common.max_sessions_per_source,
    }
}
