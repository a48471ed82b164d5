//! Every limit and choice of the engine, with its unit, and the relations between them.
//!
//! Owns: [`Config`], [`Ack`].
//! Never knows: where the values come from (flags, TOML, tests).

use crate::format::chunked::CHUNK_BYTES_MIN;
use crate::units::Location;

/// When a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ack {
    /// Once its batch is on stable storage. Loss at a power cut: nothing.
    #[default]
    Durable,
    /// Once appended; batches go to stable storage at least every `ms`. Loss: that interval.
    Interval {
        /// Longest time between two durable batches, in milliseconds.
        ms: u32,
    },
    /// Once appended; batches are written when full or after 100 ms. Loss: about that.
    Memory,
}

/// Whether and how values are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// Whether new values are compressed. What is compressed already stays so, and is read.
    pub enabled: bool,
    /// The longest that a dictionary may be, in bytes, from 256 to 64 KiB.
    pub dictionary_bytes: usize,
    /// Samples that a dictionary is trained on, at most.
    pub samples_max: usize,
    /// Bytes of samples that a dictionary is trained on, at most.
    pub sample_bytes_max: usize,
    /// Bytes of values after which a better dictionary is looked for.
    pub retrain_bytes: u64,
}

impl Default for Compression {
    fn default() -> Compression {
        Compression {
            enabled: true,
            dictionary_bytes: 16 << 10,
            samples_max: 4096,
            sample_bytes_max: 2 << 20,
            retrain_bytes: 64 << 20,
        }
    }
}

/// Limits and choices of one shard.
#[derive(Clone, Debug)]
pub struct Config {
    /// Size of a segment file; a power of two of at least 16 KiB. Fixed when a store is created: an
    /// existing store keeps its own.
    pub segment_bytes: u32,
    /// Most bytes that segment files may take together; at least [`Config::SEGMENTS_MIN`] segments.
    pub disk_bytes_max: u64,
    /// Most bytes of RAM: index, hot set, buffers and the rest of the process.
    pub memory_bytes_max: u64,
    /// Acknowledgement level.
    pub ack: Ack,
    /// A batch is closed when it has reached this many bytes; larger records get a batch of
    /// their own.
    pub batch_bytes_max: usize,
    /// Length of the chunks of new large values, in bytes; a power of two from 64 bytes to 16 MiB.
    /// At most a quarter of a segment is used of it.
    pub chunk_bytes: u32,
    /// Most bytes of closed batches waiting for the disk before writers have to wait.
    pub pending_bytes_max: usize,
    /// A checkpoint is taken when this many bytes have been appended since the last one.
    pub checkpoint_bytes: u64,
    /// Segments kept prewritten ahead of need, while the disk limit allows.
    pub segments_ahead: usize,
    /// Seed of the keyed hash for a *new* store; an existing store keeps its own.
    pub hash_seed: [u8; 16],
    /// Drawn afresh for each opening, so that what two openings number by the same clock differs.
    pub lot: u16,
    /// Compression of values.
    pub compression: Compression,
    /// Start even when both checkpoints are unusable and tombstones may have been dropped, so that
    /// deleted keys may come back.
    pub rebuild_may_resurrect: bool,
    /// What only simulations change.
    #[cfg(feature = "sim")]
    pub sim: crate::sim::SimConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            segment_bytes: 32 << 20,
            disk_bytes_max: 8 << 30,
            memory_bytes_max: 1 << 30,
            ack: Ack::Durable,
            batch_bytes_max: 256 << 10,
            chunk_bytes: 256 << 10,
            pending_bytes_max: 32 << 20,
            checkpoint_bytes: 512 << 20,
            segments_ahead: 3,
            hash_seed: [0; 16],
            lot: 0,
            compression: Compression::default(),
            rebuild_may_resurrect: false,
            #[cfg(feature = "sim")]
            sim: crate::sim::SimConfig::default(),
        }
    }
}

/// A configuration that cannot work, naming the key, the value and the fix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Config {
    /// Fewest segments a store can work with: the open ones of every stream, a reserve for
    /// deletes and compaction, and some to compact.
    pub const SEGMENTS_MIN: u64 = 16;

    /// Checks every value and the relations between them.
    ///
    /// # Errors
    /// The first value that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |key, problem: String| Err(ConfigError { key, problem });
        if !self.segment_bytes.is_power_of_two()
            || !(16 << 10..=64 << 20).contains(&self.segment_bytes)
        {
            return fail(
                "segment_bytes",
                format!("{} is not a power of two from 16 KiB to 64 MiB", self.segment_bytes),
            );
        }
        let segment = u64::from(self.segment_bytes);
        if self.disk_bytes_max < Self::SEGMENTS_MIN * segment {
            return fail(
                "disk_bytes_max",
                format!(
                    "{} bytes is below the least, {} segments of {segment} bytes",
                    self.disk_bytes_max,
                    Self::SEGMENTS_MIN
                ),
            );
        }
        if self.disk_bytes_max > 16 << Location::BITS {
            return fail("disk_bytes_max", "a shard addresses at most 1 TiB".to_owned());
        }
        if self.batch_bytes_max < 4096 || self.batch_bytes_max > self.segment_bytes as usize / 2 {
            return fail("batch_bytes_max", "must be from 4096 bytes to half a segment".to_owned());
        }
        if !self.chunk_bytes.is_power_of_two()
            || !(CHUNK_BYTES_MIN..=16 << 20).contains(&self.chunk_bytes)
        {
            return fail(
                "chunk_bytes",
                "must be a power of two from 64 bytes to 16 MiB".to_owned(),
            );
        }
        if !(256..=64 << 10).contains(&self.compression.dictionary_bytes) {
            return fail("compression", "a dictionary has from 256 bytes to 64 KiB".to_owned());
        }
        if let Ack::Interval { ms } = self.ack
            && !(1..=10_000).contains(&ms)
        {
            return fail("ack", format!("interval of {ms} ms is not within 1 to 10000"));
        }
        Ok(())
    }
}
