//! Marks in the engine that a long run must have passed: a simulation that never came by a branch
//! has proved nothing about it.
//!
//! Owns: [`Mark`], and which of them this thread's world has passed.
//! Invariant: without the feature `sim` none of this exists.

use std::cell::Cell;

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A place in the engine that must be passed sometimes.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mark { $($(#[$doc])* $name,)* }

        impl Mark {
            /// All of them.
            pub const ALL: &[Mark] = &[$(Mark::$name,)*];
        }
    };
}

marks! {
    /// A write failed and the shard stopped.
    Poisoned,
    /// A record was damaged when it was read.
    LoadedDamage,
    /// A scan met a record that had moved.
    ScanMoved,
    /// A scan took keys from a footer.
    ScanFooter,
    /// A checkpoint failed and the one before stayed.
    CheckpointFailed,
    /// The file system was full.
    NoSpace,
    /// Another segment had to tell whether the end of one was the end of the log.
    ProvedElsewhere,
    /// The end of a touched key found no room, and its event had to wait.
    LateEnd,
    /// Touches that nobody waits for took the padding of a batch.
    TouchesShare,
    /// A batch of touches stayed open for more to join.
    TouchesLinger,
    /// Recovery read touch records of a sealed segment.
    TouchesRead,
}

thread_local! {
    static PASSED: Cell<u64> = const { Cell::new(0) };
}

/// Notes that a mark was passed.
pub fn pass(mark: Mark) {
    PASSED.set(PASSED.get() | 1 << mark as u8);
}

/// The marks passed since the last call, one bit each.
pub fn take() -> u64 {
    PASSED.replace(0)
}

/// Names of the marks whose bit is not in `passed`. `beyond`: whether damage was among the faults.
pub fn missing(passed: u64, beyond: bool) -> Vec<String> {
    let only_beyond = [Mark::LoadedDamage];
    let absent = Mark::ALL.iter().filter(|mark| passed >> **mark as u8 & 1 == 0);
    absent.filter(|m| beyond || !only_beyond.contains(m)).map(|m| format!("{m:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Mark, missing, pass, take};

    #[test]
    fn what_was_not_passed_is_named() {
        take();
        pass(Mark::Poisoned);
        let passed = take();
        assert!(!missing(passed, true).contains(&"Poisoned".to_owned()));
        assert_eq!(missing(passed, true).len(), Mark::ALL.len() - 1);
        assert_eq!(take(), 0);
        assert!(Mark::ALL.len() <= 64, "one bit each");
    }
}
