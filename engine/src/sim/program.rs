//! What is done to a store in one world: drawn up beforehand, as plain data, so that it can be
//! shortened until only what matters for a failure is left.
//!
//! Owns: [`Program`], [`Op`], [`Setup`], and how they are drawn from a seed.
//! Never knows: what came of an operation.
//! Invariant: limits are tiny, so that what is rare in production happens all the time here.

mod large;

use super::disk::Crash;
use super::faults::Profile;
use super::rng::Rng;
use crate::config::{Ack, Compression, Config};
use large::LargeTaste;

/// Keys of a world, by number; see `harness::key_name`.
pub const KEYS: u64 = 20;
/// Namespaces of a world.
pub const NAMESPACES: u16 = 3;

/// A command of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Sets a key to a fresh value of this many bytes, to expire after this many ms.
    Put(u8, usize, Option<u64>),
    /// Deletes a key.
    Delete(u8),
    /// Lets a key expire after this many ms from now, or never.
    Expire(u8, Option<u64>),
    /// Reads a key.
    Get(u8),
    /// Reads the chunks of a part, in thousandths, of a key's large value.
    Fetch(u8, (u16, u16)),
    /// Makes an upload a key's value.
    Finish(u8, u64),
    /// Replaces so many bytes of a large value from a thousandth of it on.
    Patch(u8, u16, usize),
    /// Moves a large value from a key to another.
    Rename(u8, u8),
    /// Deletes a namespace.
    Clear(u16),
    /// All of these at once.
    Group(Vec<Action>),
}

impl Action {
    /// Numbers of the keys it touches.
    pub fn keys(&self) -> Vec<u8> {
        match self {
            Action::Put(key, ..)
            | Action::Delete(key)
            | Action::Expire(key, _)
            | Action::Get(key)
            | Action::Fetch(key, _)
            | Action::Finish(key, _)
            | Action::Patch(key, ..) => vec![*key],
            Action::Rename(from, to) => vec![*from, *to],
            Action::Clear(_) => Vec::new(),
            Action::Group(actions) => actions.iter().flat_map(Action::keys).collect(),
        }
    }
}

/// One step of a world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// A client's command. If it cannot be carried out at once, it waits while others go on.
    Do(Action),
    /// Starts to stream in a large value of this many bytes, to expire after this many ms.
    Upload(u8, usize, Option<u64>),
    /// Takes up to this many chunks of every upload.
    Feed(u8),
    /// A client goes away amid its upload.
    Abandon,
    /// Iterates over a namespace, this many keys at a time.
    Scan(u16, usize),
    /// Asks for one key at random.
    Random(u16),
    /// Asks for everything to be made durable.
    Flush,
    /// Completes up to this many requests.
    Complete(u8),
    /// Lets this many ms pass, completing what falls due.
    Pass(u64),
    /// The wall clock jumps ahead by this many ms, all at once.
    JumpAhead(u64),
    /// The wall clock is set back by this many ms.
    JumpBack(u64),
    /// Completes everything.
    Settle,
    /// Reads every key and compares.
    Check,
    /// Changes the acknowledgement level.
    SetAck(Ack),
    /// Changes the bytes of values kept in RAM.
    SetHot(usize),
    /// The file system fills up, or has room again.
    DiskFull(bool),
    /// A bit flips at rest (beyond the model).
    Rot,
    /// Crashes after this many more completions, then recovers; each of `cuts` crashes the recovery
    /// after that many completions.
    Crash {
        /// What ends.
        crash: Crash,
        /// Completions before it ends.
        after: u8,
        /// Crashes inside recovery.
        cuts: Vec<u8>,
        /// How the store is opened again.
        setup: Setup,
    },
    /// Closes in order and opens again.
    Reopen(Setup),
}

/// What may change from one opening of a store to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Acknowledgement level.
    pub ack: Ack,
    /// Segment files that may exist.
    pub segments_max: u64,
    /// Bytes of values kept in RAM.
    pub hot_bytes: usize,
    /// As in [`Config`].
    pub batch_bytes_max: usize,
    /// As in [`Config`].
    pub pending_bytes_max: usize,
    /// As in [`Config`].
    pub checkpoint_bytes: u64,
    /// As in [`Config`].
    pub segments_ahead: usize,
    /// Whether values are compressed.
    pub compression: bool,
}

impl Setup {
    fn draw(rng: &mut Rng, segment_bytes: u32) -> Setup {
        let half = segment_bytes as usize / 2;
        Setup {
            ack: draw_ack(rng),
            segments_max: rng.pick(&[16, 16, 18, 24, 40]),
            hot_bytes: rng.pick(&[0, 0, 1_000, 20_000, 4 << 20]),
            batch_bytes_max: rng.pick(&[4096, 8192, 16 << 10, 32 << 10]).min(half),
            pending_bytes_max: rng.pick(&[1, 8192, 1 << 20]),
            checkpoint_bytes: rng.pick(&[8 << 10, 32 << 10, 128 << 10, 1 << 30]),
            segments_ahead: rng.pick(&[1, 2, 3, 5]),
            compression: rng.chance(3, 4),
        }
    }

    /// The engine's configuration for this.
    pub fn config(&self, segment_bytes: u32) -> Config {
        Config {
            segment_bytes,
            disk_bytes_max: self.segments_max * u64::from(segment_bytes),
            memory_bytes_max: 64 << 20,
            ack: self.ack,
            batch_bytes_max: self.batch_bytes_max,
            pending_bytes_max: self.pending_bytes_max,
            checkpoint_bytes: self.checkpoint_bytes,
            segments_ahead: self.segments_ahead,
            compression: Compression {
                enabled: self.compression,
                dictionary_bytes: 512,
                samples_max: 24,
                sample_bytes_max: 16 << 10,
                retrain_bytes: 2_000,
            },
            hash_seed: *b"simulated worlds",
            ..Config::default()
        }
    }
}

fn ttl_ms(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 => rng.range(1, 50),
        1 => rng.range(51, 5_000),
        2 | 3 => rng.range(5_000, 120_000),
        4 | 5 => rng.range(120_000, 7_200_000),
        6 => rng.range(7_200_000, 30 * 86_400_000),
        _ => rng.range(300 * 86_400_000, 800 * 86_400_000),
    }
}

fn draw_ack(rng: &mut Rng) -> Ack {
    match rng.below(6) {
        0 => Ack::Memory,
        1 => Ack::Interval { ms: rng.pick(&[1, 50, 1_000]) },
        _ => Ack::Durable,
    }
}

/// A world's script.
#[derive(Clone, Debug)]
pub struct Program {
    /// Seed of the world: the disk's chances and the values' bytes.
    pub seed: u64,
    /// Which faults strike.
    pub profile: Profile,
    /// As in [`Config`].
    pub segment_bytes: u32,
    /// Block of the disk.
    pub block_bytes: usize,
    /// Whether the engine behaves oddly, though rightly, here and there.
    pub buggify: bool,
    /// The first opening.
    pub setup: Setup,
    /// Whether values are set with labels.
    pub labelled: bool,
    /// Length of the chunks of large values.
    pub chunk_bytes: u32,
    /// The script.
    pub ops: Vec<Op>,
}

impl Program {
    /// The program of a seed. Half of them have large values too.
    pub fn draw(seed: u64, profile: Profile) -> Program {
        let plain = Program::draw_plain(seed, profile);
        let mut rng = Rng::named(seed, "large");
        if rng.chance(1, 2) {
            return plain;
        }
        let large = LargeTaste::draw(&mut rng);
        let mut ops = Vec::new();
        for op in plain.ops {
            if rng.chance(large.often, 12) {
                ops.push(large.op(&mut rng));
            }
            ops.push(op);
        }
        Program { chunk_bytes: large.chunk_bytes, ops, ..plain }
    }

    /// The same without large values.
    pub fn draw_plain(seed: u64, profile: Profile) -> Program {
        let mut rng = Rng::named(seed, "program");
        let segment_bytes = rng.pick(&[16 << 10, 16 << 10, 32 << 10, 64 << 10]);
        let block_bytes = rng.pick(&[512, 4096]);
        let setup = Setup::draw(&mut rng, segment_bytes);
        let mut taste = Taste::draw(&mut rng, profile, segment_bytes);
        let length = rng.pick(&[20, 60, 150, 400]);
        let ops = (0..length).map(|_| taste.op(&mut rng)).collect();
        let labelled = Rng::named(seed, "labels").chance(1, 2);
        let (buggify, chunk_bytes) = (true, 1024);
        Program {
            seed,
            profile,
            segment_bytes,
            block_bytes,
            buggify,
            setup,
            labelled,
            chunk_bytes,
            ops,
        }
    }
}

/// What a world prefers: some kinds of operation are frequent, some absent, so that each kind gets
/// worlds in which it dominates (swarm testing).
struct Taste {
    profile: Profile,
    segment_bytes: u32,
    weights: [u64; 16],
    keys: u64,
    value_bytes: u64,
    ttl: u64,
}

impl Taste {
    fn draw(rng: &mut Rng, profile: Profile, segment_bytes: u32) -> Taste {
        // Put, delete, expire, get, clear, group, scan, random, flush, complete, pass, jump, settle,
        // crash, reopen, and what concerns the surroundings.
        let usual: [u64; 16] = [40, 10, 12, 15, 1, 8, 2, 1, 3, 12, 6, 1, 4, 4, 1, 3];
        let weights = usual.map(|weight| match rng.below(6) {
            0 => 0,
            1 => weight * 4,
            _ => weight,
        });
        let mut taste = Taste {
            profile,
            segment_bytes,
            weights,
            keys: rng.pick(&[2, 5, 12, KEYS]),
            value_bytes: rng.pick(&[40, 400, 2_000, 6_000]),
            ttl: rng.below(4),
        };
        taste.weights[0] = taste.weights[0].max(20);
        taste.weights[13] = taste.weights[13].max(1);
        taste
    }

    fn op(&mut self, rng: &mut Rng) -> Op {
        let mut left = rng.below(self.weights.iter().sum());
        let mut kind = 0;
        while left >= self.weights[kind] {
            left -= self.weights[kind];
            kind += 1;
        }
        let namespace = rng.below(u64::from(NAMESPACES)) as u16;
        match kind {
            4 => Op::Do(Action::Clear(namespace)),
            5 => Op::Do(self.group(rng)),
            6 => Op::Scan(namespace, rng.pick(&[1, 3, 100])),
            7 => Op::Random(namespace),
            8 => Op::Flush,
            9 => Op::Complete(rng.range(1, 12) as u8),
            10 => Op::Pass(rng.pick(&[1, 20, 300, 1_500, 20_000, 400_000])),
            11 if rng.chance(1, 4) => Op::JumpBack(rng.pick(&[1, 2_000, 86_400_000])),
            11 => Op::JumpAhead(rng.pick(&[100, 45_000, 7_200_000, 30 * 86_400_000])),
            12 if rng.chance(1, 2) => Op::Check,
            12 => Op::Settle,
            13 => self.crash(rng),
            14 => Op::Reopen(Setup::draw(rng, self.segment_bytes)),
            15 => self.surroundings(rng),
            simple => Op::Do(self.simple(simple, rng)),
        }
    }

    fn simple(&self, kind: usize, rng: &mut Rng) -> Action {
        let key = rng.below(self.keys) as u8;
        match kind {
            1 => Action::Delete(key),
            2 => Action::Expire(key, rng.chance(9, 10).then(|| ttl_ms(rng))),
            3 => Action::Get(key),
            _ => {
                let max = u64::from(self.segment_bytes / 2);
                let bytes = match rng.below(20) {
                    0 => rng.below(max + 1),
                    1 => 0,
                    _ => rng.below(self.value_bytes.min(max) + 1),
                };
                let expires = rng.chance([0, 1, 3, 4][self.ttl as usize], 4);
                Action::Put(key, bytes as usize, expires.then(|| ttl_ms(rng)))
            }
        }
    }

    fn group(&self, rng: &mut Rng) -> Action {
        let count = rng.pick(&[1, 2, 3, 8]);
        let members = (0..count).map(|_| match rng.below(24) {
            0 => Action::Clear(rng.below(u64::from(NAMESPACES)) as u16),
            kind => self.simple([0, 0, 0, 1, 2][kind as usize % 5], rng),
        });
        Action::Group(members.collect())
    }

    fn crash(&self, rng: &mut Rng) -> Op {
        let depth = rng.pick(&[0, 0, 0, 1, 1, 2, 3]);
        Op::Crash {
            crash: if rng.chance(2, 3) { Crash::Power } else { Crash::Kill },
            after: rng.pick(&[0, 0, 1, 2, 3, 5, 9, 20]),
            cuts: (0..depth).map(|_| rng.below(40) as u8).collect(),
            setup: Setup::draw(rng, self.segment_bytes),
        }
    }

    fn surroundings(&self, rng: &mut Rng) -> Op {
        match rng.below(5) {
            0 => Op::SetAck(draw_ack(rng)),
            1 => Op::SetHot(rng.pick(&[0, 2_000, 4 << 20])),
            2 if self.profile != Profile::Calm => Op::DiskFull(true),
            3 if self.profile == Profile::Beyond => Op::Rot,
            _ => Op::DiskFull(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setup_is_a_valid_configuration() {
        for seed in 0..500 {
            let program = Program::draw(seed, Profile::InModel);
            let mut setups = vec![program.setup];
            for op in program.ops {
                match op {
                    Op::Crash { setup, .. } | Op::Reopen(setup) => setups.push(setup),
                    _ => {}
                }
            }
            for setup in setups {
                assert_eq!(setup.config(program.segment_bytes).validate(), Ok(()));
            }
        }
    }

    #[test]
    fn a_seed_draws_the_same_program_again() {
        let draw = || Program::draw(77, Profile::Beyond);
        assert_eq!(draw().ops, draw().ops);
        assert_ne!(draw().ops, Program::draw(78, Profile::Beyond).ops);
    }
}
