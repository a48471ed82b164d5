//! Emberlog beside another server that speaks the Redis protocol, in one run: throughput, latency, and
//! the server's CPU time per operation, user and system apart.
//!
//! ```text
//! cargo run --release -p emberlog-benches -- peers --peer valkey-server
//! ```
//! The server runs on core 0, the load on core 1. Both sides get the same work: 1 KiB values, all
//! different, 90 % GET, 50 connections, without pipelining and with 16 requests at a time, in three
//! rows of equal promises. Rounds alternate between the sides, because shared machines are noisy.

mod load;
mod report;
mod side;

use anyhow::{Context, Result};
use load::Load;
use report::Row;
use side::{Promise, Server};

/// Measures Emberlog beside a peer.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Emberlog's binary.
    #[arg(long, default_value = "target/release/emberlog")]
    emberlog: String,
    /// The peer's server binary: valkey-server or redis-server.
    #[arg(long, default_value = "redis-server")]
    peer: String,
    /// Seconds of load for each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds; the median by CPU time per operation is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Keys, each with a value of 1 KiB.
    #[arg(long, default_value_t = 50_000)]
    keys: u64,
    /// Where the report goes.
    #[arg(long, default_value = "benches/RESULTS.md")]
    output: String,
}

/// Measures both sides and writes the report.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    side::pin_to_core(1)?;
    let mut rows = Vec::new();
    for promise in [Promise::EveryWrite, Promise::EverySecond, Promise::Nothing] {
        for pipeline in [1, 16] {
            let mut sides = [Vec::new(), Vec::new()];
            for round in 0..arguments.rounds {
                for (side, runs) in sides.iter_mut().enumerate() {
                    let binary = if side == 0 { &arguments.emberlog } else { &arguments.peer };
                    let server = Server::start(binary, side == 0, promise)
                        .with_context(|| format!("starting {binary}"))?;
                    let mut load = Load::connect(server.port, arguments.connections)?;
                    load.fill(arguments.keys)?;
                    let before = server.cpu()?;
                    let outcome = load.run(arguments.keys, pipeline, arguments.seconds)?;
                    let cpu = server.cpu()?.since(before);
                    eprintln!(
                        "{} P={pipeline} round {round}: {} {:.0} op/s",
                        promise.name(),
                        server.name,
                        outcome.per_second()
                    );
                    runs.push(Row::new(&server, promise, pipeline, &outcome, cpu));
                }
            }
            rows.extend(sides.into_iter().map(report::median));
        }
    }
    report::write(&arguments.output, &rows, cores, (arguments.connections, arguments.keys))
}
