//! Large values: a record without a value, the *manifest*, whose label names chunks, which are records
//! of the engine's own namespace [`Namespace::CHUNKS`].
//!
//! Chunks are appended before their manifest, so a manifest that is there has its chunks. They have no
//! tombstones: what drops a manifest drops them from the index, and a recovery removes those that no
//! manifest has (`docs/decisions/0023-large-values.md`).
//!
//! Owns: chunks, from upload to end; [`Upload`].
//! Never knows: what the bytes mean, who streams them.
//! Invariant: the chunks in the index are those of all manifests, of open uploads, and of values that
//! have gone while somebody still reads them.

use std::collections::{BTreeMap, VecDeque};

use super::Shard;
use super::write::Refused;
use crate::format::chunked::{CHUNK_KEY_BYTES, Chunked, chunk_key};
use crate::format::label::Label;
use crate::index::Identity;
use crate::key::Key;
use crate::labels::Place;
use crate::space::Slot;
use crate::units::{Lsn, Namespace, UnixMillis};

/// A large value on its way in. What is neither put nor dropped takes its place until a restart.
#[derive(Debug)]
#[must_use]
pub struct Upload {
    /// Names the chunks; 0 before the first.
    pub id: u64,
    /// Chunks appended.
    pub chunks: u32,
    /// Bytes appended.
    pub len: u64,
    /// Length of every chunk but the last.
    pub chunk_bytes: u32,
}

impl Upload {
    /// What it would be as a value.
    pub fn chunked(&self) -> Chunked {
        Chunked { id: self.id, len: self.len, chunk_bytes: self.chunk_bytes }
    }
}

/// Somebody reads a large value.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) readers: usize,
    /// It has gone meanwhile: its chunks go with the last reader.
    pub(super) gone: Option<Chunked>,
}

/// What is known of large values beside their labels.
#[derive(Default)]
pub(super) struct Large {
    /// Chunks of open uploads, by id.
    pub(super) open: BTreeMap<u64, u32>,
    /// By id.
    pub(super) pinned: BTreeMap<u64, Pinned>,
    /// Values that have expired, whose keys' ends could not be logged yet.
    pub(super) ended: Vec<(Namespace, Identity, Chunked)>,
    /// Chunks in RAM because they are not on the disk yet.
    pub(super) fresh: VecDeque<(Lsn, [u8; CHUNK_KEY_BYTES])>,
}

impl Shard {
    /// Length of the chunks of new large values, in bytes.
    pub fn chunk_bytes(&self) -> usize {
        (self.config.chunk_bytes).min(self.root.segment_bytes / 4) as usize
    }

    /// Starts an upload; nothing is written.
    pub fn begin_chunks(&mut self) -> Upload {
        Upload { id: 0, chunks: 0, len: 0, chunk_bytes: self.chunk_bytes() as u32 }
    }

    /// Appends the next chunk of an upload: of [`Shard::chunk_bytes`], or shorter if it is the last.
    /// Ask for [`Shard::room`] first.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    ///
    /// # Panics
    /// When the chunk before was a short one, and so the last.
    pub fn put_chunk(
        &mut self,
        upload: &mut Upload,
        bytes: &[u8],
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        let full = u64::from(upload.chunks) * u64::from(upload.chunk_bytes);
        assert!(upload.len == full, "only the last chunk is short");
        let number = upload.chunks;
        // No other record ever has the first chunk's LSN.
        let id = if upload.id == 0 { self.log.next_lsn().0 } else { upload.id };
        self.advance(now);
        let lsn = self.write_chunk((id, number), true, upload.chunk_bytes, bytes)?;
        upload.id = id;
        upload.chunks += 1;
        upload.len += bytes.len() as u64;
        self.large.open.insert(id, upload.chunks);
        Ok(lsn)
    }

    /// Makes an upload the value of a key; otherwise as [`Shard::put_labelled`]. The barrier covers the
    /// chunks too.
    ///
    /// # Errors
    /// [`Refused`]: the key has not changed, and the upload is dropped.
    pub fn put_chunked(
        &mut self,
        key: &Key<'_>,
        value_type: u8,
        mut upload: Upload,
        expires_at: Option<UnixMillis>,
        label: &Label<'_>,
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        if upload.id == 0 {
            upload.id = self.log.next_lsn().0;
        }
        let chunked = upload.chunked();
        let label = Label { chunked: Some(chunked), ..*label };
        match self.put_labelled(key, value_type, &[], expires_at, &label, now) {
            Ok(lsn) => {
                self.large.open.remove(&chunked.id);
                Ok(lsn)
            }
            Err(refused) => {
                self.drop_upload(upload);
                Err(refused)
            }
        }
    }

    /// Gives an upload's chunks back.
    #[expect(clippy::needless_pass_by_value, reason = "it is used up")]
    pub fn drop_upload(&mut self, upload: Upload) {
        self.large.open.remove(&upload.id);
        self.drop_numbers(upload.id, 0..upload.chunks);
    }

    /// Replaces a chunk of a key's large value, or appends the next one, and adjusts the length in
    /// `chunked`: that is to be told by [`Shard::rewrite_chunked`] in the same group, between
    /// [`Shard::begin`] and [`Shard::commit`]. Ask for room for the whole group first. Every chunk but
    /// the last must be full in the end.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed; [`Refused::Pinned`] while somebody reads the value: copy it.
    ///
    /// # Panics
    /// When no group was begun, or the chunk before the next one is not full.
    pub fn replace_chunk(
        &mut self,
        chunked: &mut Chunked,
        number: u32,
        bytes: &[u8],
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        assert!(self.group.is_some(), "chunks are replaced in a group, with their manifest");
        if self.chunks_pinned(chunked) {
            return Err(Refused::Pinned);
        }
        let (chunks, start) =
            (chunked.chunks(), u64::from(number) * u64::from(chunked.chunk_bytes));
        let next = number == chunks && chunked.len == start;
        assert!(number < chunks || next, "chunks follow one another");
        let last = number + 1 >= chunks;
        assert!(last || bytes.len() == chunked.chunk_len(number), "only the last chunk is short");
        self.advance(now);
        let lsn = self.write_chunk((chunked.id, number), next, chunked.chunk_bytes, bytes)?;
        if last {
            chunked.len = start + bytes.len() as u64;
        }
        Ok(lsn)
    }

    /// Sets a key to a large value whose chunks are there: after [`Shard::replace_chunk`], or the
    /// value of another key that was deleted before in the same group while its chunks were pinned.
    /// Otherwise as [`Shard::put_labelled`].
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn rewrite_chunked(
        &mut self,
        key: &Key<'_>,
        value_type: u8,
        chunked: &Chunked,
        expires_at: Option<UnixMillis>,
        label: &Label<'_>,
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        let label = Label { chunked: Some(*chunked), ..*label };
        let old = self.chunked(key).filter(|old| old.id == chunked.id);
        let lsn = self.put_labelled(key, value_type, &[], expires_at, &label, now)?;
        if let Some(old) = old {
            self.drop_numbers(chunked.id, chunked.chunks()..old.chunks());
        }
        if let Some(pinned) = self.large.pinned.get_mut(&chunked.id) {
            pinned.gone = None;
        }
        Ok(lsn)
    }

    /// The key of a chunk, for [`Shard::lookup`] and [`Shard::load`]. If it turns out to be absent or
    /// lost, the value is damaged.
    pub fn chunk_key<'b>(
        &self,
        chunked: &Chunked,
        number: u32,
        buffer: &'b mut [u8; CHUNK_KEY_BYTES],
    ) -> Key<'b> {
        *buffer = chunk_key(chunked.id, number);
        self.key(Namespace::CHUNKS, buffer)
    }

    /// Keeps the chunks of a large value for a reader, whatever becomes of its key, until as many calls
    /// of [`Shard::unpin_chunks`]. They stay on the disk; a chunk is in RAM only while it is loaded.
    pub fn pin_chunks(&mut self, chunked: &Chunked) {
        let pinned = Pinned { readers: 0, gone: None };
        self.large.pinned.entry(chunked.id).or_insert(pinned).readers += 1;
    }

    /// A reader has done. If the value has gone meanwhile and nobody else reads it, its chunks go.
    pub fn unpin_chunks(&mut self, chunked: &Chunked) {
        let Some(pinned) = self.large.pinned.get_mut(&chunked.id) else { return };
        pinned.readers = pinned.readers.saturating_sub(1);
        if pinned.readers == 0
            && let Some(Pinned { gone: Some(gone), .. }) = self.large.pinned.remove(&chunked.id)
        {
            self.drop_numbers(gone.id, 0..gone.chunks());
        }
    }

    /// Whether somebody reads a large value, so that its chunks must not be replaced.
    pub fn chunks_pinned(&self, chunked: &Chunked) -> bool {
        self.large.pinned.contains_key(&chunked.id)
    }

    /// Uploads that have a chunk and have been neither put nor dropped.
    pub(super) fn uploads(&self) -> usize {
        self.large.open.len()
    }

    /// The chunks of a resident key, if its value is a large one.
    pub(super) fn chunked(&self, key: &Key<'_>) -> Option<Chunked> {
        let space = self.space(key.namespace).filter(|space| space.labels.large_len() > 0)?;
        let aside = matches!(space.slot(key), Slot::Side(_));
        space.labels.get(&Place { identity: key.identity, aside, key: key.bytes })?.label.chunked
    }
}
