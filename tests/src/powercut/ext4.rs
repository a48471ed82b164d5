//! An ext4 file system in one file of the volume, through a loop device: then the log of the volume's writes and syncs
//! is that of a block device, and what a cut may take is decided below ext4's journal.
//!
//! Owns: making, mounting and unmounting it. Must never know: what is in it, what a crash may take.
//! Invariant: nothing stays mounted and no loop device attached when the handle is gone.

use super::image::Tree;
use super::pages::Pages;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The file's name.
pub(super) const DISK: &str = "disk.img";
/// Its size in bytes: room for the store and ext4's own.
const DISK_BYTES: u64 = 96 << 20;
/// How often unmounting is tried again while the kernel still holds the file system, every 20 ms.
const TRIES: u32 = 250;

/// A world that holds an empty ext4 file system. `scratch` is an existing folder.
///
/// # Errors
/// When there is no mkfs.ext4.
pub(super) fn template(scratch: &Path) -> Result<Tree> {
    let path = scratch.join("template.img");
    fs::File::create(&path)?.set_len(DISK_BYTES)?;
    // Nothing is left for later, and nothing is discarded: a file system that is quiet in itself.
    let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-b", "4096", "-E", options]).arg(&path);
    say(&mut mkfs)?;
    let mut pages = Pages::default();
    pages.resize(DISK_BYTES);
    let bytes = fs::read(&path)?;
    for (index, page) in bytes.chunks(4096).enumerate() {
        if page.iter().any(|&byte| byte != 0) {
            pages.write(index as u64 * 4096, page);
        }
    }
    fs::remove_file(&path)?;
    Ok(Tree::Folder(BTreeMap::from([(OsString::from(DISK), Tree::File(pages))])))
}

/// A mounted ext4 file system.
pub(super) struct Mounted {
    device: String,
    point: PathBuf,
}

impl Mounted {
    /// Mounts the file system in the file `disk` at `point`, which is created; ext4 replays its journal.
    ///
    /// # Errors
    /// When there is no loop device, or ext4 refuses.
    pub(super) fn new(disk: &Path, point: &Path) -> Result<Self> {
        fs::create_dir_all(point)?;
        let mut attach = Command::new("losetup");
        attach.args(["--direct-io=on", "--find", "--show"]).arg(disk);
        let device = say(&mut attach)?.trim().to_owned();
        let mounted = Self { device, point: point.to_owned() };
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", "noatime,nodiscard", &mounted.device]).arg(point);
        say(&mut mount)?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            let unmounted = say(Command::new("umount").arg(&self.point));
            let gone = unmounted.err().is_none_or(|error| !format!("{error:#}").contains("busy"));
            if gone {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // A device that cannot be detached now goes with its last user.
        let _ = say(Command::new("losetup").args(["--detach", &self.device]));
    }
}

/// Runs a command and returns what it says.
fn say(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
