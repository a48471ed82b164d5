//! Between the mounted file system and the test: order, late answers, and the moment at which the world stands still.
//!
//! Owns: the volume's lock, the thread that answers changes late, the counting of events.
//! Must never know: the FUSE protocol, servers.
//! Invariant: while the world is frozen nothing changes and no change is answered, so a copy of the volume and what
//! clients had been told by then belong together.

use super::illness::{Asked, Health, Illness};
use super::volume::{Change, Ino, Lie, Seq, Volume};
use fastrand::Rng;
use fuser::Errno;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What happened to the volume so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Writes that asked to be durable by themselves.
    pub durable_writes: u64,
    /// Syncs of files.
    pub file_syncs: u64,
    /// Syncs of folders.
    pub folder_syncs: u64,
    /// New sizes.
    pub sizes: u64,
    /// Created, renamed and removed names.
    pub names: u64,
}

impl Counts {
    /// Syncs of all kinds.
    pub fn syncs(&self) -> u64 {
        self.durable_writes + self.file_syncs + self.folder_syncs
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, bytes, durable_writes, file_syncs, folder_syncs, sizes, names } = self;
        write!(
            f,
            "{writes} writes of {} MiB, {durable_writes} of them durable by themselves, \
             {file_syncs} syncs of files, {folder_syncs} of folders, {sizes} new sizes, {names} changes of names",
            bytes >> 20
        )
    }
}

/// When to freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At the n-th event from now: an arrival or an answer.
    Event(u64),
    /// At the n-th sync of a file or folder, or change of a name, from now.
    Rare(u64),
}

/// What is answered late.
pub(super) enum Late {
    /// A write or a size, and whether it asked to be durable.
    Change(Ino, Seq, bool),
    /// A sync of a file or folder, with what it covers.
    Sync(Ino, Vec<Seq>),
}

type Reply = Box<dyn FnOnce() + Send>;

struct Due {
    at: Instant,
    late: Late,
    reply: Reply,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives the greatest first, and the earliest is wanted.
        other.at.cmp(&self.at)
    }
}

pub(super) struct State {
    pub(super) volume: Volume,
    pub(super) counts: Counts,
    health: Health,
    due: BinaryHeap<Due>,
    rng: Rng,
    events: u64,
    /// Half of the answers are given at once, most of the others within this many microseconds.
    pace_us: u64,
    moment: Option<Moment>,
    frozen: bool,
    closed: bool,
    pub(super) trace: bool,
}

impl State {
    /// Counts an event, and freezes if this is the moment.
    pub(super) fn event(&mut self, rare: bool) {
        self.events += 1;
        let counts = match &mut self.moment {
            Some(Moment::Event(left)) => Some(left),
            Some(Moment::Rare(left)) if rare => Some(left),
            _ => None,
        };
        if let Some(left) = counts {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.moment = None;
                self.frozen = true;
            }
        }
    }

    /// The error with which a request that has just arrived fails, if the disk is ill.
    pub(super) fn failure(&mut self, asked: Asked) -> Option<Errno> {
        self.health.failure(asked)
    }

    /// The error with which a change of this file fails. A failed write may have happened, a failed growth has not.
    pub(super) fn change_failure(
        &mut self,
        ino: Ino,
        change: &Change,
        durable: bool,
    ) -> Option<Errno> {
        let (end, written) = match change {
            Change::Write(offset, bytes) => (offset + bytes.len() as u64, true),
            Change::Size(size) => (*size, false),
        };
        let grows = self.volume.file(ino).is_some_and(|file| file.live.size() < end);
        if grows && let Some(error) = self.failure(Asked::Space) {
            return Some(error);
        }
        if !written {
            return None;
        }
        let error = self.failure(if durable { Asked::DurableWrite } else { Asked::Write })?;
        if self.rng.bool() {
            // Never answered: a power cut may take it or leave it.
            let _seq = self.volume.change(ino, change.clone());
        }
        Some(error)
    }

    /// Lets `reply` be given in a while, when the volume has taken note of it.
    pub(super) fn answer_late(&mut self, late: Late, reply: Reply) {
        let pace = self.pace_us + 1;
        let micros = match self.rng.u32(..16) {
            0..8 => 0,
            8..15 => self.rng.u64(..pace),
            _ => self.rng.u64(..10 * pace),
        };
        self.due.push(Due { at: Instant::now() + Duration::from_micros(micros), late, reply });
    }
}

/// The volume and everything around it.
pub struct Hub {
    state: Mutex<State>,
    changed: Condvar,
}

impl Hub {
    /// An empty volume, answering in an order that `seed` shuffles.
    pub fn new(seed: u64, lie: Lie) -> Arc<Self> {
        let mut volume = Volume::default();
        volume.lie = lie;
        let state = State {
            volume,
            counts: Counts::default(),
            health: Health::default(),
            due: BinaryHeap::new(),
            rng: Rng::with_seed(seed),
            events: 0,
            pace_us: 0,
            moment: None,
            frozen: false,
            closed: false,
            trace: false,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// The volume, as it is.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The volume, once it is not frozen. Whoever changes it comes in here, and leaves by [`Hub::leave`].
    pub(super) fn enter(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.frozen {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Tells the others that something has changed.
    pub(super) fn leave(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.changed.notify_all();
    }

    /// Every operation that arrives is printed from now on.
    pub fn trace(&self) {
        self.lock().trace = true;
    }

    /// How slow the disk is from now on: half of the answers are given at once, most of the others within this time.
    pub fn set_pace(&self, pace: Duration) {
        self.lock().pace_us = u64::try_from(pace.as_micros()).unwrap_or(u64::MAX / 16);
    }

    /// The next `requests` of the kind that `illness` strikes fail.
    pub(super) fn fall_ill(&self, illness: Illness, requests: u32) {
        self.lock().health.fall_ill(illness, requests);
    }

    /// The disk is well from now on.
    pub(super) fn recover(&self) {
        self.lock().health.recover();
    }

    /// Requests that have failed so far.
    pub(super) fn struck(&self) -> BTreeMap<Illness, u64> {
        self.lock().health.struck()
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Arrivals and answers so far.
    pub fn events(&self) -> u64 {
        self.lock().events
    }

    /// Freezes the world when the moment has come.
    pub fn arm(&self, moment: Moment) {
        self.lock().moment = Some(moment);
    }

    /// Waits until the world is frozen; false if it was not within `limit`.
    pub fn wait_frozen(&self, limit: Duration) -> bool {
        let waiting = |state: &mut State| !state.frozen;
        let waited = self.changed.wait_timeout_while(self.lock(), limit, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.frozen
    }

    /// A copy of the volume. Take the locks of what clients know before, so that both belong together.
    pub fn copy(&self) -> Volume {
        self.lock().volume.clone()
    }

    /// Changes the volume behind the back of the file system, between two worlds.
    pub fn with_volume<R>(&self, change: impl FnOnce(&mut Volume) -> R) -> R {
        change(&mut self.lock().volume)
    }

    /// Lets the world go on, and forgets a moment that has not come.
    pub fn release(&self) {
        let mut state = self.lock();
        state.frozen = false;
        state.moment = None;
        self.leave(state);
    }

    /// Starts the thread that answers late.
    pub(super) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let hub = Arc::clone(self);
        std::thread::spawn(move || while hub.answer_next() {})
    }

    /// Ends it when everything is answered.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.frozen = false;
        self.leave(state);
    }

    /// Answers what is due next; false if there is nothing and never will be.
    fn answer_next(&self) -> bool {
        let mut state = self.enter();
        let Some(next) = state.due.peek() else {
            if state.closed {
                return false;
            }
            drop(self.changed.wait(state));
            return true;
        };
        let left = next.at.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            drop(self.changed.wait_timeout(state, left));
            return true;
        }
        let Some(Due { late, reply, .. }) = state.due.pop() else { return true };
        let rare = match late {
            Late::Change(ino, seq, durable) => {
                state.volume.answered(ino, seq, durable);
                false
            }
            Late::Sync(ino, covered) => {
                state.volume.synced(ino, &covered);
                true
            }
        };
        state.event(rare);
        self.leave(state);
        reply();
        true
    }
}
