//! Arguments that are too long to be kept: what arrives of them goes to the store at once, chunk by
//! chunk, or nowhere.
//!
//! The value of SET and its relatives goes to the store while it is received. The command runs when it is
//! complete, with an empty argument in the place of the value, and makes the chunks the value of
//! its key, or lets them go. A long argument that no command could store is dropped as it arrives, and the
//! command is answered by an error, so that the connection goes on.
//!
//! Owns: [`Intake`], which arguments are taken in.
//! Never knows: sockets, what the commands do.
//! Invariant: a client's buffers stay small however long an argument is; no command sees the empty
//! argument as a value; chunks that no command has taken are given back.

use emberlog_engine::{Chunked, Room, Shard, Upload};

use super::Server;
use super::client::{Client, Session, Wait};
use crate::command::{RECORD_OVERHEAD, Stop, refusal, streamed_argument, text};
use crate::resp::Long;

/// Longest argument that any command may have: what is longer has to be the value of one of the
/// commands that take it in.
pub const KEPT_MAX: usize = 64 << 20;

/// A long argument, or what has arrived of it.
pub struct Intake {
    /// Which argument.
    pub argument: usize,
    /// What becomes of it.
    pub taken: Taken,
}

/// What becomes of a long argument.
pub enum Taken {
    /// It is in the store, and belongs to no key yet.
    Chunks(Upload),
    /// It is dropped, and this is the answer to its command.
    Refused(Stop),
}

impl Intake {
    /// What is in the store of it, as if it were a key's value.
    pub(super) fn chunked(&self) -> Option<Chunked> {
        match &self.taken {
            Taken::Chunks(Upload { id, len, chunk_bytes, .. }) => {
                Some(Chunked { id: *id, len: *len, chunk_bytes: *chunk_bytes })
            }
            Taken::Refused(_) => None,
        }
    }
}

impl Session {
    /// The answer to a command with an argument that could not be taken.
    pub fn refused_intake(&self) -> Option<Stop> {
        match &self.intake {
            Some(Intake { taken: Taken::Refused(stop), .. }) => Some(stop.clone()),
            _ => None,
        }
    }

    /// Gives the chunks of a long argument back that no command has taken.
    pub(super) fn drop_intake(&mut self, shard: Option<&mut Shard>) {
        if let (Some(Intake { taken: Taken::Chunks(upload), .. }), Some(shard)) =
            (self.intake.take(), shard)
        {
            shard.drop_upload(upload);
        }
    }
}

impl Server {
    /// Longest argument that is collected before [`Server::take_in`] is asked.
    pub(super) fn whole_max(&self) -> usize {
        self.shard.as_ref().map_or(KEPT_MAX, |shard| shard.value_bytes_max().min(KEPT_MAX))
    }

    /// Takes in what has arrived of a long argument. Returns whether there is something to parse again.
    pub(super) fn take_in(&mut self, client: &mut Client, long: Long) -> bool {
        let begun = client.session.intake.as_ref();
        if begun.is_none_or(|intake| intake.argument != long.argument) {
            let Some(taken) = self.begin_intake(client, long) else {
                client.connection.parser.keep();
                return true;
            };
            client.session.drop_intake(self.shard.as_mut());
            client.session.intake = Some(Intake { argument: long.argument, taken });
        }
        let available = long.left.min(client.connection.input.len() - long.offset);
        let (piece, taken) = self.take_chunks(client, long, available);
        client.connection.input.cut(long.offset, taken);
        client.connection.parser.taken(taken);
        if taken == long.left {
            client.connection.missing = 1;
            return true;
        }
        let left = long.left - taken;
        // At least one: what is there of a chunk, if it has to wait for room, is all of it.
        client.connection.missing = piece.min(left).saturating_sub(available - taken).max(1);
        // All of the command may be here, and wait for room.
        client.drained = client.wait == Wait::Nothing;
        false
    }

    /// What is to become of a long argument. `None`: it is kept.
    fn begin_intake(&mut self, client: &Client, long: Long) -> Option<Taken> {
        let args = client.connection.parser.args_so_far(client.connection.input.unread());
        let streamed = args.get(0).and_then(streamed_argument) == Some(long.argument);
        match &mut self.shard {
            // A queue keeps its arguments.
            Some(shard)
                if streamed
                    && client.session.intake.is_none()
                    && !client.session.transaction.open =>
            {
                Some(Taken::Chunks(shard.begin_chunks()))
            }
            _ if long.length <= KEPT_MAX => None,
            None => Some(Taken::Refused(text::LOADING)),
            Some(_) => Some(Taken::Refused(Stop::Error(
                format!("ERR an argument of {} bytes is too large for this command", long.length)
                    .into(),
            ))),
        }
    }

    /// Moves whole chunks of what is there to the store. Returns the length of a chunk, and how many bytes
    /// are done with.
    fn take_chunks(&mut self, client: &mut Client, long: Long, available: usize) -> (usize, usize) {
        let Some(shard) = &mut self.shard else { return (available, available) };
        let Some(Intake { taken: Taken::Chunks(upload), .. }) = &mut client.session.intake else {
            return (shard.chunk_bytes(), available);
        };
        let chunk = shard.chunk_bytes();
        let mut done = 0;
        let refused = loop {
            let bytes = chunk.min(long.left - done);
            if bytes == 0 || available - done < bytes {
                return (chunk, done);
            }
            let start = long.offset + done;
            let piece = &client.connection.input.unread()[start..start + bytes];
            match shard.room(bytes + RECORD_OVERHEAD) {
                Room::Yes => match shard.put_chunk(upload, piece, self.now) {
                    Ok(_) => done += bytes,
                    Err(refused) => break refusal(refused),
                },
                Room::Wait => {
                    self.suspend(client, &Stop::Room);
                    return (chunk, done);
                }
                Room::Full => break text::FULL,
                Room::Poisoned => break text::POISONED,
            }
        };
        client.session.drop_intake(self.shard.as_mut());
        let taken = Taken::Refused(refused);
        client.session.intake = Some(Intake { argument: long.argument, taken });
        (chunk, available)
    }
}
