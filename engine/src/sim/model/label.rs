//! Labels in the model: whose a key is, its limit, whether it is hidden.

use std::collections::BTreeSet;

use super::{Model, ModelKey};
use crate::format::label::Label;
use crate::units::UnixMillis;

/// Owners of a world are numbered from 1.
pub const OWNERS: u8 = 3;

/// The label that a value was set with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModelLabel {
    /// 0: nobody.
    pub owner: u8,
    /// The expiry never moves beyond it.
    pub limit: Option<UnixMillis>,
    /// Neither counted nor scanned.
    pub hidden: bool,
}

impl ModelLabel {
    /// The label of the `version`th value of a world, one of every kind in turn.
    pub fn of(version: u64, expires_at: Option<UnixMillis>, now: UnixMillis) -> ModelLabel {
        let limit = expires_at.unwrap_or(now.plus(50_000)).plus(version % 3 * 20_000);
        let owner = (version % u64::from(OWNERS)) as u8 + 1;
        match version % 7 {
            0 | 1 => ModelLabel { owner, ..ModelLabel::default() },
            2 | 3 => ModelLabel { owner, limit: Some(limit), hidden: false },
            4 => ModelLabel { owner: 0, limit: Some(limit), hidden: false },
            5 => ModelLabel { owner: 0, limit: None, hidden: true },
            _ => ModelLabel::default(),
        }
    }

    /// As the engine takes it.
    pub fn view(&self) -> Label<'static> {
        Label {
            owner: owner_name(self.owner),
            limit: self.limit,
            hidden: self.hidden,
            chunked: None,
        }
    }

    /// An expiry, cut at the limit.
    pub fn cut(&self, expires_at: Option<UnixMillis>) -> Option<UnixMillis> {
        match (expires_at, self.limit) {
            (Some(at), Some(limit)) => Some(at.min(limit)),
            (at, limit) => at.or(limit),
        }
    }
}

/// The name of an owner; empty for nobody. The last one's is as long as can be.
pub fn owner_name(owner: u8) -> &'static [u8] {
    const LONG: &[u8] = &[b'o'; 255];
    match owner {
        0 => b"",
        1 => b"a",
        2 => b"owner-2",
        _ => LONG,
    }
}

impl Model {
    /// Keys of a namespace that were set and not deleted and are not hidden; some may have expired.
    pub fn visible(&self, namespace: u16) -> impl Iterator<Item = &ModelKey> {
        self.known(namespace).filter(|key| !self.is_hidden(key))
    }

    /// Whether a key is hidden.
    pub fn is_hidden(&self, key: &ModelKey) -> bool {
        self.get(key).is_some_and(|live| live.label.hidden)
    }

    /// Keys that an owner must have, and those that it may have, at `now`.
    pub fn owned(
        &self,
        namespace: u16,
        owner: u8,
        now: UnixMillis,
    ) -> (BTreeSet<ModelKey>, BTreeSet<ModelKey>) {
        let owned = |key: &&ModelKey| self.get(key).is_some_and(|live| live.label.owner == owner);
        let must = self.surely_live(namespace, now).iter().filter(owned).cloned().collect();
        (must, self.known(namespace).filter(owned).cloned().collect())
    }
}
