//! One world: a server on the mount, from its first recovery to its end, and the moments at which it is copied.
//!
//! Owns: the choice of moments. Must never know: what an image may lack.

use super::Options;
use super::check::{Case, Place};
use super::device::Mounted;
use super::hub::{Hub, Moment};
use super::illness::Illness;
use super::image::{Draw, Tree, Under};
use super::report::Report;
use super::volume::{Folder, Ino, Node, ROOT};
use crate::killloop::judge::{Sin, Violation};
use crate::killloop::model::Writer;
use crate::killloop::{Shared, lock, now_ms, worker};
use crate::resp::{Client, Reply};
use crate::server::{REPLY_LIMIT, Server, ServerCommand, free_port};
use anyhow::{Context, Result};
use fastrand::Rng;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Recoveries that are cut off one after the other.
const DEPTH: u32 = 3;
/// Moments under load per world.
const MOMENTS: u32 = 6;
/// The last writes of an orderly end are about so many arrivals and answers.
const STOP_EVENTS: u64 = 60;
/// How slow the disk of a world may be, in microseconds: from one that answers at once to one whose writes pile up.
const PACES_US: [u64; 5] = [0, 100, 400, 2000, 10_000];
/// The name of the world's folder in the mount.
const WORLD: &str = "world";

/// What a world begins with.
pub(super) struct Begin {
    /// The files; nothing but what the store lies on, for a new store.
    pub(super) tree: Option<Tree>,
    /// What must be in them.
    pub(super) writers: Vec<Writer>,
    /// Whether there is no store yet.
    pub(super) new: bool,
}

/// A server and the file system that its store is in.
struct Running {
    server: Server,
    /// Unmounted when the server has ended.
    _mounted: Option<Mounted>,
}

/// Where worlds are played.
pub(super) struct Stage {
    hub: Arc<Hub>,
    /// The world's folder in the mount.
    world: PathBuf,
    /// Where the file system on the volume is mounted, if there is one.
    point: PathBuf,
    under: Under,
    /// Whether disks fall ill.
    ill: bool,
    log: PathBuf,
    /// Events of the last recovery that went through.
    recovery_events: u64,
}

impl Stage {
    /// In the mount at `point`.
    pub(super) fn new(hub: Arc<Hub>, point: &Path, options: &Options) -> Self {
        Self {
            hub,
            world: point.join(WORLD),
            point: options.folder.join("device"),
            under: options.under,
            ill: options.ill,
            log: options.folder.join("server.log"),
            recovery_events: 30,
        }
    }

    /// Plays one world and returns its moments.
    pub(super) fn play(
        &mut self,
        command: &ServerCommand,
        begin: Begin,
        rng: &mut Rng,
        report: &mut Report,
    ) -> Result<Vec<Case>> {
        let Begin { mut tree, writers, new } = begin;
        let mut cases = Vec::new();
        let mut root = self.set_up(tree.as_ref());
        self.hub.set_pace(Duration::from_micros(PACES_US[rng.usize(..PACES_US.len())]));
        for depth in 1..=DEPTH {
            if rng.u32(..100) >= 60 {
                break;
            }
            let place = if new { Place::Creation } else { Place::Recovery(depth) };
            let case = self.cut_recovery(command, root, &writers, place, rng)?;
            tree = Some(Draw::new(&case.volume, root, rng, self.under).tree(root));
            cases.push(case);
            root = self.set_up(tree.as_ref());
        }
        if self.ill && !new {
            // Recovery repeats a read that fails, more often than this.
            self.hub.fall_ill(Illness::Reads, rng.u32(1..=4));
        }
        let before = self.hub.events();
        let mut running = self.begin(command)?;
        running.server.wait_ready()?;
        self.hub.recover();
        self.recovery_events = (self.hub.events() - before).max(10);
        note_driver(&running.server, report)?;
        // A script that is refused in its middle leaves what it has done, as on Redis.
        let mut shared = Shared::new(writers, !self.ill);
        shared.may_fail = self.ill;
        if self.ill && new {
            // Only a store that still grows asks for space.
            self.fall_ill(&shared, Illness::Full, rng);
        }
        self.load(running, root, &shared, rng, report, &mut cases)?;
        report.violations.append(&mut shared.take_violations());
        Ok(cases)
    }

    /// Empties the volume, puts the beginning there, and returns the world's folder.
    fn set_up(&self, tree: Option<&Tree>) -> Ino {
        self.hub.with_volume(|volume| {
            volume.clear();
            let ino = match tree {
                Some(tree) => tree.add_to(volume),
                None => volume.add(Node::Folder(Folder::default())),
            };
            volume.place(ROOT, OsStr::new(WORLD), ino);
            ino
        })
    }

    fn begin(&self, command: &ServerCommand) -> Result<Running> {
        let mounted = Mounted::new(self.under, &self.world, &self.point)?;
        let home = if mounted.is_some() { &self.point } else { &self.world };
        let store = home.join("data");
        let server = Server::spawn_logging(command, &store, free_port()?, &self.log)?;
        Ok(Running { server, _mounted: mounted })
    }

    /// Starts a server, and copies the volume at some moment of its recovery.
    fn cut_recovery(
        &self,
        command: &ServerCommand,
        root: Ino,
        writers: &[Writer],
        place: Place,
        rng: &mut Rng,
    ) -> Result<Case> {
        self.hub.arm(Moment::Event(rng.u64(1..=self.recovery_events)));
        let volume = std::thread::scope(|scope| {
            // On a thread of its own: mounting stands still with the world.
            let mut starting = Some(scope.spawn(|| self.begin(command)));
            let mut started: Option<Result<Running>> = None;
            let begin = Instant::now();
            while !self.hub.wait_frozen(Duration::from_millis(10)) {
                if let Some(thread) = starting.take_if(|thread| thread.is_finished()) {
                    started = thread.join().ok();
                }
                // A recovery that was shorter than expected: then the moment is just after it.
                let over = match &mut started {
                    Some(Ok(it)) => is_ready(&it.server) || !it.server.is_running(),
                    Some(Err(_)) => true,
                    None => false,
                };
                if over || begin.elapsed() > REPLY_LIMIT {
                    break;
                }
            }
            let volume = Arc::new(self.hub.copy());
            self.hub.release();
            if let Some(thread) = starting {
                started = thread.join().ok();
            }
            let Running { server, _mounted } = started.context("the start panicked")??;
            server.kill()?;
            anyhow::Ok(volume)
        })?;
        Ok(Case { volume, root, writers: writers.to_vec(), place, under: self.under })
    }

    /// Load from all connections until the server is killed, and moments meanwhile.
    fn load(
        &self,
        mut running: Running,
        root: Ino,
        shared: &Shared,
        rng: &mut Rng,
        report: &mut Report,
        cases: &mut Vec<Case>,
    ) -> Result<()> {
        // One illness for sure, each kind first in every fourth world, and then perhaps others.
        let ill_at = rng.u32(..MOMENTS - 1);
        let mut illnesses = Illness::ALL.into_iter().cycle().skip(report.worlds as usize % 4);
        let mut clients = Vec::new();
        for id in 0..shared.writers.len() {
            clients.push((id, running.server.client()?, rng.fork()));
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(running.server.pid())?)
            .context("pid 0")?;
        let orderly = rng.u32(..4) == 0;
        let signal =
            if orderly { rustix::process::Signal::TERM } else { rustix::process::Signal::KILL };
        std::thread::scope(|scope| {
            let workers: Vec<_> = clients
                .into_iter()
                .map(|(id, client, rng)| scope.spawn(move || worker::work(shared, id, client, rng)))
                .collect();
            for moment in 0..MOMENTS {
                let falls_ill = moment == ill_at || moment > ill_at && rng.u32(..3) == 0;
                if shared.may_fail && falls_ill {
                    self.fall_ill(shared, illnesses.next().unwrap_or(Illness::Full), rng);
                }
                std::thread::sleep(Duration::from_millis(rng.u64(..150)));
                let count = rng.u64(1..=200);
                let rare = rng.u32(..3) == 0;
                self.hub.arm(if rare { Moment::Rare(count % 8 + 1) } else { Moment::Event(count) });
                cases.push(self.wait_moment(root, shared, Place::Load));
            }
            let noted = note_work(&running.server, report);
            if !running.server.is_running() {
                let text = "the server ended by itself".to_owned();
                shared.report(Violation::new(Sin::Died, text));
            }
            self.hub.arm(Moment::Event(rng.u64(1..=STOP_EVENTS)));
            shared.stop.store(true, Ordering::SeqCst);
            let killed = rustix::process::kill_process(pid, signal);
            if orderly {
                cases.push(self.wait_moment(root, shared, Place::Stop));
            }
            self.hub.release();
            for worker in workers {
                report.add_load(worker.join().unwrap_or_default());
            }
            killed?;
            noted
        })?;
        running.server.wait_end(Duration::from_secs(60))?;
        self.hub.recover();
        cases.push(self.moment(root, shared, Place::End));
        Ok(())
    }

    /// Lets the disk fail some requests from now on, of which the books must know.
    fn fall_ill(&self, shared: &Shared, illness: Illness, rng: &mut Rng) {
        shared.ill.store(true, Ordering::SeqCst);
        shared.writers.iter().for_each(|writer| lock(writer).ends_are_final = false);
        self.hub.fall_ill(illness, 1 << rng.u32(..6));
    }

    /// Waits until the world stands still, or not much longer, copies it, and lets it go on.
    fn wait_moment(&self, root: Ino, shared: &Shared, place: Place) -> Case {
        self.hub.wait_frozen(Duration::from_millis(300));
        let case = self.moment(root, shared, place);
        self.hub.release();
        case
    }

    /// Copies the books, and the volume as it is while nobody can write into them.
    fn moment(&self, root: Ino, shared: &Shared, place: Place) -> Case {
        let guards: Vec<_> = shared.writers.iter().map(lock).collect();
        let volume = Arc::new(self.hub.copy());
        let mut writers: Vec<Writer> = guards.iter().map(|writer| (**writer).clone()).collect();
        drop(guards);
        for writer in &mut writers {
            writer.crashed(now_ms());
        }
        Case { volume, root, writers, place, under: self.under }
    }
}

fn is_ready(server: &Server) -> bool {
    let limit = Duration::from_millis(100);
    let asked = Client::connect(server.address(), limit).and_then(|mut it| it.words("PING"));
    matches!(asked, Ok(Reply::Simple(_)))
}

/// A value of INFO.
fn info(server: &Server, section: &str, name: &str) -> Result<Option<String>> {
    let Reply::Bulk(text) = server.client()?.words(&format!("INFO {section}"))? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.map(str::to_owned))
}

fn note_driver(server: &Server, report: &mut Report) -> Result<()> {
    let driver = info(server, "server", "io_driver")?.unwrap_or_default();
    *report.drivers.entry(driver).or_default() += 1;
    Ok(())
}

/// What the engine did besides taking writes, which is what a short world might never come to.
fn note_work(server: &Server, report: &mut Report) -> Result<()> {
    for (name, total) in [
        ("compactions", &mut report.compactions),
        ("checkpoints", &mut report.checkpoints),
        ("device_reads", &mut report.device_reads),
    ] {
        *total += info(server, "ember", name)?.unwrap_or_default().parse::<u64>().unwrap_or(0);
    }
    Ok(())
}
