//! One connection without its socket: bytes in, ordered replies out.
//!
//! Owns: the input buffer, the parser's progress, the output with its barriers.
//! Never knows: sockets, what a command means.
//! Invariant: output leaves in order, and no byte leaves before every barrier at or before it has
//! been acknowledged.

use std::collections::VecDeque;

use emberlog_engine::Lsn;

use crate::resp::Parser;

/// Size of a fresh input buffer, and of the reads of a client that sends small commands.
pub const INPUT_BYTES: usize = 16 << 10;
/// Buffers kept for reuse, so that idle connections hold none.
const POOL_MAX: usize = 256;
/// Output buffers larger than this are freed rather than kept.
const OUTPUT_KEEP_BYTES: usize = 64 << 10;

/// Spare buffers. Last in, first out: the warmest in the cache comes next.
#[derive(Debug, Default)]
pub struct BufferPool {
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

/// Received bytes that have not been consumed.
#[derive(Debug, Default)]
pub struct Input {
    /// Initialised memory; empty while the connection is idle.
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// The bytes that have not been consumed.
    pub fn unread(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Number of bytes that have not been consumed.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether everything has been consumed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.data.len()
    }

    /// The room made by [`Input::space`].
    pub fn tail(&mut self) -> &mut [u8] {
        &mut self.data[self.end..]
    }

    /// Room for the next read: never empty. `missing` is how much the current argument still needs
    /// at least; memory follows what has arrived, at most doubling, whatever was announced.
    pub fn space(&mut self, missing: usize, pool: &mut BufferPool) -> &mut [u8] {
        if self.data.is_empty() {
            self.data = pool.inputs.pop().unwrap_or_else(|| vec![0; INPUT_BYTES]);
        }
        let tail = self.data.len() - self.end;
        if tail < missing.min(INPUT_BYTES / 2) || tail == 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let wanted = self.end.saturating_add(missing.max(INPUT_BYTES / 2));
            if wanted > self.data.len() {
                let len = wanted.min((self.data.len() * 2).max(INPUT_BYTES));
                self.data.reserve_exact(len - self.data.len());
                self.data.resize(len, 0);
            }
        }
        &mut self.data[self.end..]
    }

    /// Counts `bytes` bytes that were read into [`Input::space`].
    pub fn received(&mut self, bytes: usize) {
        assert!(bytes <= self.data.len() - self.end, "a read fits the space it was given");
        self.end += bytes;
    }

    /// Drops the first `bytes` unread bytes.
    pub fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "only what has been received is consumed");
        self.start += bytes;
    }

    /// Gives back what the unread bytes do not need, for a client that is taking its time.
    pub fn shrink(&mut self) {
        let len = self.len();
        if self.data.len() > len + INPUT_BYTES / 8 {
            let mut data = Vec::with_capacity(len);
            data.extend_from_slice(self.unread());
            self.data = data;
            (self.start, self.end) = (0, len);
        }
    }

    /// Gives the buffer back if nothing is unread.
    pub fn rest(&mut self, pool: &mut BufferPool) {
        if self.is_empty() && !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            (self.start, self.end) = (0, 0);
            if data.len() == INPUT_BYTES && pool.inputs.len() < POOL_MAX {
                pool.inputs.push(data);
            }
        }
    }
}

/// Replies that have not left: a buffer, and behind it the pieces of a long reply, if there is one.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// What follows `bytes`. New replies go to the last piece.
    pieces: VecDeque<Vec<u8>>,
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
        if let Some(last) = self.pieces.back_mut() {
            return last;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = pool.outputs.pop().unwrap_or_default();
        }
        &mut self.bytes
    }

    /// Bytes in the buffer, sent ones included: where the next reply starts.
    pub fn position(&self) -> usize {
        self.pieces.back().unwrap_or(&self.bytes).len()
    }

    /// Appends the pieces of a reply whose beginning is in the buffer, without copying them.
    pub fn append(&mut self, pieces: Vec<Vec<u8>>) {
        self.pieces.extend(pieces);
    }

    /// Bytes that have not left.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent + self.pieces.iter().map(Vec::len).sum::<usize>()
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
            let next = self.pieces.pop_front();
            self.moved += u64::from(next.is_some());
            let mut bytes = std::mem::replace(&mut self.bytes, next.unwrap_or_default());
            bytes.clear();
            if bytes.capacity() <= OUTPUT_KEEP_BYTES && pool.outputs.len() < POOL_MAX {
                pool.outputs.push(bytes);
            }
        } else if self.sent > OUTPUT_KEEP_BYTES && self.sent > self.bytes.len() / 2 {
            let gone = std::mem::take(&mut self.sent);
            self.bytes.drain(..gone);
            for (start, _) in &mut self.holds {
                if start.piece == self.moved {
                    start.byte -= gone;
                }
            }
        }
    }

    /// Replaces everything that waits for an acknowledgement, which will never come, by `error`.
    pub fn fail(&mut self, error: &[u8]) {
        if let Some((start, _)) = self.holds.front() {
            self.pieces.truncate((start.piece - self.moved) as usize);
            let last = self.pieces.back_mut().unwrap_or(&mut self.bytes);
            last.truncate(start.byte);
            self.holds.clear();
            last.extend_from_slice(error);
        }
    }
}

/// The sans-I/O half of a connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// Received bytes.
    pub input: Input,
    /// Progress within the current command.
    pub parser: Parser,
    /// Replies.
    pub output: Output,
    /// How many bytes the current argument still needs at least.
    pub missing: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(output: &Output) -> &str {
        std::str::from_utf8(output.ready()).unwrap()
    }

    #[test]
    fn output_leaves_in_order_behind_its_barriers() {
        let (mut output, mut pool) = (Output::default(), BufferPool::default());
        output.buffer(&mut pool).extend(b"a");
        for (text, barrier) in [("b", 5), ("c", 3), ("d", 7)] {
            let start = output.position();
            output.buffer(&mut pool).extend(text.as_bytes());
            output.hold(start, Hold { barrier: Lsn(barrier), durable: false });
        }
        assert_eq!(ready(&output), "a");
        output.sent(1, &mut pool);
        output.release(Lsn(4), Lsn::NONE);
        assert_eq!(ready(&output), "", "c waits behind b");
        output.release(Lsn(5), Lsn::NONE);
        assert_eq!(ready(&output), "bc");
        output.release(Lsn(7), Lsn::NONE);
        assert_eq!(ready(&output), "bcd");
        output.sent(3, &mut pool);
        assert_eq!((output.pending(), output.position(), output.is_held()), (0, 0, false));
    }

    #[test]
    fn some_replies_wait_for_the_disk_whatever_counts_as_acknowledged() {
        let (mut output, mut pool) = (Output::default(), BufferPool::default());
        for (text, barrier, durable) in [("a", 5, false), ("b", 5, true), ("c", 6, false)] {
            let start = output.position();
            output.buffer(&mut pool).extend(text.as_bytes());
            output.hold(start, Hold { barrier: Lsn(barrier), durable });
        }
        output.release(Lsn(9), Lsn(4));
        assert_eq!(ready(&output), "a");
        output.release(Lsn(9), Lsn(5));
        assert_eq!(ready(&output), "abc");
    }

    #[test]
    fn a_long_reply_leaves_in_pieces_and_what_follows_it_comes_behind_them() {
        let (mut output, mut pool) = (Output::default(), BufferPool::default());
        let hold = |barrier| Hold { barrier: Lsn(barrier), durable: false };
        output.buffer(&mut pool).extend(b"a");
        let start = output.position();
        output.buffer(&mut pool).extend(b"b");
        output.hold(start, hold(5));
        output.append(vec![b"cc".to_vec(), b"dd".to_vec()]);
        let start = output.position();
        output.buffer(&mut pool).extend(b"e");
        output.hold(start, hold(7));
        assert_eq!((ready(&output), output.pending()), ("a", 7));
        output.sent(1, &mut pool);
        assert_eq!(ready(&output), "");
        output.release(Lsn(5), Lsn::NONE);
        let mut left = String::new();
        while !output.ready().is_empty() {
            left.push_str(&ready(&output)[..1]);
            output.sent(1, &mut pool);
        }
        assert_eq!((left.as_str(), output.pending()), ("bccdd", 1), "e waits");
        output.fail(b"-IOERR");
        assert_eq!(ready(&output), "-IOERR");
        output.sent(6, &mut pool);
        assert_eq!((output.pending(), output.position(), output.is_held()), (0, 0, false));
    }

    #[test]
    fn a_long_reply_that_will_never_be_acknowledged_is_dropped_with_its_pieces() {
        let (mut output, mut pool) = (Output::default(), BufferPool::default());
        output.buffer(&mut pool).extend(b"ab");
        output.hold(1, Hold { barrier: Lsn(5), durable: false });
        output.append(vec![b"cc".to_vec(), b"dd".to_vec()]);
        output.fail(b"-IOERR");
        assert_eq!((ready(&output), output.pending()), ("a-IOERR", 7));
    }

    #[test]
    fn what_will_never_be_acknowledged_becomes_an_error() {
        let (mut output, mut pool) = (Output::default(), BufferPool::default());
        output.buffer(&mut pool).extend(b"+a\r\n+b\r\n+c\r\n");
        output.hold(4, Hold { barrier: Lsn(9), durable: false });
        output.fail(b"-IOERR\r\n");
        assert_eq!(ready(&output), "+a\r\n-IOERR\r\n");
    }

    #[test]
    fn memory_follows_what_arrived_not_what_was_announced() {
        let (mut input, mut pool) = (Input::default(), BufferPool::default());
        let announced = 1 << 30;
        for _ in 0..4 {
            let space = input.space(announced, &mut pool).len();
            input.received(space);
        }
        assert!(input.capacity() <= INPUT_BYTES << 3, "{}", input.capacity());
        let unread = input.len();
        input.consume(unread);
        input.rest(&mut pool);
        assert_eq!(input.capacity(), 0);
    }

    #[test]
    fn unread_bytes_survive_compaction_and_growth() {
        let (mut input, mut pool) = (Input::default(), BufferPool::default());
        let mut expected = Vec::new();
        for round in 0u8..200 {
            let space = input.space(1, &mut pool);
            let n = space.len().min(997);
            space[..n].fill(round);
            input.received(n);
            expected.extend(std::iter::repeat_n(round, n));
            let gone = expected.len().min(500);
            assert_eq!(input.unread(), expected);
            input.consume(gone);
            expected.drain(..gone);
        }
    }
}
