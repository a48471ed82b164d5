//! The disk's side of the event loop.
//!
//! Owns: the disk, and moving requests and completions between it and the shard.
//! Never knows: what they are for.
//! Invariant: after a wake-up the disk is asked until it has nothing more, which is what makes the
//! next wake-up come.

use emberlog_engine::UnixMillis;
use emberlog_engine::driver::SystemDisk;

use crate::serve::Server;

/// The disk, and when the shard wants to be told the time.
pub(super) struct StoreSide {
    disk: Box<dyn SystemDisk>,
    wake_at: UnixMillis,
}

impl StoreSide {
    /// The side of a store that has just been opened.
    pub(super) fn new(disk: Box<dyn SystemDisk>, now: UnixMillis) -> StoreSide {
        StoreSide { disk, wake_at: now }
    }

    /// Takes completions and events. Returns whether room may have come.
    pub(super) fn take(&mut self, server: &mut Server) -> bool {
        let now = server.now();
        let Some(shard) = &mut server.shard else { return false };
        let mut completed = false;
        while let Some((id, result)) = self.disk.finished() {
            shard.complete(id, result, now);
            completed = true;
        }
        if now >= self.wake_at {
            shard.tick(now);
            self.wake_at = UnixMillis(u64::MAX);
            completed = true;
        }
        completed
    }

    /// Starts what the shard wants from the disk, and asks when it wants to be told the time.
    pub(super) fn give(&mut self, server: &mut Server) {
        let now = server.now();
        let Some(shard) = &mut server.shard else { return };
        let mut started = false;
        while let Some((id, request)) = shard.poll_io() {
            self.disk.start(id, request);
            started = true;
        }
        if started {
            self.disk.submit();
        }
        // Never later than it was wanted before: turns that follow one another quickly would put it
        // off for ever.
        self.wake_at = self.wake_at.min(shard.next_wakeup(now).unwrap_or(now.plus(1_000)));
    }

    /// When the shard wants to be told the time.
    pub(super) fn wake_at(&self) -> UnixMillis {
        self.wake_at
    }
}

impl Server {
    /// Takes the shard's events.
    pub(super) fn take_events(&mut self) {
        while let Some(event) = self.shard.as_mut().and_then(emberlog_engine::Shard::poll_event) {
            self.on_event(event);
        }
    }
}
