//! Runs simulated worlds: `simulate --seeds 1000`, or one of them again: `simulate --seed 42`.
//!
//! Prints what happened how often; for a failure, the seed, the shortest program that fails like
//! it, and the command that replays it. Exits with 1 if any world failed.

use std::cell::RefCell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use emberlog_engine::driver::monotonic_us;
use emberlog_engine::sim::counts::Counts;
use emberlog_engine::sim::faults::Profile;
use emberlog_engine::sim::harness::{Outcome, run};
use emberlog_engine::sim::marks;
use emberlog_engine::sim::program::Program;
use emberlog_engine::sim::sabotage::{Sabotage, found_by};
use emberlog_engine::sim::shrink::shrink;

/// Programs run at most to shorten a failing one.
const SHRINK_BUDGET: u32 = 1_000;
/// Seeds from which on a run must have passed every mark.
const NIGHTLY_SEEDS: u64 = 10_000;

/// Deterministic simulation of the storage engine.
#[derive(Parser)]
#[command(version)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
struct Arguments {
    /// Run just this seed, twice, and compare the traces.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them. A run that was interrupted goes on from where its progress line stood.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Start from a seed that the time of day chooses; it is printed.
    #[arg(long)]
    fresh: bool,
    /// Threads that run seeds.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Which faults strike: calm, in-model or beyond.
    #[arg(long, default_value = "in-model")]
    profile: String,
    /// Do not shorten failing programs.
    #[arg(long)]
    no_shrink: bool,
    /// Plant every known bug in turn, and say which seed finds it.
    #[arg(long)]
    planted: bool,
    /// Plant only the bug of this name.
    #[arg(long)]
    bug: Option<String>,
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
fn find_planted(bug: Option<&str>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let wanted = |sabotage: &Sabotage| bug.is_none_or(|bug| format!("{sabotage:?}") == bug);
    for sabotage in Sabotage::ALL.into_iter().filter(wanted) {
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

fn print_counts(counts: &Counts, elapsed: Duration) {
    for (name, count) in counts.named() {
        println!("{name:>18} {count}");
    }
    for (name, count) in counts.faults_named() {
        println!("{:>18} {count}", format!("fault {name}"));
    }
    let hours = counts.simulated_ms as f64 / 3_600_000.0;
    let real = elapsed.as_secs_f64().max(0.001);
    println!(
        "{hours:.1} simulated hours in {real:.1} s: {:.0} times real time, {:.0} seeds/s",
        hours * 3600.0 / real,
        counts.seeds as f64 / real
    );
}

/// What all threads of a run share.
struct Run {
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    failed: AtomicU64,
    total: Mutex<Counts>,
}

/// Runs seeds until none is left or enough have failed.
fn work(run: &Run, arguments: &Arguments, profile: Profile) {
    while run.failed.load(Ordering::Relaxed) < arguments.failures {
        let seed = run.next.fetch_add(1, Ordering::Relaxed);
        if seed >= run.end {
            return;
        }
        let program = Program::draw(seed, profile);
        match attempt_seed(&program, arguments.seed.is_some()) {
            Ok(outcome) => {
                if let Ok(mut total) = run.total.lock() {
                    total.add(&outcome.counts);
                }
                if arguments.seed.is_some() {
                    println!("trace {:016x}", outcome.trace);
                }
            }
            Err(message) => {
                report(&program, &message, !arguments.no_shrink);
                run.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        run.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says how far the run is, every few seconds.
fn show_progress(run: &Run, start: u64, busy: impl Fn() -> bool) {
    let begun = monotonic_us();
    let mut shown = 0;
    while busy() {
        std::thread::sleep(Duration::from_millis(20));
        let tens = (monotonic_us() - begun) / 10_000_000;
        if tens > shown {
            shown = tens;
            let (done, failed) =
                (run.done.load(Ordering::Relaxed), run.failed.load(Ordering::Relaxed));
            let (of, near) = (run.end - start, start + done);
            eprintln!("{done} of {of} seeds, near seed {near}, {failed} failed");
            let _ = std::io::stderr().flush();
        }
    }
}

/// The first seed and how many.
fn range(arguments: &Arguments) -> (u64, u64) {
    if let Some(seed) = arguments.seed {
        return (seed, 1);
    }
    if arguments.fresh {
        let now = std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_secs());
        println!("fresh seeds from {}", now << 20);
        return (now << 20, arguments.seeds);
    }
    (arguments.start, arguments.seeds)
}

/// What a run came to.
fn conclude(total: &Counts, failures: u64, profile: Profile) -> ExitCode {
    let missing = marks::missing(total.marks, profile == Profile::Beyond);
    if !missing.is_empty() {
        println!("marks never passed: {}", missing.join(" "));
    }
    if failures > 0 {
        println!("{failures} failed");
        return ExitCode::FAILURE;
    }
    if total.seeds >= NIGHTLY_SEEDS && profile != Profile::Calm && !missing.is_empty() {
        println!("a run of this size must pass every mark");
        return ExitCode::FAILURE;
    }
    println!("all clean: {} seeds of profile {}", total.seeds, profile.name());
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(profile) = Profile::named(&arguments.profile) else {
        eprintln!("--profile {}: use calm, in-model or beyond", arguments.profile);
        return ExitCode::from(2);
    };
    if arguments.log {
        tracing_subscriber::fmt()
            .without_time()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .init();
    }
    std::panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
    if arguments.planted || arguments.bug.is_some() {
        return find_planted(arguments.bug.as_deref());
    }
    let (start, seeds) = range(&arguments);
    let run = Run {
        next: AtomicU64::new(start),
        end: start.saturating_add(seeds),
        done: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        total: Mutex::new(Counts::default()),
    };
    let begun = monotonic_us();
    std::thread::scope(|scope| {
        let jobs = arguments.jobs.clamp(1, 64);
        let workers: Vec<_> =
            (0..jobs).map(|_| scope.spawn(|| work(&run, &arguments, profile))).collect();
        show_progress(&run, start, || workers.iter().any(|worker| !worker.is_finished()));
    });
    let total = run.total.lock().map_or_else(|poisoned| *poisoned.into_inner(), |total| *total);
    print_counts(&total, Duration::from_micros(monotonic_us() - begun));
    conclude(&total, run.failed.load(Ordering::Relaxed), profile)
}
