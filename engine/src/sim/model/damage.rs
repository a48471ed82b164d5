//! What damage leaves open: keys that were reported lost, and values that keys once had.
//!
//! Never that a key shows what it never had.

use std::collections::{BTreeMap, BTreeSet};

use super::label::ModelLabel;
use super::{Clock, Live, Model, ModelKey, Seen, State, Told, Value, agrees, name};
use crate::units::{Lsn, UnixMillis};

/// What a key was set to at some time.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) value: Value,
    pub(super) value_type: u8,
    pub(super) label: ModelLabel,
    pub(super) lsn: Lsn,
}

/// Keys that a recovery reports lost, with what they are in each prefix that explains the rest.
pub(super) struct Lost(BTreeMap<ModelKey, Versions>);

#[derive(Default)]
struct Versions {
    live: Vec<Live>,
    /// In one prefix it is not there.
    absent: bool,
}

impl Lost {
    pub(super) fn of(seen: &BTreeMap<ModelKey, (Seen, Clock)>) -> Lost {
        let lost = seen.iter().filter(|(_, (seen, _))| *seen == Seen::Lost);
        Lost(lost.map(|(key, _)| (key.clone(), Versions::default())).collect())
    }

    /// A prefix explains what else was seen.
    pub(super) fn note(&mut self, state: &State) {
        for (key, versions) in &mut self.0 {
            let Some(live) = state.get(key) else {
                versions.absent = true;
                continue;
            };
            let one = std::slice::from_ref(live);
            for live in live.lost.as_deref().unwrap_or(one) {
                if !versions.live.contains(live) {
                    versions.live.push(live.clone());
                }
            }
        }
    }
}

impl Versions {
    /// What is admitted of the key until it is written again: if it is shaken, scans may show it if it
    /// was `ever` to be seen.
    fn merge(self, ever: Option<&[Version]>) -> Option<Live> {
        let absent = self.absent || ever.is_some();
        let first = ever.and_then(|ever| ever.first());
        let one = self.live.first().cloned().or_else(|| first.map(|v| v.live(None, v.lsn)))?;
        let never = self.live.iter().any(|live| live.expires_max.is_none());
        let earliest = self.live.iter().filter_map(|live| live.expires_min).min();
        let expires_min = if absent { Some(UnixMillis(0)) } else { earliest };
        let latest = self.live.iter().filter_map(|live| live.expires_max).max();
        let hidden = self.live.iter().all(|live| live.label.hidden)
            && ever.into_iter().flatten().all(|version| version.label.hidden);
        Some(Live {
            expires_min,
            expires_max: latest.filter(|_| !never),
            quantum_ms: 0,
            gone: false,
            told: Told::Excused,
            set_expires: expires_min,
            label: ModelLabel { hidden, ..one.label },
            lost: Some(self.live.into()),
            ..one
        })
    }
}

impl Model {
    /// What was seen of keys that are shaken, or had been lost, is what they are from now on.
    pub(super) fn adopt(
        &self,
        state: &mut State,
        seen: &BTreeMap<ModelKey, (Seen, Clock)>,
        shaken: &BTreeSet<ModelKey>,
    ) {
        for (key, (seen, at)) in seen {
            let versions = state.get(key).and_then(|live| live.lost.clone());
            if *seen == Seen::Lost || versions.is_none() && !shaken.contains(key) {
                continue;
            }
            let known = versions.and_then(|all| {
                all.iter().find(|version| agrees(Some(version), seen, *at)).cloned()
            });
            match known.or_else(|| self.as_seen(key, seen)) {
                Some(live) => state.insert(key.clone(), live),
                None => state.remove(key),
            };
        }
    }

    /// Keys that were reported lost may be any of what they were in the prefixes that explain the rest.
    pub(super) fn adopt_lost(&self, lost: Lost, state: &mut State, shaken: &BTreeSet<ModelKey>) {
        for (key, versions) in lost.0 {
            let ever = self.history.get(&key).filter(|_| shaken.contains(&key));
            match versions.merge(ever.map(Vec::as_slice)) {
                Some(live) => state.insert(key, live),
                None => state.remove(&key),
            };
        }
    }

    fn as_seen(&self, key: &ModelKey, seen: &Seen) -> Option<Live> {
        let Seen::Found { expires_at, lsn, .. } = seen else { return None };
        if let Some(version) = self.version(key, seen) {
            return Some(version.live(*expires_at, *lsn));
        }
        let Seen::Found { value, .. } = seen else { return None };
        let version = self.mixture(key, seen)?;
        Some(Version { value: value.clone(), ..version.clone() }.live(*expires_at, *lsn))
    }

    /// The version that was seen.
    fn version(&self, key: &ModelKey, seen: &Seen) -> Option<&Version> {
        let Seen::Found { value, value_type, lsn, .. } = seen else { return None };
        let alike = |version: &&Version| {
            version.value == *value && version.value_type == *value_type && version.lsn <= *lsn
        };
        self.history.get(key)?.iter().rfind(alike)
    }

    /// A version of which what was seen may be a mixture with another.
    fn mixture(&self, key: &ModelKey, seen: &Seen) -> Option<&Version> {
        let Seen::Found { value, value_type, .. } = seen else { return None };
        let alike = |version: &&Version| {
            version.value.0.len() == value.0.len() && version.value_type == *value_type
        };
        let known = self.history.get(key).filter(|_| self.mixed.contains(key))?;
        known.iter().rfind(alike)
    }

    /// Whether a value is shown that the key never had: not even damage may do that.
    pub(super) fn never_was(&self, key: &ModelKey, seen: &Seen) -> Option<String> {
        let found = matches!(seen, Seen::Found { .. });
        let known = self.version(key, seen).or_else(|| self.mixture(key, seen));
        (found && known.is_none()).then(|| format!("{}: {seen:?} was never written", name(key)))
    }
}

impl Version {
    fn live(&self, expires_at: Option<UnixMillis>, lsn: Lsn) -> Live {
        Live {
            value: self.value.clone(),
            value_type: self.value_type,
            expires_min: expires_at,
            expires_max: expires_at,
            lsns: (lsn, lsn),
            quantum_ms: 0,
            set_expires: expires_at,
            gone: false,
            told: Told::Excused,
            label: self.label,
            lost: None,
        }
    }
}
