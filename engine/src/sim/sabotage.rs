//! Bugs on purpose: proof that the simulation finds what it is there to find.
//!
//! Owns: [`Sabotage`], and which one is at work on this thread.
//! Invariant: without the feature `sim` none of this exists; with it, nothing is broken unless a
//! test asks for it.

use std::cell::Cell;

use super::faults::Profile;
use super::harness::{Failure, Outcome, run};
use super::program::Program;

/// A bug that can be planted in the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// Batches are written without being made durable.
    WriteWithoutSync,
    /// Replies do not wait for what they show.
    ReplyEarly,
    /// Segments are released while what replaced their records is still on its way.
    ReleaseEarly,
    /// Survivors are written before the mutations that they reflect.
    SurvivorsOvertake,
    /// Compaction drops tombstones that replay still needs.
    DropTombstones,
    /// Compaction drops expired records that hide older ones.
    DropExpired,
    /// Compaction drops the journal of touches.
    DropTouches,
    /// Compaction forgets when a record expires.
    ForgetExpiry,
    /// A segment is reused under the number of its former use.
    SameIncarnation,
    /// Recovery goes on behind a torn batch.
    ReplayPastTear,
    /// A group without a commit takes effect.
    HalfGroups,
    /// A group left unfinished by a crash is not declared void.
    LeaveGroupOpen,
    /// Recovered touches get no grace.
    NoGrace,
    /// What a recovery has granted is granted again by the next.
    GrantAgain,
    /// Recovery does not read the touch records that footers name.
    SkipTouchRecords,
    /// Touches wait to be journaled however far they move an expiry.
    LaxTouches,
    /// Recovery relies on what a dead process left in the device's cache.
    TrustCache,
    /// A checkpoint is published before what it shows is durable.
    EarlyCheckpoint,
    /// A checkpoint claims to hold one batch more than it does.
    CheckpointTooFar,
    /// Replay ignores that a namespace was cleared.
    IgnoreClear,
    /// SCAN does not look again for a record that was moved.
    ScanLosesMoved,
    /// SCAN takes segments that were sealed meanwhile for listed.
    ScanTrustsSealed,
    /// A dictionary is used that is not in the log.
    UnloggedDictionary,
    /// A dictionary is deleted that records still need.
    DictionaryTooSoon,
    /// The grace of a recovery goes beyond a limit, and reads do not cut it there.
    GraceBeyondLimit,
    /// Recovery keeps labels whose entries have gone.
    KeepStaleLabels,
    /// Replay does not look at labels.
    IgnoreLabels,
    /// Recovery keeps chunks that no manifest names.
    KeepOrphans,
    /// Chunks of large values that were replaced or deleted stay.
    LeakChunks,
    /// Chunks are replaced outside the group of their manifest.
    UngroupedChunks,
    /// Chunks go with their value, though somebody still reads it.
    IgnorePins,
    /// A key whose chunks are not there any more is back after its expiry.
    KeepEnded,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 32] = [
        Sabotage::WriteWithoutSync,
        Sabotage::ReplyEarly,
        Sabotage::ReleaseEarly,
        Sabotage::SurvivorsOvertake,
        Sabotage::DropTombstones,
        Sabotage::DropExpired,
        Sabotage::DropTouches,
        Sabotage::ForgetExpiry,
        Sabotage::SameIncarnation,
        Sabotage::ReplayPastTear,
        Sabotage::HalfGroups,
        Sabotage::LeaveGroupOpen,
        Sabotage::NoGrace,
        Sabotage::GrantAgain,
        Sabotage::SkipTouchRecords,
        Sabotage::LaxTouches,
        Sabotage::TrustCache,
        Sabotage::EarlyCheckpoint,
        Sabotage::CheckpointTooFar,
        Sabotage::IgnoreClear,
        Sabotage::ScanLosesMoved,
        Sabotage::ScanTrustsSealed,
        Sabotage::UnloggedDictionary,
        Sabotage::DictionaryTooSoon,
        Sabotage::GraceBeyondLimit,
        Sabotage::KeepStaleLabels,
        Sabotage::IgnoreLabels,
        Sabotage::KeepOrphans,
        Sabotage::LeakChunks,
        Sabotage::UngroupedChunks,
        Sabotage::IgnorePins,
        Sabotage::KeepEnded,
    ];
}

impl Sabotage {
    /// Seeds of the profile calm within which the simulation must find it.
    pub fn seeds_max(self) -> u64 {
        match self {
            Sabotage::SurvivorsOvertake
            | Sabotage::DropTombstones
            | Sabotage::DropExpired
            | Sabotage::DropTouches
            | Sabotage::LeaveGroupOpen
            | Sabotage::NoGrace
            | Sabotage::SkipTouchRecords
            | Sabotage::DictionaryTooSoon
            | Sabotage::UngroupedChunks => 10_000,
            // A clock that is set back, and a segment that was used again. `orphans.rs` tests it alone.
            Sabotage::KeepEnded => 20_000,
            _ => 300,
        }
    }
}

impl Sabotage {
    /// Whether only worlds with large values can find it; what has nothing to do with them is looked for
    /// in worlds without, in as few seeds as ever.
    fn is_of_large_values(self) -> bool {
        matches!(
            self,
            Sabotage::KeepOrphans
                | Sabotage::LeakChunks
                | Sabotage::UngroupedChunks
                | Sabotage::IgnorePins
                | Sabotage::KeepEnded
        )
    }
}

/// The first seed below `seeds_max` that finds it: one that passes without it.
pub fn found_by(sabotage: Sabotage, profile: Profile, seeds_max: u64) -> Option<u64> {
    (0..seeds_max).find(|seed| {
        let program = if sabotage.is_of_large_values() {
            Program::draw(*seed, profile)
        } else {
            Program::draw_plain(*seed, profile)
        };
        run_with(sabotage, &program).is_err() && run(&program).is_ok()
    })
}

thread_local! {
    static AT_WORK: Cell<Option<Sabotage>> = const { Cell::new(None) };
}

/// Whether this bug is planted on this thread.
pub fn is_planted(sabotage: Sabotage) -> bool {
    AT_WORK.get() == Some(sabotage)
}

/// Carries out a program with a bug planted; a panic counts as found.
///
/// # Errors
/// The promise that is broken.
pub fn run_with(sabotage: Sabotage, program: &Program) -> Result<Outcome, Failure> {
    AT_WORK.set(Some(sabotage));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(program)));
    AT_WORK.set(None);
    result.unwrap_or_else(|_| Err(Failure { at: 0, message: "panicked".to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_found_is_listed_once() {
        let mut names: Vec<String> = Sabotage::ALL.iter().map(|s| format!("{s:?}")).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Sabotage::ALL.len());
        assert!(!Sabotage::ALL.iter().any(|sabotage| is_planted(*sabotage)));
    }
}
