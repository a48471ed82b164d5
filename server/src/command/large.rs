//! Large values: strings that are longer than one record, and so never in RAM as a whole.
//!
//! Owns: which commands take them in, replies that are sent chunk by chunk.
//! Never knows: sockets, how chunks are stored.
//! Invariant: a command that is not made for large values answers an error and changes nothing.

use std::ops::Range;

use emberlog_engine::{Chunked, Found, Lookup, Value};

use super::{Context, Outcome, Stop, parse, text};
use crate::output::Fetch;
use crate::serve::assemble::chunk_at;

/// The commands that take a long value in, and which argument it is.
static STREAMED: &[(&str, usize)] = &[
    ("set", 2),
    ("setnx", 2),
    ("setex", 3),
    ("psetex", 3),
    ("getset", 2),
    ("append", 2),
    ("setrange", 3),
];

/// The argument of the command called `name` that is taken in while it arrives, if there is one.
pub fn streamed_argument(name: &[u8]) -> Option<usize> {
    let is = |(command, _): &&(&str, usize)| command.as_bytes().eq_ignore_ascii_case(name);
    STREAMED.iter().find(is).map(|(_, argument)| *argument)
}

/// The answer of commands that are not made for large values.
pub(super) fn too_large_here(len: u64) -> Stop {
    parse::error(format!("ERR value of {len} bytes is too large for this command"))
}

/// Length of the string, in bytes.
pub(super) fn len_of(found: Option<&Found>) -> u64 {
    found.map_or(0, |found| found.chunked.map_or(found.value.len() as u64, |chunked| chunked.len))
}

pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl Context<'_> {
    /// Takes back everything after byte `start` of the reply.
    pub fn truncate(&mut self, start: usize) {
        self.reply.truncate(start);
        while let Some((_, fetch)) = self.session.fetches.pop_if(|(byte, _)| *byte > start) {
            if let Some(shard) = self.shard.as_deref_mut() {
                shard.unpin_chunks(&fetch.chunked);
            }
        }
    }

    /// Answers the bytes `range` of a string, from the disk while they are sent if it is large.
    ///
    /// # Errors
    /// It is large, and this is within a script; its first chunk cannot be read, or has to be loaded first.
    pub(super) fn reply_range(&mut self, found: &Found, range: Range<u64>) -> Outcome {
        let Some(chunked) = found.chunked else {
            self.reply.bulk(&found.value[size(range.start)..size(range.end)]);
            return Ok(());
        };
        if self.in_script {
            return Err(too_large_here(chunked.len));
        }
        if range.is_empty() {
            self.reply.bulk(&[]);
            return Ok(());
        }
        let (first, from) = chunk_at(&chunked, range.start);
        let (last, _) = chunk_at(&chunked, range.end - 1);
        // Damage can be told as long as nothing has been answered.
        if !self.atomic {
            let short =
                last - first < 2 && range.end - range.start <= u64::from(chunked.chunk_bytes);
            let chunks = self.chunks(&chunked, first..=if short { last } else { first })?;
            if short {
                let bytes: Vec<u8> =
                    chunks.iter().flat_map(|chunk| chunk.iter().copied()).collect();
                let to = from + (range.end - range.start);
                let bytes = bytes.get(size(from)..size(to)).ok_or(text::CORRUPT)?;
                self.reply.bulk(bytes);
                return Ok(());
            }
        }
        self.fetch(&chunked, range)
    }

    /// Answers a string, or that there is none.
    ///
    /// # Errors
    /// As [`Context::reply_range`].
    pub(super) fn reply_string(&mut self, found: Option<&Found>) -> Outcome {
        let Some(found) = found else {
            self.reply.null();
            return Ok(());
        };
        self.reply_range(found, 0..len_of(Some(found)))
    }

    /// As [`Context::reply_string`], for one of several: nothing is read beforehand.
    ///
    /// # Errors
    /// It is large, and this is within a script.
    pub(super) fn reply_one_of(&mut self, found: Option<&Found>) -> Outcome {
        match found.map(|found| (found, found.chunked)) {
            Some((_, Some(chunked))) if self.in_script => Err(too_large_here(chunked.len)),
            Some((_, Some(chunked))) => self.fetch(&chunked, 0..chunked.len),
            Some((found, None)) => {
                self.reply.bulk(&found.value);
                Ok(())
            }
            None => {
                self.reply.null();
                Ok(())
            }
        }
    }

    /// Has some bytes of a large value sent, and keeps its chunks until then.
    fn fetch(&mut self, chunked: &Chunked, range: Range<u64>) -> Outcome {
        let Some(shard) = self.shard.as_deref_mut() else { return Err(text::LOADING) };
        shard.pin_chunks(chunked);
        self.reply.bulk_header(size(range.end - range.start));
        let fetch = Fetch { chunked: *chunked, next: range.start, end: range.end };
        self.session.fetches.push((self.reply.len(), fetch));
        self.reply.raw(b"\r\n");
        Ok(())
    }

    /// Chunks of a large value, which are in RAM.
    ///
    /// # Errors
    /// They have to be loaded first, or cannot be read.
    pub(super) fn chunks(
        &mut self,
        chunked: &Chunked,
        numbers: impl Iterator<Item = u32>,
    ) -> Result<Vec<Value>, Stop> {
        let (mut found, mut cold) = (Vec::new(), Vec::new());
        let (now, failed) = (self.now, self.session.load_failed);
        for number in numbers {
            let mut name = [0; 12];
            let shard = self.shard()?;
            let key = shard.chunk_key(chunked, number, &mut name);
            match shard.lookup(&key, now) {
                Lookup::Found(chunk) if chunk.value.len() >= chunked.chunk_len(number) => {
                    self.barrier = self.barrier.max(chunk.barrier);
                    found.push(chunk.value);
                }
                Lookup::Cold if failed => return Err(text::READ_FAILED),
                Lookup::Cold => cold.push((key.namespace().0, Box::from(key.bytes()))),
                _ => return Err(text::CORRUPT),
            }
        }
        if cold.is_empty() { Ok(found) } else { Err(Stop::Load(cold)) }
    }
}
