//! One connection without its socket: bytes in, ordered replies out.
//!
//! Owns: the input buffer, the parser's progress; the output is in `output`.
//! Never knows: sockets, what a command means.
//! Invariant: memory follows what has arrived, whatever was announced.

use crate::output::Output;
use crate::resp::Parser;

/// Size of a fresh input buffer, and of the reads of a client that sends small commands.
pub const INPUT_BYTES: usize = 16 << 10;
/// Spare buffers. Last in, first out: the warmest in the cache comes next.
#[derive(Debug, Default)]
pub struct BufferPool {
    inputs: Vec<Vec<u8>>,
    pub(crate) outputs: Vec<Vec<u8>>,
}

impl BufferPool {
    /// Buffers of each kind kept for reuse, so that idle connections hold none.
    pub(crate) const MAX: usize = 256;
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

    /// Removes `bytes` unread bytes that begin `offset` behind the first one.
    pub fn cut(&mut self, offset: usize, bytes: usize) {
        let from = self.start + offset;
        assert!(from + bytes <= self.end, "only what has been received is removed");
        self.data.copy_within(from + bytes..self.end, from);
        self.end -= bytes;
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
            if data.len() == INPUT_BYTES && pool.inputs.len() < BufferPool::MAX {
                pool.inputs.push(data);
            }
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
