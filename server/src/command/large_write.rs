//! Writing large values: of what was taken in, of parts of others, and in place.
//!
//! Owns: nothing but these ways of writing.
//! Never knows: sockets, how chunks are stored.
//! Invariant: a change in place survives a crash as a whole or not at all, and happens to no value that somebody
//! is reading; chunks that become no key's value are given back.

use std::ops::Range;

use emberlog_engine::{Chunked, Found, Key, Label, Lsn, Room, UnixMillis, Upload};

use super::large::{len_of, size};
use super::{Context, Outcome, RECORD_OVERHEAD, Stop, text, write};
use crate::resp::Args;
use crate::serve::assemble::{Plan, Source, Stamp, chunk_at};
use crate::serve::intake::{Intake, Taken};
use crate::value::Kind;

/// How often a command begins anew because what it copies has changed meanwhile.
const ASSEMBLIES_MAX: u32 = 8;

const BESIDE_SCRIPT: Stop = Stop::error("ERR a large value cannot be written beside a script");

impl Context<'_> {
    /// Length of argument `at`, also if it was taken in.
    pub(super) fn argument_len(&self, args: Args<'_>, at: usize) -> u64 {
        match &self.session.intake {
            Some(Intake { argument, taken: Taken::Chunks(upload) }) if *argument == at => {
                upload.len
            }
            _ => args[at].len() as u64,
        }
    }

    /// Whether an argument of the command was taken in, and so is not in its place.
    pub(super) fn took_in(&self) -> bool {
        self.session.intake.is_some()
    }

    /// Whether the command may wait for something to be put together.
    pub(super) fn may_wait(&self) -> bool {
        !self.atomic && self.overlay.is_none()
    }

    /// Makes `key` the string that was taken in.
    ///
    /// # Errors
    /// As [`Context::put`].
    pub(super) fn put_taken(&mut self, key: &Key<'_>, expires_at: Option<UnixMillis>) -> Outcome {
        match self.session.intake.take() {
            Some(Intake { taken: Taken::Chunks(upload), .. }) => {
                self.put_large(key, upload, expires_at)
            }
            _ => Err(text::READ_FAILED),
        }
    }

    /// Makes `key` a string of chunks, which are given back if it cannot be.
    ///
    /// # Errors
    /// As [`Context::put`].
    pub(super) fn put_large(
        &mut self,
        key: &Key<'_>,
        upload: Upload,
        expires_at: Option<UnixMillis>,
    ) -> Outcome {
        let refused = self.may_put(key, Kind::String, size(upload.len));
        let expires_at = self.within_policy(key, expires_at);
        let past = expires_at.is_some_and(|at| at <= self.now);
        if refused.is_err() || past || self.overlay.is_some() {
            self.shard()?.drop_upload(upload);
            refused?;
            return if past { self.delete(key).map(|_| ()) } else { Err(BESIDE_SCRIPT) };
        }
        let now = self.now;
        let put = self.shard()?.put_chunked(
            key,
            Kind::String.tag(),
            upload,
            expires_at,
            &Label::NONE,
            now,
        );
        self.written(key, put.map_err(write::refusal)?);
        Ok(())
    }

    /// The value that is made of `sources`, whose version is `stamp`, once it is put together.
    ///
    /// # Errors
    /// It has to be put together first, or cannot be.
    pub(super) fn assembled(&mut self, stamp: Stamp, sources: Vec<Source>) -> Result<Upload, Stop> {
        if !self.may_wait() {
            return Err(Stop::error(
                "ERR a large value cannot be copied within a transaction or a script",
            ));
        }
        let Some(shard) = self.shard.as_deref_mut() else { return Err(text::LOADING) };
        if let Some(assembly) = self.session.assembly.take() {
            let same = assembly.stamp() == stamp;
            match assembly.end(shard) {
                outcome if same => return outcome,
                Ok(upload) => shard.drop_upload(upload),
                Err(_) => {}
            }
            if self.session.assemblies >= ASSEMBLIES_MAX {
                return Err(Stop::error("ERR the value kept changing while it was copied"));
            }
        }
        self.session.assemblies += 1;
        Err(Stop::Assemble(Box::new(Plan { stamp, sources })))
    }

    /// A copy of a large value.
    ///
    /// # Errors
    /// As [`Context::assembled`].
    pub(super) fn copied(&mut self, chunked: &Chunked) -> Result<Upload, Stop> {
        let stamp = Stamp { lsn: Lsn::NONE, chunked: Some(*chunked) };
        self.assembled(stamp, vec![Source::Chunks(*chunked, 0..chunked.len)])
    }

    /// Gives a large value the key `to` instead of `from`; its chunks stay where they are.
    ///
    /// # Errors
    /// As [`Context::put`].
    pub(super) fn rename_large(
        &mut self,
        (from, to): (&Key<'_>, &Key<'_>),
        chunked: &Chunked,
        expires_at: Option<UnixMillis>,
    ) -> Outcome {
        self.may_put(to, Kind::String, size(chunked.len))?;
        self.room_for_chunks(2 * (from.bytes().len() + to.bytes().len() + RECORD_OVERHEAD))?;
        let expires_at = self.within_policy(to, expires_at);
        self.shard()?.pin_chunks(chunked);
        let outcome = self.together(|cx| {
            cx.delete(from)?;
            if expires_at.is_some_and(|at| at <= cx.now) {
                return cx.delete(to).map(|_| ());
            }
            let (now, tag) = (cx.now, Kind::String.tag());
            let shard = cx.shard()?;
            let put = shard.rewrite_chunked(to, tag, chunked, expires_at, &Label::NONE, now);
            cx.written(to, put.map_err(write::refusal)?);
            Ok(())
        });
        self.shard()?.unpin_chunks(chunked);
        outcome
    }

    /// Writes argument `at` into the string at `key` from byte `offset` on, which makes a large string, or
    /// changes one. Zeros come between if it is shorter.
    ///
    /// # Errors
    /// As [`Context::put`]; chunks have to be loaded or copied first.
    pub(super) fn splice(
        &mut self,
        key: &Key<'_>,
        found: Option<&Found>,
        offset: u64,
        (args, at): (Args<'_>, usize),
    ) -> Outcome {
        let (old, part) = (len_of(found), self.argument_len(args, at));
        let expires_at = found.and_then(|found| found.expires_at);
        if self.took_in() && old == 0 && offset == 0 {
            return self.put_taken(key, expires_at);
        }
        let chunked = found.and_then(|found| found.chunked);
        if let (Some(chunked), false) = (chunked, self.took_in()) {
            let changed = offset + part - offset.min(old);
            let fits = changed <= self.shard()?.value_bytes_max() as u64;
            // Whoever is being sent the value is sent what it was.
            let free = !self.shard()?.chunks_pinned(&chunked);
            if fits && free {
                return self.change_in_place(key, chunked, expires_at, offset, &args[at]);
            }
        }
        let old_part = |range: Range<u64>| match found {
            Some(found) => match found.chunked {
                Some(chunked) => Source::Chunks(chunked, range),
                None => Source::Value(found.value.clone(), range),
            },
            None => Source::Zeros(0),
        };
        let sources = vec![
            old_part(0..offset.min(old)),
            Source::Zeros(offset.saturating_sub(old)),
            if self.took_in() { Source::Taken } else { Source::Argument(at) },
            old_part((offset + part).min(old)..old),
        ];
        let upload = self.assembled(stamp_of(found), sources)?;
        self.put_large(key, upload, expires_at)
    }

    /// Changes some chunks of a large value, all or none.
    fn change_in_place(
        &mut self,
        key: &Key<'_>,
        mut chunked: Chunked,
        expires_at: Option<UnixMillis>,
        offset: u64,
        part: &[u8],
    ) -> Outcome {
        let (old, chunk_bytes) = (chunked.len, u64::from(chunked.chunk_bytes));
        let end = offset + part.len() as u64;
        let len = end.max(old);
        self.may_put(key, Kind::String, size(len))?;
        let (first, last) = (chunk_at(&chunked, offset.min(old)).0, chunk_at(&chunked, end - 1).0);
        // What stays of the first and the last chunk that change.
        let exists = |number: u32| u64::from(number) * chunk_bytes < old;
        let mut ends = vec![first];
        if last > first {
            ends.push(last);
        }
        ends.retain(|number| exists(*number));
        let kept = self.chunks(&chunked, ends.iter().copied())?;
        let bytes = u64::from(last - first + 1) * (chunk_bytes + RECORD_OVERHEAD as u64);
        self.room_for_chunks(size(bytes))?;
        let expires_at = self.within_policy(key, expires_at);
        self.together(|cx| {
            let now = cx.now;
            for number in first..=last {
                let start = u64::from(number) * chunk_bytes;
                let stop = (start + chunk_bytes).min(len);
                let mut chunk = vec![0; size(stop - start)];
                if let Some(at) = ends.iter().position(|end| *end == number) {
                    let there = kept[at].len().min(chunk.len());
                    chunk[..there].copy_from_slice(&kept[at][..there]);
                }
                let (from, to) = (offset.max(start), end.min(stop));
                if from < to {
                    chunk[size(from - start)..size(to - start)]
                        .copy_from_slice(&part[size(from - offset)..size(to - offset)]);
                }
                let shard = cx.shard()?;
                shard.replace_chunk(&mut chunked, number, &chunk, now).map_err(write::refusal)?;
            }
            let tag = Kind::String.tag();
            let lsn = cx
                .shard()?
                .rewrite_chunked(key, tag, &chunked, expires_at, &Label::NONE, now)
                .map_err(write::refusal)?;
            cx.written(key, lsn);
            Ok(())
        })
    }

    /// Makes sure that chunks can be written now.
    fn room_for_chunks(&mut self, bytes: usize) -> Outcome {
        if self.overlay.is_some() {
            return Err(BESIDE_SCRIPT);
        }
        match self.shard()?.room(bytes) {
            Room::Yes => Ok(()),
            // Room for all of a transaction was made sure of before it began.
            Room::Wait if self.atomic => Ok(()),
            Room::Wait => Err(Stop::Room),
            Room::Full => Err(text::FULL),
            Room::Poisoned => Err(text::POISONED),
        }
    }
}

/// The version of a value.
fn stamp_of(found: Option<&Found>) -> Stamp {
    let chunked = found.and_then(|found| found.chunked);
    let lsn = found.filter(|_| chunked.is_none()).map_or(Lsn::NONE, |found| found.lsn);
    Stamp { lsn, chunked }
}
