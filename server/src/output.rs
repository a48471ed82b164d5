//! A client's replies that have not left, in order, each behind its barrier.
//!
//! Owns: the buffers, the barriers, how far a long value has been sent.
//! Never knows: sockets, what a reply means, where a long value comes from.
//! Invariant: output leaves in order, no byte leaves before every barrier at or before it has been
//! acknowledged, and of a long value at most one chunk is here.

use std::collections::VecDeque;

use emberlog_engine::{Chunked, Lsn};

use crate::connection::BufferPool;

/// Output buffers larger than this are freed rather than kept.
const OUTPUT_KEEP_BYTES: usize = 64 << 10;

/// A part of a large value that is sent without ever being in RAM as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// The value, whose chunks are held until the fetch ends.
    pub chunked: Chunked,
    /// The next byte of it.
    pub next: u64,
    /// One past its last byte that is wanted.
    pub end: u64,
}

impl Fetch {
    /// Bytes that have not been copied to the output.
    fn left(&self) -> usize {
        usize::try_from(self.end - self.next).unwrap_or(usize::MAX)
    }
}

/// What follows the buffer that is being sent.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Fetch(Fetch),
}

impl Piece {
    fn pending(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Fetch(fetch) => fetch.left(),
        }
    }
}

/// Replies that have not left: a buffer, and behind it the pieces of a long reply, if there is one.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// The large value of which `bytes` is a part; there are pieces behind it.
    fetch: Option<Fetch>,
    /// What follows `bytes` and the fetch. The last one is never a fetch; new replies go to it.
    pieces: VecDeque<Piece>,
    /// Values that are needed no longer.
    ended: Vec<Chunked>,
    /// Pieces that have become `bytes` so far.
    moved: u64,
    /// From a start on, nothing leaves before its hold is released.
    holds: VecDeque<(Start, Hold)>,
}

/// Where a reply starts: its piece, counted over all of them with `bytes`, and the byte in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Start {
    piece: u64,
    byte: usize,
}

/// What a reply waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold {
    /// This LSN is acknowledged.
    pub barrier: Lsn,
    /// It is on stable storage, whatever counts as acknowledged.
    pub durable: bool,
}

impl Hold {
    /// Whether waiting for this is waiting for `other` too.
    fn covers(self, other: Hold) -> bool {
        self.barrier >= other.barrier && (self.durable || !other.durable)
    }
}

impl Output {
    /// The buffer that replies are appended to.
    pub fn buffer(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        if let Some(Piece::Bytes(last)) = self.pieces.back_mut() {
            return last;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = pool.outputs.pop().unwrap_or_default();
        }
        &mut self.bytes
    }

    /// Bytes in the buffer, sent ones included: where the next reply starts.
    pub fn position(&self) -> usize {
        self.pieces.back().map_or(self.bytes.len(), Piece::pending)
    }

    /// Appends the pieces of a reply whose beginning is in the buffer, without copying them.
    pub fn append(&mut self, pieces: Vec<Vec<u8>>) {
        self.pieces.extend(pieces.into_iter().map(Piece::Bytes));
    }

    /// Puts large values into the reply that begins at byte `start` of the buffer, each at its byte of
    /// the buffer, in order. To be called after [`Output::hold`].
    pub fn insert(&mut self, fetches: &[(usize, Fetch)]) {
        let mut tails = Vec::new();
        let last = match self.pieces.back_mut() {
            Some(Piece::Bytes(last)) => last,
            _ => &mut self.bytes,
        };
        for (byte, _) in fetches.iter().rev() {
            tails.push(last.split_off(*byte));
        }
        for ((_, fetch), tail) in fetches.iter().zip(tails.into_iter().rev()) {
            self.pieces.extend([Piece::Fetch(*fetch), Piece::Bytes(tail)]);
        }
    }

    /// Bytes that have not left, those of large values that are not here included.
    pub fn pending(&self) -> usize {
        let fetch = self.fetch.as_ref().map_or(0, Fetch::left);
        self.bytes.len() - self.sent + fetch + self.pieces.iter().map(Piece::pending).sum::<usize>()
    }

    /// Bytes of RAM that wait to leave.
    pub fn buffered(&self) -> usize {
        let bytes = |piece: &Piece| if let Piece::Bytes(bytes) = piece { bytes.len() } else { 0 };
        self.bytes.len() - self.sent + self.pieces.iter().map(bytes).sum::<usize>()
    }

    /// The large value whose next part is needed for the output to go on.
    pub fn hungry(&self) -> Option<Fetch> {
        self.fetch.filter(|fetch| self.bytes.is_empty() && fetch.next < fetch.end)
    }

    /// Gives the part that [`Output::hungry`] has asked for: as much as there is from `next` on, at
    /// most to `end`.
    ///
    /// # Panics
    /// If nothing was asked for, or not so much.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| bytes.len() <= fetch.left()) else {
            panic!("only what was asked for is given")
        };
        fetch.next += bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
    }

    /// Large values that the output needs no longer.
    pub fn take_ended(&mut self) -> Vec<Chunked> {
        std::mem::take(&mut self.ended)
    }

    /// Forgets everything that has not left.
    pub fn clear(&mut self) {
        self.ended.extend(self.fetch.take().map(|fetch| fetch.chunked));
        self.bytes.clear();
        self.sent = 0;
        self.holds.clear();
        self.drop_pieces(0);
    }

    /// Keeps the first `count` pieces.
    fn drop_pieces(&mut self, count: usize) {
        for piece in self.pieces.drain(count.min(self.pieces.len())..) {
            if let Piece::Fetch(fetch) = piece {
                self.ended.push(fetch.chunked);
            }
        }
    }

    /// Holds everything from byte `byte` of the buffer on back.
    pub fn hold(&mut self, byte: usize, hold: Hold) {
        if self.holds.back().is_none_or(|(_, last)| !last.covers(hold)) {
            let start = Start { piece: self.moved + self.pieces.len() as u64, byte };
            self.holds.push_back((start, hold));
        }
    }

    /// Whether something waits for an acknowledgement.
    pub fn is_held(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Lets go of what waited for barriers up to `acked`, or up to `durable` on stable storage.
    pub fn release(&mut self, acked: Lsn, durable: Lsn) {
        let over = |hold: &Hold| hold.barrier <= if hold.durable { durable } else { acked };
        while self.holds.front().is_some_and(|(_, hold)| over(hold)) {
            self.holds.pop_front();
        }
    }

    /// The bytes that may leave now.
    pub fn ready(&self) -> &[u8] {
        let here = self.holds.front().filter(|(start, _)| start.piece == self.moved);
        let end = here.map_or(self.bytes.len(), |(start, _)| start.byte);
        self.bytes.get(self.sent..end).unwrap_or_default()
    }

    /// Counts `bytes` bytes of [`Output::ready`] as sent.
    pub fn sent(&mut self, bytes: usize, pool: &mut BufferPool) {
        self.sent += bytes;
        assert!(self.sent <= self.bytes.len(), "only what is there is sent");
        if self.sent == self.bytes.len() {
            self.sent = 0;
            if self.fetch.is_some_and(|fetch| fetch.next < fetch.end) {
                self.bytes.clear();
            } else {
                self.next_piece(pool);
            }
        } else if self.sent > OUTPUT_KEEP_BYTES
            && self.sent > self.bytes.len() / 2
            && self.fetch.is_none()
        {
            let gone = std::mem::take(&mut self.sent);
            self.bytes.drain(..gone);
            for (start, _) in &mut self.holds {
                if start.piece == self.moved {
                    start.byte -= gone;
                }
            }
        }
    }

    /// Goes on with what follows the buffer, which has left.
    fn next_piece(&mut self, pool: &mut BufferPool) {
        self.ended.extend(self.fetch.take().map(|fetch| fetch.chunked));
        let next = self.pieces.pop_front();
        self.moved += u64::from(next.is_some());
        let next = match next {
            Some(Piece::Bytes(bytes)) => bytes,
            Some(Piece::Fetch(fetch)) => {
                self.fetch = Some(fetch);
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut bytes = std::mem::replace(&mut self.bytes, next);
        bytes.clear();
        if bytes.capacity() <= OUTPUT_KEEP_BYTES && pool.outputs.len() < BufferPool::MAX {
            pool.outputs.push(bytes);
        }
    }

    /// Replaces everything that waits for an acknowledgement, which will never come, by `error`.
    pub fn fail(&mut self, error: &[u8]) {
        if let Some((start, _)) = self.holds.front().copied() {
            self.drop_pieces((start.piece - self.moved) as usize);
            let last = match self.pieces.back_mut() {
                Some(Piece::Bytes(last)) => last,
                _ => &mut self.bytes,
            };
            last.truncate(start.byte);
            self.holds.clear();
            last.extend_from_slice(error);
        }
    }
}

#[cfg(test)]
mod tests;
