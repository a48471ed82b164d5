//! The power-cut test: a real server on a file system that logs every write and every sync, and checks of what a power
//! cut at any moment may leave of its files.
//!
//! Owns: the run: worlds, moments, images, the report. The kill loop's model and checker say what must be there.
//! Must never know: the store's format.
//!
//! ```text
//! server on the mount, under load ---> moment: books and volume are copied while the world stands still
//!        ^                                                   | several draws each
//!        |                                                   v
//!        +------- one of them is the next world ------- images, each opened by a real server and judged
//! ```
//! Invariant: books and volume of a moment belong together: what a client had been told by then must be in each of its
//! images.

mod attributes;
pub mod check;
mod device;
pub mod hub;
pub mod illness;
pub mod image;
pub mod mount;
pub mod pages;
pub mod report;
mod served;
#[cfg(test)]
mod tests;
pub mod volume;
mod world;

use crate::killloop::model::Writer;
use crate::killloop::plan;
use crate::server::ServerCommand;
use anyhow::{Context, Result};
use check::{Case, Verdict};
use fastrand::Rng;
use hub::Hub;
use image::{Tree, Under};
use mount::Mount;
use report::Report;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use volume::Lie;
use world::{Begin, Stage};

/// A torn write keeps or loses whole units of this many bytes.
pub const SECTOR_BYTES: usize = 512;

/// Images kept after a failure.
const KEPT: usize = 4;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the servers are started, without port and folder; the worlds take turns.
    pub commands: Vec<ServerCommand>,
    /// Seed of all choices except the scheduling of threads and of the kernel.
    pub seed: u64,
    /// So many images are opened and judged, or a few more.
    pub images: u64,
    /// Connections, each with its own keys.
    pub connections: usize,
    /// Servers that judge at a time.
    pub jobs: usize,
    /// What the file system pretends.
    pub lie: Lie,
    /// Whether the disk falls ill in some of the worlds.
    pub ill: bool,
    /// What lies on the volume.
    pub under: Under,
    /// Whether every operation that arrives is printed.
    pub trace: bool,
    /// An existing folder for the mount point and the images; memory is best.
    pub folder: PathBuf,
}

/// Runs until enough images are judged or a promise is broken.
///
/// # Errors
/// When the run itself fails, for example because nothing can be mounted here. Broken promises are no error; they are
/// in the report.
pub fn run(options: &Options) -> Result<Report> {
    let mut rng = Rng::with_seed(options.seed);
    let point = options.folder.join("mount");
    std::fs::create_dir_all(&point)?;
    let hub = Hub::new(rng.u64(..), options.lie);
    let _mount = Mount::new(hub.clone(), &point)?;
    if options.trace {
        hub.trace();
    }
    let mut stage = Stage::new(hub.clone(), &point, options);
    let mut report = Report::default();
    let empty = device::template(options.under, &options.folder)?;
    let fresh = || {
        let writers = (0..options.connections).map(|id| Writer::new(plan::keys(id, 1)));
        Begin { tree: empty.clone(), writers: writers.collect(), new: true }
    };
    let mut begin = fresh();
    while report.images < options.images && report.violations.is_empty() {
        if report.worlds % 8 == 7 {
            begin = fresh();
        }
        let command = &options.commands[report.worlds as usize % options.commands.len()];
        let cases = stage
            .play(command, begin, &mut rng, &mut report)
            .with_context(|| format!("in world {} of seed {}", report.worlds, options.seed))?;
        report.worlds += 1;
        if !report.violations.is_empty() {
            // The living server broke a promise: images of it prove nothing more.
            break;
        }
        begin = match judge_all(options, command, &cases, &mut rng, &mut report)? {
            Some(next) => next,
            None => fresh(),
        };
    }
    report.counts = hub.counts();
    report.struck = hub.struck();
    Ok(report)
}

/// Draws and judges the images of all cases; returns one of them as the next beginning.
fn judge_all(
    options: &Options,
    command: &ServerCommand,
    cases: &[Case],
    rng: &mut Rng,
    report: &mut Report,
) -> Result<Option<Begin>> {
    let mut work: Vec<(&Case, u64, PathBuf)> = Vec::new();
    for case in cases {
        for _ in 0..case.place.images() {
            let folder =
                options.folder.join(format!("image-{}", report.images + work.len() as u64));
            work.push((case, rng.u64(..), folder));
        }
    }
    let queue = Mutex::new(work.into_iter());
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = crate::killloop::lock(&queue).next();
                    let Some((case, seed, folder)) = next else { return };
                    let verdict = check::judge(case, command, seed, &folder);
                    crate::killloop::lock(&verdicts).push((case, folder, verdict));
                }
            });
        }
    });
    let mut next = Vec::new();
    for (case, folder, verdict) in verdicts.into_inner().unwrap_or_default() {
        let verdict = verdict?;
        report.add(case, &verdict);
        if !verdict.violations.is_empty() {
            keep(&folder, &verdict, report)?;
        } else if case.place.is_loaded() {
            next.push((verdict.tree, verdict.writers));
        }
    }
    if next.is_empty() {
        return Ok(None);
    }
    let (tree, writers) = next.swap_remove(rng.usize(..next.len()));
    Ok(Some(Begin { tree: Some(tree), writers, new: false }))
}

/// Leaves the image as it was before the judging server opened it, of a few.
fn keep(folder: &Path, verdict: &Verdict, report: &mut Report) -> Result<()> {
    if report.kept.len() == KEPT {
        return Ok(());
    }
    let kept = folder.with_extension("kept");
    Tree::write_to(&verdict.tree, &kept)?;
    report.kept.push(kept);
    Ok(())
}
