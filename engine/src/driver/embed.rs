//! Driving a shard from one thread that waits: for programs that embed the engine, tests and tools.
//! A server has an event loop of its own instead.

use std::time::Duration;

use super::now;
use crate::io::Disk;
use crate::shard::Shard;

/// Longest wait before the shard sees the time again.
const TICK: Duration = Duration::from_millis(10);

/// Runs the shard's requests on the disk until `done` says so, or a write has failed (see
/// [`Shard::poisoned`]).
pub fn drive(shard: &mut Shard, disk: &mut dyn Disk, mut done: impl FnMut(&mut Shard) -> bool) {
    loop {
        while let Some((id, request)) = shard.poll_io() {
            disk.start(id, request);
        }
        disk.submit();
        let mut completed = false;
        while let Some((id, result)) = disk.finished() {
            shard.complete(id, result, now());
            completed = true;
        }
        if done(shard) || shard.poisoned() {
            return;
        }
        if !completed {
            disk.wait(Some(TICK));
            shard.tick(now());
        }
    }
}
