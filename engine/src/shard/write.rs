//! The SET path: put, delete, expire, clear, and groups of them.
//!
//! Every function either changes log, index and hot set together or changes nothing.

use super::Shard;
use super::owned::{OwnedLabel, cut, name};
use super::read::Owner;
use super::touch::Moved;
use crate::format::label::Label;
use crate::format::record::{self, Head, Kind};
use crate::hot::NewEntry;
use crate::index::{Due, Entry, Expiry, SizeClass};
use crate::key::Key;
use crate::labels::Place;
use crate::log::{Append, CLEAR_MARK, NO_KEY_MARK, USER_STREAM, segment_bytes_alone};
use crate::space::LOST;
use crate::units::{Location, Lsn, Namespace, SegmentId, UnixMillis};

/// Why a write was refused. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The disk limit is reached, or the file system is full.
    #[error("the disk limit is reached")]
    Full,
    /// A write to the disk failed earlier; restart to recover.
    #[error("a write to the disk failed; restart to recover from what is on it")]
    Poisoned,
    /// Key or value is too long.
    #[error("{len} bytes are more than the limit of {max}")]
    TooLarge {
        /// Length offered.
        len: usize,
        /// Longest allowed.
        max: usize,
    },
    /// The caller has not loaded the key first.
    #[error("the key must be loaded before it is written")]
    NotResident,
    /// Somebody reads the large value whose chunk was to be replaced.
    #[error("the value is being read, so its chunks cannot be replaced")]
    Pinned,
}

/// Whether a write of some size can be taken now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// Yes.
    Yes,
    /// Not now: try again after the next completion.
    Wait,
    /// Not until space is given back: the disk limit is reached.
    Full,
    /// Not before a restart.
    Poisoned,
}

/// What was written since [`Shard::begin`]: it takes effect with the commit's LSN.
#[derive(Default)]
pub(super) struct Group {
    /// Packed identities.
    members: Vec<u64>,
    /// Segments in which something became obsolete.
    buried: Vec<SegmentId>,
    /// Namespaces that were cleared.
    cleared: Vec<Namespace>,
}

impl Shard {
    /// Sets a key to a value. The key must be resident or absent (see [`Shard::lookup`]). Returns
    /// the LSN that must be acknowledged before the reply may leave.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn put(
        &mut self,
        key: &Key<'_>,
        value_type: u8,
        value: &[u8],
        expires_at: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        self.put_labelled(key, value_type, value, expires_at, &Label::NONE, now)
    }

    /// As [`Shard::put`], with a label, which lasts until the key is next put or deleted. Cuts the
    /// expiry at the label's limit. A key that has an owner may be written while it is cold. Only the
    /// shard itself names chunks in a label, those of a value that is empty here.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn put_labelled(
        &mut self,
        key: &Key<'_>,
        value_type: u8,
        value: &[u8],
        expires_at: Option<UnixMillis>,
        label: &Label<'_>,
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        let now = self.advance(now);
        let expires_at = cut(expires_at, label.limit);
        let name = name(key, label)?;
        self.check_lengths(key, &name, value)?;
        let (old, aside) = match self.owner(key, now) {
            Owner::Nobody => (None, false),
            Owner::Key(entry) => (Some(entry), false),
            Owner::KeyAside(entry) => (Some(entry), true),
            Owner::Other => (None, true),
            Owner::Unknown => return Err(Refused::NotResident),
        };
        let ext_len = (name.len() - key.bytes.len()) as u16;
        let mut head = Head {
            value_type,
            value_len: value.len() as u32,
            expires_at,
            ext_len,
            flags: if aside { record::SIDE } else { 0 }
                | if ext_len > 0 { record::EXTENDED } else { 0 },
            ..self.head(Kind::Put, key.namespace, key.bytes)
        };
        let packed = self.pack(&mut head, key.bytes, value);
        let stored = packed.as_deref().unwrap_or(value);
        let location = self.append(&head, &name, stored, key.packed())?;
        self.packed(value, packed);
        let entry = Entry {
            location,
            size: SizeClass::of(head.record_bytes()),
            expiry: Expiry::of(expires_at, now),
            freq: old.map_or(0, |entry| entry.freq),
            touch: 0,
        };
        self.set_entry(key, entry, old, aside, label);
        self.touches.forget(key.packed());
        self.rearm(key.namespace, key.identity, old.filter(|_| !aside), expires_at);
        let written = NewEntry {
            namespace: key.namespace,
            identity: key.identity,
            key: key.bytes,
            value,
            value_type,
            expires_at,
            lsn: head.lsn,
            location,
        };
        self.hot.insert(&written, entry.freq);
        self.counters.puts += 1;
        Ok(head.lsn)
    }

    /// Deletes a key. The key must be resident or absent. `None`: there was nothing to delete.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn delete(&mut self, key: &Key<'_>, now: UnixMillis) -> Result<Option<Lsn>, Refused> {
        let now = self.advance(now);
        let (old, aside) = match self.owner(key, now) {
            Owner::Nobody | Owner::Other => return Ok(None),
            Owner::Key(entry) => (entry, false),
            Owner::KeyAside(entry) => (entry, true),
            Owner::Unknown => return Err(Refused::NotResident),
        };
        let lsn = self.delete_record(key, &old, aside)?;
        self.hot.remove(key.namespace, key.identity, key.bytes);
        self.counters.deletes += 1;
        Ok(Some(lsn))
    }

    /// Appends a tombstone for a key whose entry is known, and removes the entry.
    pub(super) fn delete_record(
        &mut self,
        key: &Key<'_>,
        old: &Entry,
        aside: bool,
    ) -> Result<Lsn, Refused> {
        let head = Head {
            flags: if aside { record::SIDE } else { 0 },
            ..self.head(Kind::Delete, key.namespace, key.bytes)
        };
        self.append(&head, key.bytes, &[], key.packed())?;
        let place = Place { identity: key.identity, aside, key: key.bytes };
        self.space_mut(key.namespace).remove(&place);
        self.bury(old);
        self.drop_chunks_of(key.namespace);
        Ok(head.lsn)
    }

    /// Appends a value for a key that has none, beside the hot set: the engine's own.
    pub(super) fn write_record(
        &mut self,
        key: &Key<'_>,
        flags: u8,
        value: &[u8],
    ) -> Result<Lsn, Refused> {
        let head = Head {
            flags,
            value_len: value.len() as u32,
            ..self.head(Kind::Put, key.namespace, key.bytes)
        };
        let location = self.append(&head, key.bytes, value, key.packed())?;
        let size = SizeClass::of(head.record_bytes());
        let entry = Entry { location, size, expiry: Expiry::NONE, freq: 0, touch: 0 };
        self.set_entry(key, entry, None, flags & record::SIDE != 0, &Label::NONE);
        Ok(head.lsn)
    }

    /// Sets or removes the expiry of a resident key. Moving an expiry later is a touch: it costs no
    /// disk write inside its quantum and 7 bytes of a batch that others share beyond it. Anything else
    /// rewrites the record. Returns the LSN to wait for, `Lsn::NONE` if there is none.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed; [`Refused::NotResident`] also for an absent key.
    pub fn expire(
        &mut self,
        key: &Key<'_>,
        expires_at: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Result<Lsn, Refused> {
        let now = self.advance(now);
        let owner = self.owner(key, now);
        let Some(hot) = self.hot.peek(key.namespace, key.identity, key.bytes) else {
            return Err(Refused::NotResident);
        };
        let (value, value_type, old_at) = (hot.value(), hot.value_type(), hot.expires_at());
        let label = self.label_of(key, owner).map(OwnedLabel::from);
        let limit = label.as_ref().and_then(|label| label.limit);
        let expires_at = cut(expires_at, limit);
        if old_at == expires_at {
            return Ok(self.barrier(key));
        }
        if let (Owner::Key(entry), Some(old), Some(new)) = (owner, old_at, expires_at)
            && old < new
            && let Due::At(old_s) = entry.expiry.due(now)
            && let Due::At(new_s) = Expiry::of(Some(new), now).due(now)
        {
            let to = Moved { old_s, new_s, expires_at: new, is_limit: limit == Some(new) };
            return self.touch(key, &entry, &to, now);
        }
        let label = label.unwrap_or_default();
        self.put_labelled(key, value_type, &value, expires_at, &label.view(), now)
    }

    /// Deletes every key of a namespace with one record.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn clear(&mut self, namespace: Namespace, now: UnixMillis) -> Result<Lsn, Refused> {
        self.advance(now);
        if self.space(namespace).is_none_or(|space| space.entries() == 0) {
            return Ok(self.space(namespace).map_or(Lsn::NONE, |space| space.cleared));
        }
        let head = self.head(Kind::Clear, namespace, &[]);
        self.append(&head, &[], &[], u64::from(namespace.0) << 48 | CLEAR_MARK)?;
        self.forget_space(namespace);
        self.space_mut(namespace).cleared = head.lsn;
        if let Some(group) = &mut self.group {
            group.cleared.push(namespace);
        }
        self.hot.clear_namespace(namespace);
        self.untold.end_by(head.lsn, |late| late >> 48 == u64::from(namespace.0));
        Ok(head.lsn)
    }

    /// Starts a group: the writes until [`Shard::commit`] take effect together or not at all, also
    /// across a crash. Groups do not nest, and nothing else may run inside one.
    pub fn begin(&mut self) {
        assert!(self.group.is_none(), "groups do not nest");
        self.group = Some(Group::default());
    }

    /// Ends the group. Returns the LSN that must be acknowledged before any of its replies leaves.
    pub fn commit(&mut self) -> Lsn {
        let group = self.group.take().expect("a group was begun");
        if group.members.is_empty() {
            return Lsn::NONE;
        }
        let lsn = self.append_commit();
        for packed in group.members {
            self.undurable.note(packed, lsn);
        }
        for segment in group.buried {
            self.log.segments.obsolete(segment, lsn);
        }
        for namespace in group.cleared {
            self.space_mut(namespace).cleared = lsn;
        }
        lsn
    }

    /// Appends a commit. Grouped records leave room for theirs; others must have asked.
    pub(super) fn append_commit(&mut self) -> Lsn {
        let head = Head::new(Kind::Commit, self.log.next_lsn());
        let record = Append { head: &head, name: &[], value: &[], identity: NO_KEY_MARK };
        let appended = self.log.append(USER_STREAM, &record, &mut self.pool, self.now);
        appended.expect("there is room for a commit");
        head.lsn
    }

    pub(super) fn head(&self, kind: Kind, namespace: Namespace, key: &[u8]) -> Head {
        let key_len = key.len() as u16;
        Head { namespace, key_len, ..Head::new(kind, self.log.next_lsn()) }
    }

    pub(super) fn check_lengths(
        &self,
        key: &Key<'_>,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), Refused> {
        let limit = |len, max| if len > max { Err(Refused::TooLarge { len, max }) } else { Ok(()) };
        limit(key.bytes.len(), record::KEY_BYTES_MAX)?;
        limit(value.len(), self.value_bytes_max())?;
        // Long keys in small segments: the key stands in the footer once more.
        let head = Head {
            flags: record::GROUPED,
            value_len: value.len() as u32,
            ext_len: (name.len() - key.bytes.len()) as u16,
            ..self.head(Kind::Put, key.namespace, key.bytes)
        };
        let overhead = segment_bytes_alone(&head) - head.record_bytes();
        let max = (self.root.segment_bytes as usize).saturating_sub(overhead);
        limit(head.record_bytes(), max)
    }

    /// Appends a user record, as a member of the group if there is one.
    pub(super) fn append(
        &mut self,
        head: &Head,
        name: &[u8],
        value: &[u8],
        packed: u64,
    ) -> Result<Location, Refused> {
        if self.poisoned {
            return Err(Refused::Poisoned);
        }
        let alone = head.namespace == Namespace::CHUNKS && planted!(UngroupedChunks);
        let grouped = if self.group.is_some() && !alone { record::GROUPED } else { 0 };
        let head = Head { flags: head.flags | grouped, ..*head };
        let record = Append { head: &head, name, value, identity: packed };
        let appended = self.log.append(USER_STREAM, &record, &mut self.pool, self.now);
        let location = appended.map_err(|_| Refused::Full)?;
        self.undurable.note(packed, head.lsn);
        self.untold.end_by(head.lsn, |late| late == packed);
        if let Some(group) = &mut self.group {
            group.members.push(packed);
        }
        Ok(location)
    }

    /// Enters a key's new entry and buries the old one.
    pub(super) fn set_entry(
        &mut self,
        key: &Key<'_>,
        entry: Entry,
        old: Option<Entry>,
        aside: bool,
        label: &Label<'_>,
    ) {
        let segment_bytes = self.root.segment_bytes;
        let owner_hash = self.owner_hash(label.owner);
        let place = Place { identity: key.identity, aside, key: key.bytes };
        self.space_mut(key.namespace).insert(&place, entry, label, owner_hash);
        self.log
            .segments
            .add_live(entry.location.split(segment_bytes).0, entry.size.bytes_max() as u64);
        if let Some(old) = old {
            self.bury(&old);
        }
        self.drop_chunks_of(key.namespace);
    }

    /// The bytes of an entry are no longer needed.
    pub(super) fn bury(&mut self, entry: &Entry) {
        if entry.location != LOST {
            let (segment, _) = entry.location.split(self.root.segment_bytes);
            let lsn = self.log.appended_lsn();
            self.log.segments.bury(segment, entry.size.bytes_max() as u64, lsn);
            if let Some(group) = &mut self.group {
                group.buried.push(segment);
            }
        }
    }
}
