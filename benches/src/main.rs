//! Benchmarks: what Emberlog costs, beside a peer and against its own bars.
//!
//! `cargo run --release -p emberlog-benches -- <economics|peers|disk|index>`; `--help` explains each.

mod disk;
mod economics;
mod index;
mod peers;
mod region;

use clap::{Parser, Subcommand};

/// Benchmarks of Emberlog.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// RAM, space, time to live and restart against their bars; fills in benches/RESULTS.md.
    Economics(economics::Arguments),
    /// Throughput, latency and CPU time beside another server that speaks the Redis protocol.
    Peers(peers::Arguments),
    /// What the disk drivers cost and what the disk under them does.
    Disk(disk::Arguments),
    /// RAM per entry, time per operation and longest pause of the index.
    Index(index::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Economics(arguments) => economics::run(&arguments),
        What::Peers(arguments) => peers::run(&arguments),
        What::Disk(arguments) => disk::run(&arguments).map_err(|error| anyhow::anyhow!("{error}")),
        What::Index(arguments) => {
            index::run(&arguments);
            Ok(())
        }
    }
}
