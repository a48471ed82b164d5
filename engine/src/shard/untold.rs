//! Expiries that nobody has been told of yet.
//!
//! Owns: [`Untold`], their order.
//! Never knows: how an end is logged.
//! Invariant: an event is handed out only when no crash brings its key back once the event's barrier
//! is acknowledged. The end of a touched key that found no room on the disk is *late*, and its event
//! waits; others do not wait for it.

use std::collections::VecDeque;

use super::expire::Expired;
use crate::units::Lsn;

/// Events that are late at most; those beyond are dropped, as the log then says.
const LATE_MAX: usize = 1 << 16;

/// Events to be told, each kind in the order in which the keys expired.
#[derive(Default)]
pub(super) struct Untold {
    ready: VecDeque<Expired>,
    /// With their keys' words.
    late: VecDeque<(u64, Expired)>,
}

impl Untold {
    /// Adds an event that may be told.
    pub(super) fn push(&mut self, expired: Expired) {
        self.ready.push_back(expired);
    }

    /// Adds an event whose key's end is not logged.
    pub(super) fn push_late(&mut self, packed: u64, expired: Expired) {
        sometimes!(LateEnd);
        if self.late.len() >= LATE_MAX {
            tracing::error!("the disk is full: no event will tell of a key that has expired");
            return;
        }
        self.late.push_back((packed, expired));
    }

    /// The key whose end should be logged next.
    pub(super) fn awaited(&self) -> Option<u64> {
        self.late.front().map(|(packed, _)| *packed)
    }

    /// The next event that may be told.
    pub(super) fn pop(&mut self) -> Option<Expired> {
        self.ready.pop_front()
    }

    /// The record with this LSN stands for the late ends of these keys: whatever it is, it is newer
    /// than what could come back. They may be told, before anything is told of that record.
    pub(super) fn end_by(&mut self, lsn: Lsn, is_meant: impl Fn(u64) -> bool) {
        if self.late.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.late).into_iter();
        let (ended, late): (VecDeque<_>, VecDeque<_>) = all.partition(|(key, _)| is_meant(*key));
        let ended = ended.into_iter().map(|(_, expired)| Expired { barrier: lsn, ..expired });
        self.ready.extend(ended);
        self.late = late;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.late.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Untold::default();
    }

    /// Whether the event about this key is late.
    #[cfg(feature = "sim")]
    pub(super) fn is_late(&self, packed: u64) -> bool {
        self.late.iter().any(|(late, _)| *late == packed)
    }
}

#[cfg(test)]
mod tests {
    use super::Untold;
    use crate::shard::Expired;
    use crate::units::{Lsn, Namespace, UnixMillis};

    fn expired(key: &str, lsn: u64) -> Expired {
        Expired {
            namespace: Namespace(0),
            key: key.as_bytes().into(),
            value_type: None,
            has_owner: false,
            due: UnixMillis(1),
            barrier: Lsn(lsn),
        }
    }

    #[test]
    fn a_late_end_holds_back_its_event_and_no_other() {
        let mut untold = Untold::default();
        untold.push_late(1, expired("a", 10));
        untold.push_late(2, expired("b", 11));
        untold.push(expired("c", 12));
        assert_eq!(untold.pop(), Some(expired("c", 12)));
        assert_eq!((untold.pop(), untold.awaited()), (None, Some(1)));
        // Something else is logged; then what stands for an end is.
        untold.end_by(Lsn(20), |late| late == 3);
        assert_eq!(untold.pop(), None);
        untold.end_by(Lsn(21), |late| late == 2);
        assert_eq!(untold.pop(), Some(expired("b", 21)), "it waits for what stands for its end");
        assert_eq!((untold.pop(), untold.awaited()), (None, Some(1)));
        untold.end_by(Lsn(22), |late| late == 1);
        assert_eq!(untold.pop(), Some(expired("a", 22)));
        assert!(untold.is_empty());
    }
}
