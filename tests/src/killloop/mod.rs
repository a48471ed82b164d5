//! The kill -9 loop: load from many connections, SIGKILL at a random moment, restart, and a checker that knows
//! every value that may stand there.
//!
//! Owns: the cycle. `model` knows what may be, `plan` what to do, `worker` does it, `judge` and `verify` compare.
//! Invariant: nothing is forgiven. A reply that nobody predicted ends the run, as a lost write does.

pub mod judge;
pub mod model;
pub mod plan;
pub mod report;
pub mod verify;
pub mod worker;

use crate::resp::Client;
use crate::server::{REPLY_LIMIT, Server, ServerCommand, free_port};
use anyhow::{Context, Result};
use fastrand::Rng;
use judge::{Look, Sin, Violation};
use model::{Millis, Writer};
use report::Report;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the server is started, without port and folder.
    pub command: ServerCommand,
    /// Data folder; must be empty or absent.
    pub folder: PathBuf,
    /// Seed of all choices except the scheduling of threads and of the kernel.
    pub seed: u64,
    /// SIGKILLs under load; the kills during recovery come on top.
    pub kills: u32,
    /// Connections, each with its own keys.
    pub connections: usize,
    /// Multiplies the keys of each connection (268 at scale 1).
    pub scale: usize,
    /// Longest time under load before a kill, in milliseconds.
    pub load_ms: u64,
    /// Whether one end in sixteen and the last are a SIGTERM, and one kill in six is followed by a kill during
    /// recovery.
    pub variety: bool,
    /// Whether half of the groups are one script each instead of MULTI and EXEC.
    pub scripts: bool,
}

/// What the threads of one cycle share.
pub struct Shared {
    /// The books of each connection.
    pub writers: Vec<Mutex<Writer>>,
    /// Set just before the server is brought down: from here on a broken connection is no sin.
    pub stop: AtomicBool,
    /// Whether the disk will fall ill. Then the server may refuse a write, and connections do not pipeline: nothing may
    /// follow what it refused, as the books know one order of all that a connection writes.
    pub may_fail: bool,
    /// Set before the disk falls ill: from here on the server may refuse, but not lie.
    pub ill: AtomicBool,
    /// See [`Options::scripts`].
    pub scripts: bool,
    violations: Mutex<Vec<Violation>>,
}

impl Shared {
    /// Fresh or settled books.
    pub fn new(writers: Vec<Writer>, scripts: bool) -> Self {
        Self {
            writers: writers.into_iter().map(Mutex::new).collect(),
            stop: AtomicBool::new(false),
            may_fail: false,
            ill: AtomicBool::new(false),
            scripts,
            violations: Mutex::new(Vec::new()),
        }
    }

    /// The broken promises filed so far.
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut lock(&self.violations))
    }

    /// Files a broken promise.
    pub fn report(&self, violation: Violation) {
        lock(&self.violations).push(violation);
    }
}

/// Locks; a panic in another thread is reported by that thread, not here.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wall clock in milliseconds, as servers use for expiry.
pub fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Millis::try_from(since.expect("the clock is past 1970").as_millis()).expect("fits for ages")
}

/// Runs the loop until the kills are done or a promise is broken.
///
/// # Errors
/// When the run itself fails: the server cannot be started, or does not come back. Broken promises are no error;
/// they are in the report.
pub fn run(options: &Options) -> Result<Report> {
    std::fs::create_dir_all(&options.folder)?;
    let writers = (0..options.connections).map(|id| Writer::new(plan::keys(id, options.scale)));
    let shared = Shared::new(writers.collect(), options.scripts);
    let mut rng = Rng::with_seed(options.seed);
    let mut report = Report::default();
    let mut server = Server::start(&options.command, &options.folder)?;
    while report.kills + report.stops < options.kills && report.violations.is_empty() {
        load(options, &shared, &server, &mut rng, &mut report)?;
        bring_down(options, &shared, server, &mut rng, &mut report)?;
        for writer in &shared.writers {
            lock(writer).crashed(now_ms());
        }
        report.violations.append(&mut shared.take_violations());
        if !report.violations.is_empty() {
            return Ok(report);
        }
        server = restart(options, &mut rng, &mut report).context("after a kill")?;
        verify_all(&shared, &server, &mut report)?;
    }
    if options.variety {
        // A last orderly end, so that a run always covers one.
        end_orderly(server, &mut report)?;
    }
    Ok(report)
}

/// Puts the server under load for a random time. Returns with the load still on: the caller brings the server down.
fn load(
    options: &Options,
    shared: &Shared,
    server: &Server,
    rng: &mut Rng,
    report: &mut Report,
) -> Result<()> {
    shared.stop.store(false, Ordering::SeqCst);
    let mut clients = Vec::new();
    for id in 0..options.connections {
        clients.push((id, server.client()?, rng.fork()));
    }
    // A longer time now and then lets keys expire while readers watch.
    let times = if rng.u32(..8) == 0 { 4 } else { 1 };
    let pause = Duration::from_millis(rng.u64(20..=options.load_ms.max(21)) * times);
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid())?).context("pid 0")?;
    let orderly = options.variety && rng.u32(..16) == 0;
    let signal =
        if orderly { rustix::process::Signal::TERM } else { rustix::process::Signal::KILL };
    std::thread::scope(|scope| {
        let workers: Vec<_> = clients
            .into_iter()
            .map(|(id, client, rng)| scope.spawn(move || worker::work(shared, id, client, rng)))
            .collect();
        std::thread::sleep(pause);
        shared.stop.store(true, Ordering::SeqCst);
        let killed = rustix::process::kill_process(pid, signal);
        for worker in workers {
            report.add(worker.join().unwrap_or_default());
        }
        killed
    })?;
    if orderly {
        report.stops += 1;
    } else {
        report.kills += 1;
    }
    report.last_was_orderly = orderly;
    Ok(())
}

/// Waits for the end of a server that [`load`] has signalled.
fn bring_down(
    options: &Options,
    shared: &Shared,
    mut server: Server,
    rng: &mut Rng,
    report: &mut Report,
) -> Result<()> {
    let status = server.wait_end(Duration::from_secs(60))?;
    if report.last_was_orderly && !status.success() {
        let text = format!("SIGTERM ended with {status}\n{}", server.log_tail());
        shared.report(Violation::new(Sin::Died, text));
    }
    drop(server);
    while options.variety && rng.u32(..6) == 0 {
        let begun = Server::spawn(&options.command, &options.folder, free_port()?)?;
        std::thread::sleep(Duration::from_millis(rng.u64(..=report.restart_ms_max().max(10))));
        begun.kill()?;
        report.recovery_kills += 1;
    }
    Ok(())
}

fn restart(options: &Options, rng: &mut Rng, report: &mut Report) -> Result<Server> {
    // A short wait now and then lets keys expire while nobody is there to see it.
    if rng.u32(..4) == 0 {
        std::thread::sleep(Duration::from_millis(rng.u64(..1500)));
    }
    let begin = Instant::now();
    let server = Server::start(&options.command, &options.folder)?;
    report.restarts_ms.push(u64::try_from(begin.elapsed().as_millis())?);
    Ok(server)
}

/// Looks at everything and settles the books.
fn verify_all(shared: &Shared, server: &Server, report: &mut Report) -> Result<()> {
    let mut client = Client::connect(server.address(), REPLY_LIMIT)?;
    let mut looks: Vec<Vec<Look>> = Vec::new();
    for writer in &shared.writers {
        looks.push(verify::look_at_all(&mut client, &lock(writer))?);
    }
    for (writer, looks) in shared.writers.iter().zip(&looks) {
        let mut writer = lock(writer);
        report.keys_verified += looks.len() as u64;
        match verify::settle(&mut writer, looks) {
            Ok(kept) => report.in_flight_kept += kept,
            Err(mut violations) => report.violations.append(&mut violations),
        }
    }
    let guards: Vec<_> = shared.writers.iter().map(lock).collect();
    let pairs: Vec<(&Writer, &[Look])> =
        guards.iter().zip(&looks).map(|(writer, looks)| (&**writer, &looks[..])).collect();
    report.violations.append(&mut verify::scan_agrees(&mut client, &pairs)?);
    if !report.violations.is_empty() {
        report.log_tail = server.log_tail();
    }
    Ok(())
}

fn end_orderly(server: Server, report: &mut Report) -> Result<()> {
    let status = server.terminate()?;
    if !status.success() {
        let text = format!("SIGTERM ended with {status}");
        report.violations.push(Violation::new(Sin::Died, text));
    }
    Ok(())
}
