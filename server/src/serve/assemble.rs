//! Large values made of parts of others: COPY, RENAME, and changes that are too long to be made in place.
//!
//! A command that needs it says what the value is to be made of ([`Plan`]) and waits; the value is
//! put together in the store, chunk by chunk, a little in each turn; then the command runs again and
//! makes it the value of its key, if what it was made of is still what is there.
//!
//! Owns: [`Plan`], [`Assembly`].
//! Never knows: what any command does.
//! Invariant: at most one chunk of what is put together is in RAM, and one chunk of what it is made of;
//! what it is made of does not change meanwhile; chunks that no command has taken are given back.

use std::ops::Range;

use emberlog_engine::{Chunked, Lookup, Lsn, Room, Shard, Upload, Value};

use super::Server;
use super::client::{Client, Session, Wait};
use crate::command::{RECORD_OVERHEAD, Stop, refusal, text};

/// Bytes that are put together in one turn for one client.
const TURN_BYTES: usize = 2 << 20;

/// What a value is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The version of what it is made of.
    pub stamp: Stamp,
    /// Its parts, in order.
    pub sources: Vec<Source>,
}

/// The version of a key's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The mutation that wrote it, if it is not large.
    pub lsn: Lsn,
    /// Its chunks, which do not change while they are read.
    pub chunked: Option<Chunked>,
}

/// A part of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// So many zeros.
    Zeros(u64),
    /// Some bytes of a value in RAM.
    Value(Value, Range<u64>),
    /// An argument of the command.
    Argument(usize),
    /// The argument that was taken in.
    Taken,
    /// Some bytes of a large value.
    Chunks(Chunked, Range<u64>),
}

/// A value that is being put together.
pub struct Assembly {
    plan: Plan,
    upload: Option<Upload>,
    /// The source that comes next, and how much of it has been used.
    next: usize,
    used: u64,
    /// The chunk that is being filled.
    chunk: Vec<u8>,
    /// How it has ended.
    outcome: Option<Result<(), Stop>>,
}

impl Assembly {
    /// Whether it goes on.
    fn is_under_way(&self) -> bool {
        self.outcome.is_none()
    }

    /// The version of what it is made of.
    pub fn stamp(&self) -> Stamp {
        self.plan.stamp
    }

    /// The large values that it is made of.
    fn large(&self) -> impl Iterator<Item = Chunked> + '_ {
        self.plan.sources.iter().filter_map(|source| match source {
            Source::Chunks(chunked, _) => Some(*chunked),
            _ => None,
        })
    }

    /// Ends it: what it was made of may change again. The chunks, or why there are none.
    ///
    /// # Errors
    /// It has failed.
    pub fn end(mut self, shard: &mut Shard) -> Result<Upload, Stop> {
        let large: Vec<Chunked> = self.large().collect();
        for chunked in large {
            shard.unpin_chunks(&chunked);
        }
        let upload = self.upload.take();
        match (self.outcome, upload) {
            (Some(Ok(())), Some(upload)) => Ok(upload),
            (outcome, upload) => {
                if let Some(upload) = upload {
                    shard.drop_upload(upload);
                }
                Err(outcome.and_then(Result::err).unwrap_or(text::READ_FAILED))
            }
        }
    }
}

/// What a step has come to.
enum Step {
    /// More of the same.
    Go,
    /// Enough for this client in this turn.
    Turn,
    /// It has to wait, which is seen to.
    Waits,
}

impl Session {
    /// Gives back what was put together and not used.
    pub(super) fn drop_assembly(&mut self, shard: Option<&mut Shard>) {
        if let (Some(assembly), Some(shard)) = (self.assembly.take(), shard)
            && let Ok(upload) = assembly.end(shard)
        {
            shard.drop_upload(upload);
        }
    }
}

impl Server {
    /// Begins to put a value together for the client, whose command runs again afterwards.
    pub(super) fn begin_assembly(&mut self, client: &mut Client, plan: Plan) {
        client.session.drop_assembly(self.shard.as_mut());
        let Some(shard) = &mut self.shard else { return };
        let upload = Some(shard.begin_chunks());
        let chunk = Vec::with_capacity(shard.chunk_bytes());
        let assembly = Assembly { plan, upload, next: 0, used: 0, chunk, outcome: None };
        for chunked in assembly.large() {
            shard.pin_chunks(&chunked);
        }
        client.session.assembly = Some(Box::new(assembly));
        self.wait_for_turn(client);
    }

    fn wait_for_turn(&mut self, client: &mut Client) {
        client.wait = Wait::Turn;
        self.next_turn.push(client.session.key);
    }

    /// Goes on with what is being put together for the client, if anything is. Returns whether its command may
    /// run.
    pub(super) fn assemble(&mut self, client: &mut Client) -> bool {
        if !client.session.assembly.as_ref().is_some_and(|assembly| assembly.is_under_way()) {
            return true;
        }
        let mut bytes = 0;
        loop {
            match self.assemble_step(client, &mut bytes) {
                Ok(Step::Go) => {
                    let assembly = client.session.assembly.as_ref();
                    if !assembly.is_some_and(|assembly| assembly.is_under_way()) {
                        return true;
                    }
                }
                Ok(Step::Turn) => {
                    self.wait_for_turn(client);
                    return false;
                }
                Ok(Step::Waits) => return false,
                Err(stop) => {
                    if let Some(assembly) = &mut client.session.assembly {
                        assembly.outcome = Some(Err(stop));
                    }
                    return true;
                }
            }
        }
    }

    /// Puts the chunk into the store, and ends if there is no more.
    fn put_assembled(
        &mut self,
        client: &mut Client,
        is_last: bool,
        bytes: &mut usize,
    ) -> Result<Step, Stop> {
        let (Some(shard), Some(assembly)) = (&mut self.shard, &mut client.session.assembly) else {
            return Err(text::LOADING);
        };
        if !assembly.chunk.is_empty() {
            match shard.room(assembly.chunk.len() + RECORD_OVERHEAD) {
                Room::Yes => {}
                Room::Wait => {
                    self.suspend(client, &Stop::Room);
                    return Ok(Step::Waits);
                }
                Room::Full => return Err(text::FULL),
                Room::Poisoned => return Err(text::POISONED),
            }
            if *bytes >= TURN_BYTES {
                return Ok(Step::Turn);
            }
            if let Some(upload) = &mut assembly.upload {
                shard.put_chunk(upload, &assembly.chunk, self.now).map_err(refusal)?;
            }
            *bytes += assembly.chunk.len();
            self.moved_bytes += assembly.chunk.len();
            assembly.chunk.clear();
        }
        if is_last {
            assembly.outcome = Some(Ok(()));
        }
        Ok(Step::Go)
    }

    /// Fills the chunk further, or puts it into the store.
    fn assemble_step(&mut self, client: &mut Client, bytes: &mut usize) -> Result<Step, Stop> {
        let now = self.now;
        let (Some(shard), Some(assembly)) = (&mut self.shard, &mut client.session.assembly) else {
            return Err(text::LOADING);
        };
        let source = assembly.plan.sources.get(assembly.next).cloned();
        let free = shard.chunk_bytes() - assembly.chunk.len();
        if free == 0 || source.is_none() {
            return self.put_assembled(client, source.is_none(), bytes);
        }
        let free = free as u64;
        let used = assembly.used;
        let source = match source {
            Some(Source::Taken) => client.session.intake.as_ref().and_then(|intake| {
                let chunked = intake.chunked()?;
                Some(Source::Chunks(chunked, 0..chunked.len))
            }),
            source => source,
        };
        let (added, len) = match source {
            None | Some(Source::Taken) => return Err(text::READ_FAILED),
            Some(Source::Zeros(len)) => {
                let added = free.min(len - used);
                assembly.chunk.resize(assembly.chunk.len() + clamp(added), 0);
                (added, len)
            }
            Some(Source::Value(value, range)) => {
                let len = range.end - range.start;
                (extend(&mut assembly.chunk, &value, range.start + used, free.min(len - used)), len)
            }
            Some(Source::Argument(at)) => {
                let input = client.connection.input.unread();
                let argument = client.connection.parser.args(input).at(at);
                (extend(&mut assembly.chunk, argument, used, free), argument.len() as u64)
            }
            Some(Source::Chunks(chunked, range)) => {
                let (number, from) = chunk_at(&chunked, range.start + used);
                let mut name = [0; 12];
                let key = shard.chunk_key(&chunked, number, &mut name);
                let value = match shard.lookup(&key, now) {
                    Lookup::Found(found) => found.value,
                    Lookup::Cold if client.session.load_failed => return Err(text::READ_FAILED),
                    Lookup::Cold => {
                        let chunk = (key.namespace().0, key.bytes().into());
                        self.load_keys(client, vec![chunk]);
                        return Ok(Step::Waits);
                    }
                    Lookup::Absent { .. } | Lookup::Lost => return Err(text::CORRUPT),
                };
                if value.len() < chunked.chunk_len(number) {
                    return Err(text::CORRUPT);
                }
                let len = range.end - range.start;
                let added = extend(&mut assembly.chunk, &value, from, free.min(len - used));
                shard.release(super::suspend::ticket(client.session.key));
                client.pinned = false;
                (added, len)
            }
        };
        assembly.used += added;
        if assembly.used >= len {
            (assembly.next, assembly.used) = (assembly.next + 1, 0);
        }
        Ok(Step::Go)
    }
}

/// The chunk in which byte `at` of a large value is, and the byte's place in it.
#[expect(clippy::cast_possible_truncation, reason = "the number of a chunk is a u32")]
pub(crate) fn chunk_at(chunked: &Chunked, at: u64) -> (u32, u64) {
    let chunk_bytes = u64::from(chunked.chunk_bytes);
    ((at / chunk_bytes) as u32, at % chunk_bytes)
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Appends at most `most` bytes of `bytes` from `from` on. Returns how many.
fn extend(to: &mut Vec<u8>, bytes: &[u8], from: u64, most: u64) -> u64 {
    let rest = bytes.get(clamp(from)..).unwrap_or_default();
    let part = &rest[..rest.len().min(clamp(most))];
    to.extend_from_slice(part);
    part.len() as u64
}
