//! The deterministic world: the real engine on a simulated disk and clock, random programs, and a
//! reference model that judges every answer. Everything follows from a seed.
//!
//! ```text
//! seed -> program -> harness -> Shard (the real one) -> disk (image, faults, rng) -> trace
//!                       └─────> model: what the answers must be
//! ```
//! Owns: simulation; compiled only with the feature `sim`.
//! Never knows: sockets, threads, real time.
//! Invariant: nothing here runs in production, and nothing of it leaks into what does but the few
//! knobs of [`SimConfig`].

#![expect(clippy::cast_possible_truncation, reason = "sizes of small worlds, chosen below")]

pub mod buggify;
pub mod counts;
pub mod disk;
pub mod faults;
pub mod harness;
pub mod image;
pub mod ledger;
pub mod marks;
pub mod model;
pub mod program;
pub mod rng;
pub mod sabotage;
pub mod shrink;
pub mod trace;

/// What only a simulation may change of the engine.
#[derive(Clone, Debug, Default)]
pub struct SimConfig {
    /// Bytes of values kept in RAM, in place of a share of the memory budget of at least megabytes.
    pub hot_bytes: Option<usize>,
    /// Checkpoints are due by bytes appended alone, however large the index is.
    pub eager_checkpoints: bool,
}
