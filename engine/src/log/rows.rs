//! Footer rows of a segment, in pieces as they will be written.
//!
//! Owns: [`FooterRows`].
//! Never knows: what a row says, the trailer behind the rows.
//! Invariant: a piece begins at a multiple of [`PIECE_BYTES`] from the first row; what is not rows is zero.
//!
//! With small values the rows take half of a segment. Held in one piece, they would be copied while
//! they grow and once more at sealing, tens of milliseconds in which nobody is served, and would leave
//! holes in the heap as large as a third of the index.

use std::collections::VecDeque;

use crate::io::Buffer;

/// Bytes of a piece: a multiple of any block.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// The rows of the closed batches of a segment.
#[derive(Debug, Default)]
pub(crate) struct FooterRows {
    pieces: VecDeque<Buffer>,
    len: usize,
    taken: usize,
    crc: crc32fast::Hasher,
}

/// A piece of a footer, to be written.
pub(crate) struct Piece {
    /// Where it begins, from the first row.
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    pub(crate) buffer: Buffer,
}

impl FooterRows {
    /// Bytes of all rows that were appended.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends rows.
    pub(crate) fn append(&mut self, mut rows: &[u8]) {
        while !rows.is_empty() {
            let at = self.len % PIECE_BYTES;
            if at == 0 {
                self.pieces.push_back(Buffer::new(PIECE_BYTES));
            }
            let (now, later) = rows.split_at(rows.len().min(PIECE_BYTES - at));
            if let Some(piece) = self.pieces.back_mut() {
                piece[at..at + now.len()].copy_from_slice(now);
            }
            self.len += now.len();
            rows = later;
        }
    }

    /// The next piece of a footer of `length` bytes, rows first; none if all have been taken. Nothing may
    /// be appended any more.
    pub(crate) fn take(&mut self, length: usize) -> Option<Piece> {
        let offset = self.taken;
        let bytes = PIECE_BYTES.min(length.checked_sub(offset).filter(|left| *left > 0)?);
        let buffer = self.pieces.pop_front().unwrap_or_else(|| Buffer::new(PIECE_BYTES));
        self.crc.update(&buffer[..self.len.saturating_sub(offset).min(PIECE_BYTES)]);
        self.taken += bytes;
        Some(Piece { offset, bytes, buffer })
    }

    /// Checksum of the rows that have been taken.
    pub(crate) fn crc(&self) -> u32 {
        self.crc.clone().finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_comes_back_in_pieces_with_its_checksum() {
        for total in [0, 1, PIECE_BYTES - 64, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES - 7] {
            let rows: Vec<u8> = (0..total).map(|at| (at * 31 % 251) as u8).collect();
            let mut held = FooterRows::default();
            for part in rows.chunks(997) {
                held.append(part);
            }
            assert_eq!(held.len(), total);
            let length = (total + 64).next_multiple_of(4096);
            let mut footer = Vec::new();
            while let Some(piece) = held.take(length) {
                assert_eq!(piece.offset, footer.len());
                footer.extend_from_slice(&piece.buffer[..piece.bytes]);
            }
            assert_eq!(footer.len(), length);
            assert_eq!(footer[..total], rows[..]);
            assert!(footer[total..].iter().all(|byte| *byte == 0));
            assert_eq!(held.crc(), crc32fast::hash(&rows));
        }
    }
}
