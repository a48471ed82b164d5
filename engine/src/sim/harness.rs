//! A world: one shard of the real engine on a simulated disk, a program to carry out, and the model
//! that judges every answer.
//!
//! Owns: [`World`], [`run`].
//! Never knows: how the engine works inside; it uses the public interface, as a server does.
//! Invariant: the same program gives the same trace.

mod answers;
mod commands;
mod large;
mod owners;
mod restart;
mod time;
mod verify;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::counts::Counts;
use super::disk::SimDisk;
use super::faults::{FaultPlan, Profile};
use super::ledger::Ledger;
use super::model::{Clock, Model, ModelKey};
use super::program::{Action, KEYS, NAMESPACES, Op, Program, Setup};
use super::rng::Rng;
use super::{buggify, marks};
use crate::io::Disk;
use crate::shard::{Event, Shard, Ticket};
use crate::units::{Lsn, UnixMillis};

use verify::ScanWatch;

/// When every world begins.
const BEGINNING_MS: u64 = 1_790_000_000_000;
/// Completions and ticks within which everything must come to rest.
const PATIENCE: u32 = 50_000;

/// What a world came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What happened how often.
    pub counts: Counts,
    /// Hash of the trace.
    pub trace: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Number of the operation in the program; its length if it was the end.
    pub at: usize,
    /// What was seen, and what should have been.
    pub message: String,
}

/// A client's command that has to wait.
struct Parked {
    action: Action,
    ticket: u64,
    /// Loads that have not been answered.
    loads: usize,
    tries: u32,
}

/// One simulated world.
pub struct World {
    disk: SimDisk,
    shard: Option<Shard>,
    model: Model,
    setup: Setup,
    plan: FaultPlan,
    profile: Profile,
    segment_bytes: u32,
    keys: Vec<ModelKey>,
    rng: Rng,
    /// Wall clock minus simulated time, in ms.
    wall_offset_ms: u64,
    /// What time the engine may believe it is.
    clock: Clock,
    /// Decides when somebody listens for expired keys.
    listen: Rng,
    /// Expiries that were told, and what they wait for before they are told for good.
    told: Vec<(Lsn, ModelKey, Lsn)>,
    parked: Vec<Parked>,
    scans: BTreeMap<u64, ScanWatch>,
    next_ticket: u64,
    versions: u64,
    /// Whether values are set with labels.
    labelled: bool,
    counts: Counts,
    ledger: Ledger,
    /// Keys by the words that name them in the log.
    words: BTreeMap<u64, ModelKey>,
    large: large::LargeValues,
    chunk_bytes: u32,
    /// Damage beyond the model has closed the store for good.
    closed: bool,
}

/// Carries out a program.
///
/// # Errors
/// The first promise that is broken.
pub fn run(program: &Program) -> Result<Outcome, Failure> {
    let mut world = World::new(program);
    let mut at = 0;
    marks::take();
    if program.buggify {
        buggify::begin(program.seed);
    }
    let result = world.open().and_then(|()| {
        for op in &program.ops {
            if world.closed {
                return Ok(());
            }
            world.step(op)?;
            at += 1;
        }
        world.finish()
    });
    buggify::end();
    world.counts.marks = marks::take();
    match result {
        Ok(()) => Ok(world.outcome()),
        Err(message) => Err(Failure { at, message }),
    }
}

/// The name of a key: most are short, some are long, one is empty.
fn key_name(number: u64) -> Rc<[u8]> {
    match number {
        3 => Rc::from([].as_slice()),
        7 => vec![b'k'; 900].into(),
        11 => vec![b'l'; 3_000].into(),
        _ => format!("key-{number}").into_bytes().into(),
    }
}

impl World {
    /// A world with an empty disk.
    pub fn new(program: &Program) -> World {
        let seed = program.seed;
        let plan = FaultPlan::draw(program.profile, &mut Rng::named(seed, "faults"));
        let keys = (0..KEYS).map(|number| {
            let namespace = [0, 0, 1, 0, 2][number as usize % 5];
            (namespace, key_name(number))
        });
        let calm = FaultPlan { shuffled: plan.shuffled, ..FaultPlan::default() };
        World {
            disk: SimDisk::new(program.block_bytes, u64::MAX, calm, Rng::named(seed, "disk")),
            shard: None,
            model: Model::new(program.profile == Profile::Beyond),
            setup: program.setup.clone(),
            plan,
            profile: program.profile,
            segment_bytes: program.segment_bytes,
            keys: keys.collect(),
            rng: Rng::named(seed, "world"),
            wall_offset_ms: BEGINNING_MS,
            clock: Clock { earliest: UnixMillis(0), latest: UnixMillis(0) },
            listen: Rng::named(seed, "listen"),
            told: Vec::new(),
            parked: Vec::new(),
            scans: BTreeMap::new(),
            next_ticket: 1,
            versions: 0,
            labelled: program.labelled,
            counts: Counts { seeds: 1, ..Counts::default() },
            ledger: Ledger::new(program.profile == Profile::Beyond),
            words: BTreeMap::new(),
            large: large::LargeValues::default(),
            chunk_bytes: program.chunk_bytes,
            closed: false,
        }
    }

    /// Carries out one operation.
    ///
    /// # Errors
    /// The promise that it broke.
    pub fn step(&mut self, op: &Op) -> Result<(), String> {
        self.counts.ops += 1;
        match op {
            Op::Do(action) => self.command(action.clone())?,
            Op::Upload(key, bytes, ttl) => self.start_upload(*key, *bytes, *ttl),
            Op::Feed(chunks) => self.feed_uploads(*chunks)?,
            Op::Abandon => self.abandon_oldest(),
            Op::Scan(namespace, count) => self.start_scan(*namespace, *count),
            Op::Random(namespace) => self.start_random(*namespace),
            Op::Flush => self.shard().flush(),
            Op::Complete(count) => {
                for _ in 0..*count {
                    self.complete_one()?;
                }
            }
            Op::Pass(ms) => self.pass(*ms)?,
            Op::JumpAhead(ms) => self.wall_offset_ms += ms,
            Op::JumpBack(ms) => self.wall_offset_ms -= ms.min(&(self.wall_offset_ms / 2)),
            Op::Settle => self.settle()?,
            Op::Check => self.check_all()?,
            Op::SetAck(ack) => {
                self.setup.ack = *ack;
                self.shard().set_ack(*ack);
            }
            Op::SetHot(bytes) => self.set_hot(*bytes),
            Op::DiskFull(true) => {
                let used = self.disk.used_bytes();
                self.disk.set_capacity(used);
            }
            Op::DiskFull(false) => self.disk.set_capacity(u64::MAX),
            Op::Rot => {
                self.disk.rot();
            }
            Op::Crash { crash, after, cuts, setup } => {
                self.crash(*crash, *after, cuts, setup)?;
            }
            Op::Reopen(setup) => self.reopen(setup)?,
        }
        if self.closed {
            return Ok(());
        }
        self.pump()?;
        if self.rng.chance(1, 2) {
            self.complete_one()?;
        }
        self.tick_if_due()
    }

    /// Brings everything to rest, checks it, closes and opens once more.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn finish(&mut self) -> Result<(), String> {
        if self.closed {
            return Ok(());
        }
        self.disk.set_capacity(u64::MAX);
        self.settle()?;
        self.check_all()?;
        let setup = self.setup.clone();
        self.reopen(&setup)?;
        self.note_stats();
        Ok(())
    }

    /// What the world came to.
    pub fn outcome(&mut self) -> Outcome {
        self.counts.faults.add(&self.disk.counts);
        self.counts.simulated_ms += self.disk.clock_us() / 1000;
        Outcome { counts: self.counts, trace: self.disk.trace.hash() }
    }

    fn shard(&mut self) -> &mut Shard {
        self.shard.as_mut().expect("a world has a shard while it runs")
    }

    /// The time for judging what the engine shows.
    fn clock(&self) -> Clock {
        Clock { latest: self.clock.latest.max(self.wall_clock()), ..self.clock }
    }

    /// The latest time that the engine may know.
    fn now(&self) -> UnixMillis {
        self.clock().latest
    }

    /// What the wall clock says, which may be earlier than it said before.
    fn wall_clock(&self) -> UnixMillis {
        UnixMillis(self.wall_offset_ms + self.disk.clock_us() / 1000)
    }

    /// The wall clock, for telling the engine.
    fn wall(&mut self) -> UnixMillis {
        let wall = self.wall_clock();
        self.clock.earliest = self.clock.earliest.max(wall);
        self.clock.latest = self.clock.latest.max(wall);
        wall
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Hands the shard's requests to the disk and takes its events, until there are none.
    fn pump(&mut self) -> Result<(), String> {
        loop {
            while let Some((id, request)) = self.shard().poll_io() {
                self.ledger.note_start(id, &request);
                self.disk.start(id, request);
            }
            self.disk.submit();
            self.note_watermarks()?;
            let Some(event) = self.shard().poll_event() else { return Ok(()) };
            match event {
                Event::Loaded { ticket: Ticket(ticket), outcome } => {
                    self.on_loaded(ticket, outcome)?;
                }
                Event::Scanned { ticket: Ticket(ticket), keys, next, failed, barrier } => {
                    self.on_scanned(ticket, &keys, next, failed, barrier)?;
                }
                Event::Expired(expired) => self.on_expired(expired)?,
            }
        }
    }

    /// Completes the request that is due first; false if none is in flight.
    fn complete_one(&mut self) -> Result<bool, String> {
        self.pump()?;
        if !self.disk.complete_next() {
            return Ok(false);
        }
        while let Some((id, result)) = self.disk.finished() {
            self.counts.completions += 1;
            self.ledger.note_done(id, result.outcome.is_ok());
            let now = self.wall();
            self.shard().complete(id, result, now);
        }
        self.pump()?;
        self.retry_waiting()?;
        Ok(true)
    }

    /// What the engine says is durable must survive from now on.
    fn note_watermarks(&mut self) -> Result<(), String> {
        let ack = self.setup.ack;
        let shard = self.shard();
        let (acked, durable) = (shard.acked_lsn(), shard.durable_lsn());
        let appended = shard.appended_lsn();
        if durable > appended || ack == crate::config::Ack::Durable && acked > durable {
            return Err(format!("acked {acked}, durable {durable}, appended {appended}"));
        }
        self.model.promise(durable);
        for (_, key, lsn) in self.told.extract_if(.., |(barrier, ..)| *barrier <= durable) {
            self.model.ended(key, lsn);
        }
        Ok(())
    }

    /// Nothing may be called corrupt that is not.
    fn check_alarms(&mut self) -> Result<(), String> {
        let unreadable = self.plan.read_error + self.plan.bad_sector > 0;
        if self.profile == Profile::Beyond || unreadable {
            return Ok(());
        }
        match self.shard().stats().corrupt_records {
            0 => Ok(()),
            corrupt => Err(format!("{corrupt} records reported corrupt without a fault")),
        }
    }

    fn note_stats(&mut self) {
        if let Some(shard) = &self.shard {
            self.counts.note_shard(&shard.stats());
        }
    }

    /// Namespaces that the keys of a world are in.
    fn namespaces() -> std::ops::Range<u16> {
        0..NAMESPACES
    }
}
