//! Expiries that nobody has been told of yet.
//!
//! Owns: [`Untold`], their order.
//! Never knows: how an end is logged.
//! Invariant: an event is handed out only when no crash brings its key back once the event's barrier
//! is acknowledged. The end of a touched key that found no room on the disk is *late*; its event and
//! those behind it wait.

use std::collections::VecDeque;

use super::expire::Expired;
use crate::units::Lsn;

/// Events held at most: without room on the disk they pile up.
const EVENTS_MAX: usize = 1 << 16;

/// Events in the order in which they will be told.
#[derive(Default)]
pub(super) struct Untold {
    events: VecDeque<Event>,
    /// How many of them are late.
    late: usize,
}

struct Event {
    expired: Expired,
    packed: u64,
    late: bool,
}

impl Untold {
    /// Adds an event; without room it is dropped, as the log then says.
    pub(super) fn push(&mut self, packed: u64, expired: Expired, late: bool) {
        if self.events.len() >= EVENTS_MAX {
            tracing::error!("the disk is full: no event will tell of a key that has expired");
            return;
        }
        if late {
            sometimes!(LateEnd);
            self.late += 1;
        }
        self.events.push_back(Event { expired, packed, late });
    }

    /// The key whose end has to be logged before the next event may be told.
    pub(super) fn awaited(&self) -> Option<u64> {
        self.events.front().filter(|event| event.late).map(|event| event.packed)
    }

    /// The next event, if it is not late.
    pub(super) fn pop(&mut self) -> Option<Expired> {
        if self.events.front()?.late {
            return None;
        }
        self.events.pop_front().map(|event| event.expired)
    }

    /// The record with this LSN stands for the late ends of these keys: whatever it is, it is newer
    /// than what could come back. They are told first, before anything is told of that record.
    pub(super) fn end_by(&mut self, lsn: Lsn, is_meant: impl Fn(u64) -> bool) {
        if self.late == 0 {
            return;
        }
        let all = std::mem::take(&mut self.events).into_iter();
        let (mut ended, rest): (VecDeque<_>, VecDeque<_>) =
            all.partition(|event| event.late && is_meant(event.packed));
        self.late -= ended.len();
        for event in &mut ended {
            event.expired.barrier = lsn;
            event.late = false;
        }
        ended.extend(rest);
        self.events = ended;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Untold::default();
    }

    /// Whether an event about this key has not been told.
    #[cfg(feature = "sim")]
    pub(super) fn holds(&self, packed: u64) -> bool {
        self.events.iter().any(|event| event.packed == packed)
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
    fn a_late_end_holds_back_its_event_and_those_behind() {
        let mut untold = Untold::default();
        untold.push(1, expired("a", 10), false);
        untold.push(2, expired("b", 11), true);
        untold.push(3, expired("c", 12), false);
        assert_eq!(untold.pop(), Some(expired("a", 10)));
        assert_eq!((untold.pop(), untold.awaited()), (None, Some(2)));
        // Something else is logged; then the end is.
        untold.end_by(Lsn(20), |late| late == 3);
        assert_eq!(untold.pop(), None);
        untold.end_by(Lsn(21), |late| late == 2);
        assert_eq!(untold.pop(), Some(expired("b", 21)), "it waits for what stands for its end");
        assert_eq!(untold.pop(), Some(expired("c", 12)));
        assert!(untold.is_empty());
    }

    #[test]
    fn what_a_new_record_ends_is_told_before_what_still_waits() {
        let mut untold = Untold::default();
        untold.push(1, expired("a", 10), true);
        untold.push(2, expired("b", 11), true);
        untold.end_by(Lsn(20), |late| late == 2);
        assert_eq!(untold.pop(), Some(expired("b", 20)));
        assert_eq!((untold.pop(), untold.awaited()), (None, Some(1)));
    }
}
