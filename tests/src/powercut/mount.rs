//! Mounts the volume, and unmounts it.
//!
//! Owns: the mount. Must never know: requests, images.

use super::hub::Hub;
use super::served::Served;
use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, MountOption};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often unmounting is tried before the mount is taken out of sight, every 20 ms. A ring of `io_uring` holds its
/// files for a while after its process has ended.
const TRIES: u32 = 250;

/// A mounted volume. It is unmounted when this is dropped.
pub struct Mount {
    path: PathBuf,
    session: Option<BackgroundSession>,
    answering: Option<JoinHandle<()>>,
    hub: Arc<Hub>,
}

impl Mount {
    /// Mounts the hub's volume at `path`.
    ///
    /// # Errors
    /// When this machine does not let us: no /dev/fuse, no rights.
    pub fn new(hub: Arc<Hub>, path: &Path) -> Result<Self> {
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("powercut".to_owned()), MountOption::NoAtime];
        let session = fuser::spawn_mount(Served(Arc::clone(&hub)), path, &config)
            .with_context(|| format!("cannot mount a FUSE file system at {}", path.display()))?;
        let answering = Some(hub.start());
        Ok(Self { path: path.to_owned(), session: Some(session), answering, hub })
    }
}

impl Mount {
    fn unmount(&self, options: &[&str]) -> bool {
        let output = Command::new("umount").args(options).arg(&self.path).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Requests are answered until nobody can send one: whoever waits for an answer cannot even be killed.
        self.hub.release();
        let unmounted = (0..TRIES).any(|_| {
            self.unmount(&[]) || {
                std::thread::sleep(Duration::from_millis(20));
                false
            }
        });
        let hidden = unmounted || self.unmount(&["--lazy"]);
        if let Some(session) = self.session.take() {
            if hidden {
                // It ends when its last user does.
                let _ = session.join();
            } else {
                eprintln!("{} cannot be unmounted", self.path.display());
            }
        }
        self.hub.close();
        if let Some(thread) = self.answering.take() {
            // A panic there has shown itself as a file system that hangs.
            let _ = thread.join();
        }
    }
}
