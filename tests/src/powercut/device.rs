//! A file system of the kernel in one file of the volume, through a loop device: then the log of the volume's writes and
//! syncs is that of a block device, and what a cut may take is decided below the journal of ext4, xfs or btrfs.
//!
//! Owns: making, mounting and unmounting it. Must never know: what is in it, what a crash may take.
//! Invariant: nothing stays mounted and no loop device attached when the handle is gone.

use super::image::{Tree, Under};
use super::pages::Pages;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The file's name.
const DISK: &str = "disk.img";
/// Its size in bytes: the least that mkfs.xfs takes, and then some.
const DISK_BYTES: u64 = 320 << 20;
/// How often unmounting is tried again while the kernel still holds the file system, every 20 ms.
const TRIES: u32 = 250;

/// How a file system is made and mounted. Nothing is left for later, and nothing is discarded: each is quiet in itself.
fn commands(under: Under) -> Option<(&'static str, &'static [&'static str], &'static str)> {
    match under {
        Under::Store => None,
        Under::Ext4 => {
            const LAZY: &str = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
            Some(("ext4", &["-q", "-F", "-b", "4096", "-E", LAZY], "noatime,nodiscard"))
        }
        // Images of one file system have one name; xfs has to be told that this is meant.
        Under::Xfs => Some(("xfs", &["-q", "-f", "-K", "-s", "size=4096"], "noatime,nouuid")),
        Under::Btrfs => Some(("btrfs", &["-q", "-f", "-K"], "noatime,nodiscard")),
    }
}

/// A world that holds an empty file system; `None` if the store's folder needs none. `scratch` is an existing folder.
///
/// # Errors
/// When there is no mkfs for it.
pub(super) fn template(under: Under, scratch: &Path) -> Result<Option<Tree>> {
    let Some((kind, options, _)) = commands(under) else { return Ok(None) };
    let path = scratch.join("template.img");
    fs::File::create(&path)?.set_len(DISK_BYTES)?;
    say(Command::new(format!("mkfs.{kind}")).args(options).arg(&path))?;
    let mut pages = Pages::default();
    pages.resize(DISK_BYTES);
    let bytes = fs::read(&path)?;
    for (index, page) in bytes.chunks(4096).enumerate() {
        if page.iter().any(|&byte| byte != 0) {
            pages.write(index as u64 * 4096, page);
        }
    }
    fs::remove_file(&path)?;
    let names = BTreeMap::from([(OsString::from(DISK), Tree::File(pages))]);
    Ok(Some(Tree::Folder(names)))
}

/// A mounted file system.
pub(super) struct Mounted {
    device: String,
    point: PathBuf,
}

impl Mounted {
    /// Mounts the file system in the file [`DISK`] of `folder` at `point`, which is created, and replays its journal;
    /// `None` if the store's folder needs none.
    ///
    /// # Errors
    /// When there is no loop device, or the file system refuses.
    pub(super) fn new(under: Under, folder: &Path, point: &Path) -> Result<Option<Self>> {
        let Some((kind, _, options)) = commands(under) else { return Ok(None) };
        fs::create_dir_all(point)?;
        let mut attach = Command::new("losetup");
        attach.args(["--direct-io=on", "--find", "--show"]).arg(folder.join(DISK));
        let device = say(&mut attach)?.trim().to_owned();
        let mounted = Self { device, point: point.to_owned() };
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", options, &mounted.device]).arg(point);
        say(&mut mount)?;
        Ok(Some(mounted))
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
