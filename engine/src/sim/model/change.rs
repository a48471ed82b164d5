//! Mutations, and what each does to the state.

use crate::units::{Lsn, UnixMillis};

use super::label::ModelLabel;
use super::recovered::latest_second;
use super::{Live, ModelKey, State, Told, Value};

/// A mutation as the client asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Sets a key.
    Put {
        /// The key.
        key: ModelKey,
        /// The bytes.
        value: Value,
        /// Their type.
        value_type: u8,
        /// When it expires.
        expires_at: Option<UnixMillis>,
        /// Its label.
        label: ModelLabel,
    },
    /// Deletes a key.
    Delete(ModelKey),
    /// Sets or removes an expiry exactly.
    Expire(ModelKey, Option<UnixMillis>),
    /// Moves an expiry later, within this quantum in ms.
    Touch(ModelKey, UnixMillis, u64),
    /// Deletes all keys of a namespace.
    Clear(u16),
}

impl Change {
    pub(super) fn key(&self) -> Option<&ModelKey> {
        match self {
            Change::Put { key, .. }
            | Change::Delete(key)
            | Change::Expire(key, _)
            | Change::Touch(key, ..) => Some(key),
            Change::Clear(_) => None,
        }
    }

    pub(super) fn apply(&self, state: &mut State, lsn: Lsn) {
        match self {
            Change::Put { key, value, value_type, expires_at, label } => {
                let live = Live {
                    value: value.clone(),
                    value_type: *value_type,
                    expires_min: *expires_at,
                    expires_max: *expires_at,
                    lsns: (lsn, lsn),
                    quantum_ms: 0,
                    gone: false,
                    told: Told::Not,
                    label: *label,
                    set_expires: *expires_at,
                    lost: None,
                };
                state.insert(key.clone(), live);
            }
            Change::Delete(key) => {
                state.remove(key);
            }
            Change::Expire(key, at) => {
                if let Some(live) = state.get_mut(key) {
                    live.expires_min = *at;
                    live.expires_max = *at;
                    live.quantum_ms = 0;
                    live.set_expires = *at;
                    live.lsns = if lsn == Lsn::NONE { live.lsns } else { (lsn, lsn) };
                }
            }
            Change::Touch(key, at, quantum_ms) => {
                if let Some(live) = state.get_mut(key) {
                    live.expires_min = Some(*at);
                    live.expires_max = live.label.cut(Some(latest_second(*at)));
                    live.quantum_ms = live.quantum_ms.max(*quantum_ms);
                    live.lsns.1 = if lsn == Lsn::NONE { live.lsns.1 } else { lsn };
                }
            }
            Change::Clear(namespace) => state.retain(|(ns, _), _| ns != namespace),
        }
    }
}
