//! The fault model: what a simulated disk may do to the engine, first in prose, then as knobs.
//!
//! **In the model** ([`Profile::InModel`]): everything that was acknowledged must survive.
//! - Requests complete in any order, after any time; now and then one takes seconds.
//! - At a power cut each 512-byte sector of a write that has not completed, or that completed
//!   without having been asked to be durable and was not synced since, holds its old content, its
//!   new content, or rubbish, each sector by itself. Completed durable writes stay.
//! - At the death of the process the same holds for writes under way, while completed writes stay
//!   readable; but what landed of a write under way sits in the device's cache, so a later power
//!   cut may still take it, unless it is synced first.
//! - A write or a sync fails (EIO). Any subset of its sectors has landed; of the others, reads may
//!   see the new content until the process ends, and the old content after that. A repeated sync
//!   succeeds without bringing anything back. In half of the worlds what was not written back stays
//!   readable until memory is short (ext4, xfs), in the others it reverts at once (btrfs; Rebello
//!   et al., ATC 2020).
//! - A read fails once (EIO) and succeeds when repeated.
//! - Space runs out (ENOSPC) at an allocation and comes back later. A crash during an allocation
//!   leaves no file, a shorter one, or a complete one.
//!
//! **Beyond the model** ([`Profile::Beyond`]): data may be lost, but no reply may show a value that
//! is wrong, older than one acknowledged, or deleted. In addition to the above:
//! - Bits of durable sectors flip at rest.
//! - A sector becomes unreadable until it is written again.
//! - A durable write lands at another valid place (misdirected), or nowhere (phantom), and reports
//!   success.
//! - A read returns what was there before the last write.
//!
//! Short transfers and interruptions do not reach the engine: its seam is whole requests, and the
//! drivers' own tests cover them.
//!
//! Owns: [`Profile`], [`Fault`], [`FaultPlan`], [`FaultCounts`].
//! Never knows: how faults are carried out (`disk`).

use super::rng::Rng;

/// Which part of the fault model a world draws on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Crashes and reordering only.
    Calm,
    /// All faults of which nothing acknowledged may be lost.
    InModel,
    /// Faults that may lose data, which then must be noticed.
    Beyond,
}

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<Profile> {
        match name {
            "calm" => Some(Profile::Calm),
            "in-model" => Some(Profile::InModel),
            "beyond" => Some(Profile::Beyond),
            _ => None,
        }
    }

    /// Its name, as [`Profile::named`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Calm => "calm",
            Profile::InModel => "in-model",
            Profile::Beyond => "beyond",
        }
    }
}

/// Classes of faults, as they are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Fault {
    /// A power cut.
    PowerCut,
    /// The process died, the machine went on.
    ProcessDeath,
    /// A sector of an unfinished write kept its old content.
    LostSector,
    /// A sector of an unfinished write became rubbish.
    GarbageSector,
    /// A write failed.
    WriteError,
    /// A sync failed.
    SyncError,
    /// A read failed once.
    ReadError,
    /// A sector became unreadable.
    BadSector,
    /// An allocation found no space.
    NoSpace,
    /// A request took seconds.
    Stuck,
    /// A bit flipped at rest.
    BitRot,
    /// A write landed elsewhere.
    Misdirected,
    /// A write landed nowhere.
    Phantom,
    /// A read returned former content.
    StaleRead,
    /// What a failed write had left in the cache was dropped from it.
    GhostGone,
}

impl Fault {
    /// All classes, in the order of [`FaultCounts`].
    pub const ALL: [Fault; 15] = [
        Fault::PowerCut,
        Fault::ProcessDeath,
        Fault::LostSector,
        Fault::GarbageSector,
        Fault::WriteError,
        Fault::SyncError,
        Fault::ReadError,
        Fault::BadSector,
        Fault::NoSpace,
        Fault::Stuck,
        Fault::BitRot,
        Fault::Misdirected,
        Fault::Phantom,
        Fault::StaleRead,
        Fault::GhostGone,
    ];
}

/// How many faults of each class have struck.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl FaultCounts {
    /// Counts one.
    pub fn note(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How many of this class.
    pub fn get(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Adds another world's counts.
    pub fn add(&mut self, other: &FaultCounts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// How often what goes wrong in one world: each field in 100,000 requests of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultPlan {
    /// Writes that fail.
    pub write_error: u64,
    /// Syncs that fail.
    pub sync_error: u64,
    /// Reads that fail once.
    pub read_error: u64,
    /// Reads that find a sector unreadable for good.
    pub bad_sector: u64,
    /// Allocations that find no space.
    pub no_space: u64,
    /// Requests that take seconds.
    pub stuck: u64,
    /// Writes that land elsewhere.
    pub misdirected: u64,
    /// Writes that land nowhere.
    pub phantom: u64,
    /// Reads that return former content.
    pub stale_read: u64,
    /// Whether a failed sync makes reads see the old content at once.
    pub reverts: bool,
    /// Whether latencies are drawn so that order is near random, rather than by kind of request.
    pub shuffled: bool,
}

impl FaultPlan {
    /// What of it strikes while a store is being opened: not what damages acknowledged data, so that
    /// what was damaged before can be told.
    #[must_use]
    pub fn while_opening(self) -> FaultPlan {
        // One sync for each segment: were one in five to fail, no start would come to its end.
        let sync_error = self.sync_error.min(2_000);
        FaultPlan { bad_sector: 0, misdirected: 0, phantom: 0, stale_read: 0, sync_error, ..self }
    }

    /// A plan for one world of this profile: each class is live in some worlds only, so that no
    /// class hides what another would find.
    pub fn draw(profile: Profile, rng: &mut Rng) -> FaultPlan {
        let shuffled = rng.chance(1, 2);
        if profile == Profile::Calm {
            return FaultPlan { shuffled, ..FaultPlan::default() };
        }
        let mut sometimes = |one_in: u64, rates: &[u64]| {
            let rate = rng.pick(rates);
            if rng.chance(1, one_in) { rate } else { 0 }
        };
        let plan = FaultPlan {
            write_error: sometimes(8, &[20, 200]),
            sync_error: sometimes(8, &[1_000, 20_000]),
            read_error: sometimes(4, &[100, 5_000]),
            no_space: sometimes(4, &[5_000, 50_000]),
            stuck: sometimes(6, &[20, 500]),
            shuffled,
            reverts: shuffled,
            ..FaultPlan::default()
        };
        if profile == Profile::InModel {
            return plan;
        }
        FaultPlan {
            bad_sector: sometimes(4, &[20, 500]),
            misdirected: sometimes(4, &[20, 500]),
            phantom: sometimes(4, &[20, 500]),
            stale_read: sometimes(4, &[20, 500]),
            ..plan
        }
    }
}
