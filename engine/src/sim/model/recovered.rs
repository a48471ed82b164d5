//! After a crash: which prefix of the log explains what the store shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::index::{TOUCH_CLASS_MAX, touch_second};
use crate::units::{Lsn, UnixMillis};

use super::damage::Lost;
use super::{Clock, Model, ModelKey, Seen, State, Told, agrees, name};

impl Model {
    /// After a crash: finds the longest prefix of the log up to `appended`, which the engine goes on
    /// from, that explains everything `seen`, and makes it the state. Returns its LSN. Of keys that
    /// are `shaken`, because damage has taken a batch without leaving their names, anything is
    /// admitted but a value that they never had.
    ///
    /// # Errors
    /// When no prefix that holds all that was promised explains what was seen.
    pub fn recovered(
        &mut self,
        seen: &BTreeMap<ModelKey, (Seen, Clock)>,
        appended: Lsn,
        shaken: &BTreeSet<ModelKey>,
    ) -> Result<Lsn, String> {
        if appended < self.floor && !self.lossy {
            return Err(format!("goes on from {appended}, {} was promised", self.floor));
        }
        let mut state = self.base.clone();
        add_grace(&mut state, self.lossy);
        let mut best = None;
        let mut lost = Lost::of(seen);
        let mut reasons = String::new();
        let ends: BTreeSet<Lsn> = self.tail.iter().map(|mutation| mutation.durable_at).collect();
        for end in std::iter::once(self.floor).chain(ends) {
            for mutation in self.tail.iter().filter(|mutation| mutation.durable_at == end) {
                mutation.change.apply(&mut state, mutation.lsn);
            }
            let mut candidate = state.clone();
            add_grace(&mut candidate, self.lossy);
            match self.contradiction(&candidate, seen, shaken) {
                None if end <= appended || self.lossy => {
                    lost.note(&candidate);
                    best = Some((end, candidate));
                }
                None => {}
                Some(reason) => {
                    let _ = write!(reasons, "\n  log up to {end}: {reason}");
                }
            }
        }
        let Some((end, mut state)) = best else {
            return Err(format!("no prefix of the log explains what was recovered:{reasons}"));
        };
        self.adopt(&mut state, seen, shaken);
        self.adopt_lost(lost, &mut state, shaken);
        self.base = state.clone();
        self.state = state;
        self.tail.clear();
        self.newest.clear();
        self.cleared.clear();
        self.group_from = None;
        // After damage the store may go on from an LSN that was given out before.
        self.floor = end.min(appended);
        self.last = appended;
        Ok(end)
    }

    fn contradiction(
        &self,
        state: &State,
        seen: &BTreeMap<ModelKey, (Seen, Clock)>,
        shaken: &BTreeSet<ModelKey>,
    ) -> Option<String> {
        seen.iter().find_map(|(key, (seen, at))| {
            if shaken.contains(key) {
                return self.never_was(key, seen);
            }
            let live = state.get(key);
            let lost = self.lossy && *seen == Seen::Lost;
            let agrees = lost || agrees(live, seen, *at);
            (!agrees).then(|| format!("{} at {at}: saw {seen:?}, not {live:?}", name(key)))
        })
    }
}

/// Touches within a quantum need not be in the log: a recovery may let a key live that much longer.
/// Never that it ends early, unless damage to the journal is to be expected.
fn add_grace(state: &mut State, lossy: bool) {
    for live in state.values_mut().filter(|live| live.quantum_ms > 0) {
        if let Some(at) = live.expires_min {
            let max = live.label.cut(Some(whole_second(at).plus(live.quantum_ms)));
            live.expires_max = live.expires_max.max(max);
            if lossy {
                live.expires_min = live.expires_min.min(live.set_expires);
            }
        }
    }
    // The clock may have been set back.
    for live in state.values_mut() {
        live.gone = false;
        live.told = Told::Excused;
    }
}

/// Rounds up, as the index does.
pub(super) fn whole_second(at: UnixMillis) -> UnixMillis {
    UnixMillis(at.0.next_multiple_of(1000))
}

/// When a touched key whose value has left RAM is due at the latest: the end of its second, or of the next
/// one where that may be the last second of a cell, which is kept for what recoveries grant.
pub(super) fn latest_second(at: UnixMillis) -> UnixMillis {
    let second = whole_second(at).0 / 1000;
    let entered = (1..=TOUCH_CLASS_MAX).map(|class| touch_second(second, class)).max();
    UnixMillis(entered.unwrap_or(second) * 1000)
}
