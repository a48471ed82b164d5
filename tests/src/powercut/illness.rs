//! What a disk may do wrong while the power stays on.
//!
//! Owns: which requests an illness strikes. Must never know: what the server makes of it.
//! Invariant: a failed sync leaves nothing durable that was not so before, and no later sync makes up for it: what it
//! should have covered may be there after a power cut or not.

use fuser::Errno;
use std::collections::BTreeMap;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Illness {
    /// No space for new names, larger files, reservations.
    Full,
    /// Writes fail, and may have reached the disk all the same.
    Writes,
    /// Syncs fail.
    Syncs,
    /// Reads fail.
    Reads,
}

/// What a request asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Space,
    Write,
    /// A write that is durable by itself.
    DurableWrite,
    Sync,
    Read,
}

impl Illness {
    /// All of them.
    pub const ALL: [Illness; 4] = [Illness::Full, Illness::Writes, Illness::Syncs, Illness::Reads];

    fn strikes(self, asked: Asked) -> bool {
        match self {
            Illness::Full => asked == Asked::Space,
            Illness::Writes => matches!(asked, Asked::Write | Asked::DurableWrite),
            // A write that is durable by itself has a sync in it, which comes last.
            Illness::Syncs => matches!(asked, Asked::Sync | Asked::DurableWrite),
            Illness::Reads => asked == Asked::Read,
        }
    }

    fn errno(self) -> Errno {
        if self == Illness::Full { Errno::ENOSPC } else { Errno::EIO }
    }
}

/// How the disk is now, and what it has failed so far.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The illness, and how many requests it will still strike.
    ill: Option<(Illness, u32)>,
    struck: BTreeMap<Illness, u64>,
}

impl Health {
    /// The next `requests` that it strikes fail; then the disk is well again, as if nothing had been.
    pub(super) fn fall_ill(&mut self, illness: Illness, requests: u32) {
        self.ill = Some((illness, requests));
    }

    /// Well from now on.
    pub(super) fn recover(&mut self) {
        self.ill = None;
    }

    /// The error with which this request fails, if it does.
    pub(super) fn failure(&mut self, asked: Asked) -> Option<Errno> {
        let (illness, left) = self.ill.as_mut()?;
        if !illness.strikes(asked) {
            return None;
        }
        let illness = *illness;
        *left -= 1;
        if *left == 0 {
            self.ill = None;
        }
        *self.struck.entry(illness).or_default() += 1;
        Some(illness.errno())
    }

    /// Requests failed so far, by illness.
    pub(super) fn struck(&self) -> BTreeMap<Illness, u64> {
        self.struck.clone()
    }
}
