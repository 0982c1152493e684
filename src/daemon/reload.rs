//! A configuration in the making.
//!
//! A key takes a router seconds. So the keys that are missing are stretched a slice a turn, while
//! everything else goes on as it was; when the last is there, the new configuration can take over at once.

use crate::config::{Common, Secret, ServerMirage};
use crate::limits::{MAX_SESSIONS, STRETCH_ROUNDS_PER_TURN};
use crate::proto::scheme::key::{Key, Stretch};
use crate::proto::settings::{CommonSettings, MirageSettings};
use std::rc::Rc;

/// A key, and what it was stretched from.
struct Stretched {
    name: String,
    secret: Secret,
    key: Key,
}

/// A configuration with all its keys.
pub struct Complete {
    pub common: Rc<Common>,
    pub mirages: Vec<(MirageSettings, Option<Key>)>,
}

/// A configuration whose keys are not all there.
struct Coming {
    common: Rc<Common>,
    mirages: Vec<ServerMirage>,
    stretch: Option<Stretch>,
}

/// The configuration that is coming, if one is, and the keys that are known.
#[derive(Default)]
pub struct Reload {
    coming: Option<Coming>,
    /// Those that are served, and those of a reload that another has overtaken: SIGHUPs in quick succession
    /// would otherwise never come to an end.
    keys: Vec<Stretched>,
}

impl Reload {
    /// Begins with a configuration, in place of one that is coming.
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

    /// Does a slice of the work on the keys. With the last one the configuration is complete.
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
                    secret: secret.clone(),
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

fn is_of(key: &Stretched, mirage: &ServerMirage) -> bool {
    key.name == mirage.settings.plain.name && mirage.secret.as_ref() == Some(&key.secret)
}

/// What the core needs to know of what holds for all, where the process may have so many descriptors.
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
