//! Arguments as numbers and options.
//!
//! Owns: checks that many commands share.
//! Never knows: clients, the store.
//! Invariant: every number is checked for its range before it is used.

use std::borrow::Cow;

use emberlog_engine::UnixMillis;

use super::{Stop, text};
use crate::resp::{parse_double, parse_i64};

/// An integer.
pub(super) fn integer(arg: &[u8]) -> Result<i64, Stop> {
    parse_i64(arg).ok_or(text::NOT_INTEGER)
}

/// A finite or infinite double.
pub(super) fn float(arg: &[u8]) -> Result<f64, Stop> {
    parse_double(arg).ok_or(text::NOT_FLOAT)
}

/// Whether `arg` is `word`, which is lower case, in any case.
pub(super) fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// An error with a text made for the occasion.
pub(super) fn error(text: String) -> Stop {
    Stop::Error(Cow::Owned(text))
}

/// More or fewer arguments than `command` takes.
pub(super) fn wrong_arity(command: &str) -> Stop {
    error(format!("ERR wrong number of arguments for '{command}' command"))
}

/// Unit and base of an expiry argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clock {
    /// Milliseconds per unit.
    pub(super) unit_ms: i64,
    /// Whether it counts from the epoch rather than from now.
    pub(super) absolute: bool,
}

impl Clock {
    pub(super) const EX: Clock = Clock { unit_ms: 1000, absolute: false };
    pub(super) const PX: Clock = Clock { unit_ms: 1, absolute: false };
    pub(super) const EXAT: Clock = Clock { unit_ms: 1000, absolute: true };
    pub(super) const PXAT: Clock = Clock { unit_ms: 1, absolute: true };

    /// The clock that an option names.
    pub(super) fn named(option: &[u8]) -> Option<Clock> {
        const NAMES: [(&str, Clock); 4] =
            [("ex", Clock::EX), ("px", Clock::PX), ("exat", Clock::EXAT), ("pxat", Clock::PXAT)];
        NAMES.iter().find(|(name, _)| is(option, name)).map(|(_, clock)| *clock)
    }

    /// The moment `amount` stands for, in milliseconds since the epoch; may be in the past, even
    /// before the epoch. `None`: beyond what can be held.
    pub(super) fn moment(self, amount: i64, now: UnixMillis) -> Option<i64> {
        let millis = amount.checked_mul(self.unit_ms)?;
        let base = if self.absolute { 0 } else { i64::try_from(now.0).ok()? };
        let moment = millis.checked_add(base)?;
        let most = i64::try_from(UnixMillis::MAX.0).unwrap_or(i64::MAX);
        (moment <= most).then_some(moment)
    }

    /// The moment of an option of `command`, which must be a positive amount.
    pub(super) fn positive(
        self,
        arg: &[u8],
        now: UnixMillis,
        command: &str,
    ) -> Result<UnixMillis, Stop> {
        let amount = integer(arg)?;
        let moment = if amount > 0 { self.moment(amount, now) } else { None };
        moment
            .and_then(|moment| u64::try_from(moment).ok())
            .map(UnixMillis)
            .ok_or_else(|| invalid_expire(command))
    }
}

/// An expiry that cannot be.
pub(super) fn invalid_expire(command: &str) -> Stop {
    error(format!("ERR invalid expire time in '{command}' command"))
}
