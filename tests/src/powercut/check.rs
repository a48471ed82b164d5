//! Opens one image with a real server and judges what it shows.
//!
//! Owns: a moment with its books, and the verdict on one image of it. Must never know: how the moment was chosen.

use super::device::Mounted;
use super::image::{Draw, Fates, Style, Tree, Under};
use super::volume::{Ino, Volume};
use crate::killloop::judge::{Look, Sin, Violation};
use crate::killloop::model::Writer;
use crate::killloop::verify;
use crate::resp::{Client, Reply};
use crate::server::{Server, ServerCommand, free_port};
use anyhow::Result;
use fastrand::Rng;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Where in a world's life the power was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// While a new store was created.
    Creation,
    /// During recovery, so deep within recoveries that were themselves cut off.
    Recovery(u32),
    /// Under load.
    Load,
    /// While the server ended in good order.
    Stop,
    /// After the process had ended and all its requests were answered.
    End,
}

impl Place {
    /// Images drawn of one moment.
    pub fn images(self) -> u32 {
        match self {
            Place::Creation | Place::Stop | Place::End => 2,
            Place::Recovery(_) | Place::Load => 4,
        }
    }

    /// Whether clients had written by then.
    pub fn is_loaded(self) -> bool {
        matches!(self, Place::Load | Place::Stop | Place::End)
    }
}

/// A moment: what was on the way to the disk, and what clients had been told.
pub struct Case {
    /// The file system.
    pub volume: Arc<Volume>,
    /// The folder in which the store's folder is.
    pub root: Ino,
    /// The books of all connections, closed.
    pub writers: Vec<Writer>,
    /// Where it was.
    pub place: Place,
    /// What lay on the volume.
    pub under: Under,
}

/// What became of one image.
pub struct Verdict {
    /// The image.
    pub tree: Tree,
    /// How it was drawn.
    pub style: Style,
    /// What was lost and kept in drawing it.
    pub fates: Fates,
    /// The books, settled with what the image shows.
    pub writers: Vec<Writer>,
    /// Writes that had been acknowledged since the world began, and so had to be there.
    pub acknowledged: u64,
    /// Writes without an answer at the moment, and how many of them the image shows.
    pub in_flight: (u64, u64),
    /// Keys looked at.
    pub keys: u64,
    /// Broken promises.
    pub violations: Vec<Violation>,
}

/// Draws an image of `case`, and lets a server open and show it. `folder` must not exist and is removed again.
///
/// # Errors
/// When the image cannot be written or the server cannot be talked to. What the server shows is in the verdict.
pub fn judge(case: &Case, command: &ServerCommand, seed: u64, folder: &Path) -> Result<Verdict> {
    let mut rng = Rng::with_seed(seed);
    let mut draw = Draw::new(&case.volume, case.root, &mut rng, case.under);
    let tree = draw.tree(case.root);
    let mut verdict = Verdict {
        tree,
        style: draw.style(),
        fates: draw.fates,
        writers: case.writers.clone(),
        acknowledged: case.writers.iter().map(|writer| writer.acked).sum(),
        in_flight: (0, 0),
        keys: 0,
        violations: Vec::new(),
    };
    verdict.in_flight.0 = case.writers.iter().map(|writer| writer.issued - writer.acked).sum();
    verdict.tree.write_to(folder)?;
    if let Err(error) = open(case.under, command, folder, &mut verdict) {
        verdict.violations.push(Violation::new(Sin::Died, format!("no start: {error:#}")));
    }
    for violation in &mut verdict.violations {
        let place = format!(" [{:?}, {:?}, image seed {seed}]", case.place, verdict.style);
        violation.text.push_str(&place);
    }
    fs::remove_dir_all(folder)?;
    Ok(verdict)
}

/// Lets a server show what is in the image. An error is a store, or a file system, that does not open.
fn open(under: Under, command: &ServerCommand, folder: &Path, verdict: &mut Verdict) -> Result<()> {
    // Unmounted after the server has ended, as it is declared first.
    let point = folder.join("mount");
    let mounted = Mounted::new(under, folder, &point)?;
    let home = if mounted.is_some() { &point } else { folder };
    let log = folder.join("server.log");
    let mut server = Server::spawn_logging(command, &home.join("data"), free_port()?, &log)?;
    server.wait_ready()?;
    look(&server, verdict)?;
    server.kill()
}

fn look(server: &Server, verdict: &mut Verdict) -> Result<()> {
    let mut client = server.client()?;
    let mut all: Vec<Vec<Look>> = Vec::new();
    for writer in &verdict.writers {
        all.push(verify::look_at_all(&mut client, writer)?);
    }
    for (writer, looks) in verdict.writers.iter_mut().zip(&all) {
        verdict.keys += looks.len() as u64;
        match verify::settle(writer, looks) {
            Ok(kept) => verdict.in_flight.1 += kept,
            Err(mut violations) => verdict.violations.append(&mut violations),
        }
    }
    let pairs: Vec<(&Writer, &[Look])> =
        verdict.writers.iter().zip(&all).map(|(writer, looks)| (writer, &looks[..])).collect();
    let mut scanned = verify::scan_agrees(&mut client, &pairs)?;
    verdict.violations.append(&mut scanned);
    verdict.violations.extend(damage(&mut client)?);
    if !verdict.violations.is_empty() {
        let text = format!("the server's log ends\n{}\n", server.log_tail());
        verdict.violations.push(Violation::new(Sin::Reply, text));
    }
    Ok(())
}

/// A power cut is no damage: the store must not take it for any.
fn damage(client: &mut Client) -> Result<Option<Violation>> {
    let Reply::Bulk(text) = client.words("INFO ember")? else {
        return Ok(Some(Violation::new(Sin::Reply, "INFO has no section Ember".to_owned())));
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let count = text.lines().find_map(|line| line.strip_prefix("corrupt_records:"));
    Ok((count != Some("0")).then(|| {
        Violation::new(Sin::Wrong, format!("corrupt_records is {count:?} after a mere power cut"))
    }))
}
