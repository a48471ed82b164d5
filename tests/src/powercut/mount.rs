//! Mounts the volume, and unmounts it.
//!
//! Owns: the mount. Must never know: requests, images.

use super::hub::Hub;
use super::served::Served;
use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, MountOption};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A mounted volume. It is unmounted when this is dropped.
pub struct Mount {
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
        Ok(Self { session: Some(session), answering, hub })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.hub.close();
        if let Some(session) = self.session.take() {
            // A mount that is still in use goes when its last user does.
            let _ = session.umount_and_join();
        }
        if let Some(thread) = self.answering.take() {
            // A panic there has shown itself as a file system that hangs.
            let _ = thread.join();
        }
    }
}
