//! Runs simulated worlds: `simulate --seeds 1000`, or one of them again: `simulate --seed 42`.
//!
//! Prints what happened how often; for a failure, the seed, the shortest program that fails like
//! it, and the command that replays it. Exits with 1 if any world failed.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use emberlog_engine::sim::counts::Counts;
use emberlog_engine::sim::faults::Profile;
use emberlog_engine::sim::harness::{Outcome, run};
use emberlog_engine::sim::program::Program;
use emberlog_engine::sim::sabotage::{Sabotage, found_by};
use emberlog_engine::sim::shrink::shrink;

/// Programs run at most to shorten a failing one.
const SHRINK_BUDGET: u32 = 1_000;

/// Deterministic simulation of the storage engine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Run just this seed, twice, and compare the traces.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Which faults strike: calm, in-model or beyond.
    #[arg(long, default_value = "in-model")]
    profile: String,
    /// Do not shorten failing programs.
    #[arg(long)]
    no_shrink: bool,
    /// Plant every known bug in turn, and say which seed finds it.
    #[arg(long)]
    planted: bool,
    /// Print what the engine logs. The shortest failing program is run last.
    #[arg(long)]
    log: bool,
    /// Go on after this many failures less one.
    #[arg(long, default_value_t = 1)]
    failures: u64,
}

thread_local! {
    /// Where the last panic happened.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a program; a panic of the engine is a failure like any other.
fn attempt(program: &Program) -> Result<Outcome, String> {
    match catch_unwind(AssertUnwindSafe(|| run(program))) {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(failure)) => Err(format!("at operation {}: {}", failure.at, failure.message)),
        Err(_) => Err(PANIC.with_borrow(Clone::clone)),
    }
}

/// The first words of a message, without its numbers: what makes two failures alike.
fn kind_of(message: &str) -> String {
    let text =
        message.split_once(": ").filter(|_| message.starts_with("at ")).map_or(message, |m| m.1);
    text.chars().filter(|c| !c.is_ascii_digit()).take(50).collect()
}

fn report(program: &Program, message: &str, shorten: bool) {
    let (seed, profile) = (program.seed, program.profile.name());
    println!("FAILED seed {seed} profile {profile} version {}", env!("CARGO_PKG_VERSION"));
    println!("{message}");
    println!(
        "replay: cargo run --release -p emberlog-tools --bin simulate -- --seed {seed} \
         --profile {profile}"
    );
    if !shorten {
        return;
    }
    let kind = kind_of(message);
    let same = |message: String| kind_of(&message) == kind;
    let short = shrink(program, SHRINK_BUDGET, |candidate| attempt(candidate).is_err_and(same));
    println!(
        "shortest program found: segments of {} bytes, blocks of {}, {:?}",
        short.segment_bytes, short.block_bytes, short.setup
    );
    for (at, op) in short.ops.iter().enumerate() {
        println!("  {at:3} {op:?}");
    }
    if let Err(message) = attempt(&short) {
        println!("{message}");
    }
}

/// Looks for every planted bug; fails if one is not found in time.
fn find_planted() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for sabotage in Sabotage::ALL {
        let limit = sabotage.seeds_max();
        if let Some(seed) = found_by(sabotage, Profile::Calm, limit) {
            println!("{sabotage:?}: found by seed {seed}");
        } else {
            println!("{sabotage:?}: NOT FOUND within {limit} seeds");
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Runs a program; with `twice`, once more, and compares the traces.
fn attempt_seed(program: &Program, twice: bool) -> Result<Outcome, String> {
    let outcome = attempt(program)?;
    if twice && attempt(program)?.trace != outcome.trace {
        return Err("the same seed gave two traces".to_owned());
    }
    Ok(outcome)
}

fn print_counts(counts: &Counts) {
    for (name, count) in counts.named() {
        println!("{name:>18} {count}");
    }
    for (name, count) in counts.faults_named() {
        println!("{:>18} {count}", format!("fault {name}"));
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(profile) = Profile::named(&arguments.profile) else {
        eprintln!("--profile {}: use calm, in-model or beyond", arguments.profile);
        return ExitCode::from(2);
    };
    if arguments.log {
        tracing_subscriber::fmt().without_time().init();
    }
    std::panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
    if arguments.planted {
        return find_planted();
    }
    let (start, seeds) =
        arguments.seed.map_or((arguments.start, arguments.seeds), |seed| (seed, 1));
    let mut total = Counts::default();
    let mut failures = 0;
    for seed in start..start.saturating_add(seeds) {
        let program = Program::draw(seed, profile);
        let outcome = attempt_seed(&program, arguments.seed.is_some());
        match outcome {
            Ok(outcome) => {
                total.add(&outcome.counts);
                if arguments.seed.is_some() {
                    println!("trace {:016x}", outcome.trace);
                }
            }
            Err(message) => {
                report(&program, &message, !arguments.no_shrink);
                failures += 1;
                if failures >= arguments.failures {
                    break;
                }
            }
        }
    }
    print_counts(&total);
    if failures > 0 {
        println!("{failures} failed");
        return ExitCode::FAILURE;
    }
    println!("all clean");
    ExitCode::SUCCESS
}
