//! Writing sessions and tombstones, and waiting for the disk.
//!
//! Owns: what a command needs of the store for these beyond [`Context::put`].
//! Never knows: the layout of a session.
//! Invariant: within a script they wait in the overlay, like every other write.

use emberlog_engine::{Key, Label, Room, UnixMillis};

use crate::command::write::refusal;
use crate::command::{Context, RECORD_OVERHEAD, Stop, text};
use crate::value::Kind;

impl Context<'_> {
    /// Makes the reply wait for the disk, whatever `ack` says, and hurries.
    ///
    /// # Errors
    /// The store is still recovering.
    pub fn wait_for_disk(&mut self) -> Result<(), Stop> {
        self.durable = true;
        self.shard()?.flush();
        Ok(())
    }

    /// Makes sure that tombstones of `bytes` bytes can be written now; they may use what is kept for
    /// deletes.
    ///
    /// # Errors
    /// No room now, none at all, or a broken device.
    pub fn room_for_tombstones(&mut self, bytes: usize) -> Result<(), Stop> {
        if self.overlay.is_some() {
            return self.room_aside(bytes, false);
        }
        let atomic = self.atomic;
        match self.shard()?.room_for_delete(bytes.saturating_add(RECORD_OVERHEAD)) {
            Room::Yes => Ok(()),
            Room::Wait if atomic => Ok(()),
            Room::Wait => Err(Stop::Room),
            Room::Full => Err(text::FULL),
            Room::Poisoned => Err(text::POISONED),
        }
    }

    /// Writes a value with a label: a session, or its tombstone.
    pub(in crate::command) fn put_labelled(
        &mut self,
        key: &Key<'_>,
        kind: Kind,
        value: &[u8],
        expires_at: Option<UnixMillis>,
        label: &Label<'_>,
    ) -> Result<(), Stop> {
        if self.overlay.is_some() {
            return self.put_aside(key, kind, value, expires_at, label);
        }
        let (now, tag) = (self.now, kind.tag());
        let put = self.shard()?.put_labelled(key, tag, value, expires_at, label, now);
        self.written(key, put.map_err(refusal)?);
        Ok(())
    }
}
