//! Keys listed for a command that cannot list them in one step: SCAN, KEYS, RANDOMKEY.
//!
//! Owns: the request to the shard and the answers so far.
//! Never knows: patterns and reply shapes.
//! Invariant: a command that asks for keys has had no effect yet; it runs again with the answer.

use std::hash::{BuildHasher, RandomState};

use emberlog_engine::{Lsn, ScannedKey};
use hashbrown::HashTable;

use crate::resp::{Proto, Reply};

/// A request for keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Database to list.
    pub db: u16,
    /// Position of the command in the queue of MULTI, 0 outside of one.
    pub slot: usize,
    /// Which keys.
    pub what: What,
}

/// Which keys a command asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// About `count` keys from `cursor` on.
    Scan {
        /// 0 at the start.
        cursor: u64,
        /// How many.
        count: usize,
    },
    /// One key at random.
    Random,
}

/// The answers to one command, which is command `slot` of a transaction (0 outside of one).
#[derive(Debug)]
pub struct Gathered {
    /// Position in the queue of MULTI.
    pub slot: usize,
    /// The newest answer, until the command takes it.
    pub fresh: Option<Fresh>,
    /// Keys that the command has kept of earlier answers.
    pub kept: Listed,
    /// Keys in all answers, and how many answers there were.
    pub seen: (usize, usize),
    /// Where the listing goes on, 0 at the end.
    pub next: u64,
    /// LSN that must be acknowledged before what was kept is shown.
    pub barrier: Lsn,
}

impl Gathered {
    /// Nothing yet.
    pub fn new(slot: usize) -> Gathered {
        let (kept, barrier) = (Listed::default(), Lsn::NONE);
        Gathered { slot, fresh: None, kept, seen: (0, 0), next: 0, barrier }
    }

    /// Keeps the keys of the newest answer that are wanted. Returns whether there was one.
    pub fn keep(&mut self, mut wanted: impl FnMut(&ScannedKey) -> bool) -> bool {
        let Some(fresh) = self.fresh.take() else { return false };
        self.seen = (self.seen.0 + fresh.keys.len(), self.seen.1 + 1);
        for key in fresh.keys.iter().filter(|key| wanted(key)) {
            self.kept.push(&key.bytes);
        }
        self.next = fresh.next;
        self.barrier = self.barrier.max(fresh.barrier);
        true
    }
}

/// Bytes of a piece of a reply, about.
const PIECE_BYTES: usize = 64 << 10;
/// Tables of [`Listed`]: with a million keys each grows in some 100 us.
const TABLES: usize = 256;

/// Keys, each once, as they stand in a reply: in pieces, so that neither making it nor freeing it takes
/// long at a time.
#[derive(Debug, Default)]
pub struct Listed {
    pieces: Vec<Vec<u8>>,
    /// Where the keys stand, by some bits of their hash. None as long as there is no key.
    tables: Vec<HashTable<Place>>,
    hasher: RandomState,
    len: usize,
    scratch: Vec<u8>,
}

/// Where a key stands in the pieces.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u64,
    piece: u32,
    start: u32,
}

impl Listed {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a key, unless it is there.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "pieces are short, and below 2^48 bytes together"
    )]
    pub fn push(&mut self, key: &[u8]) {
        if self.tables.is_empty() {
            self.tables.resize_with(TABLES, HashTable::new);
        }
        self.scratch.clear();
        // The same in both versions of the protocol.
        Reply::new(&mut self.scratch, Proto::Resp2).bulk(key);
        let (pieces, bulk) = (&mut self.pieces, &self.scratch);
        let hash = self.hasher.hash_one(key);
        let table = &mut self.tables[(hash >> 32) as usize % TABLES];
        // A bulk string says how long it is, so none is the beginning of another.
        let same = |place: &Place| {
            place.hash == hash
                && pieces[place.piece as usize][place.start as usize..].starts_with(bulk)
        };
        if table.find(hash, same).is_some() {
            return;
        }
        match pieces.last() {
            None => pieces.push(Vec::new()),
            Some(last) if last.len() + bulk.len() > PIECE_BYTES => {
                pieces.push(Vec::with_capacity(PIECE_BYTES.max(bulk.len())));
            }
            Some(_) => {}
        }
        let piece = pieces.len() - 1;
        let place = Place { hash, piece: piece as u32, start: pieces[piece].len() as u32 };
        pieces[piece].extend_from_slice(bulk);
        table.insert_unique(hash, place, |place| place.hash);
        self.len += 1;
    }

    /// The keys, as bulk strings one after the other, in pieces that end between keys.
    pub fn pieces(&self) -> &[Vec<u8>] {
        &self.pieces
    }

    /// As [`Listed::pieces`], which are gone then.
    pub fn take_pieces(&mut self) -> Vec<Vec<u8>> {
        self.tables.clear();
        self.len = 0;
        std::mem::take(&mut self.pieces)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().flat_map(|piece| {
            let mut rest = piece.as_slice();
            std::iter::from_fn(move || {
                let line = rest.iter().position(|byte| *byte == b'\r')?;
                let len = std::str::from_utf8(&rest[1..line]).ok()?.parse::<usize>().ok()?;
                let key = rest.get(line + 2..line + 2 + len)?;
                rest = &rest[line + len + 4..];
                Some(key)
            })
        })
    }
}

/// One answer of the shard.
#[derive(Debug)]
pub struct Fresh {
    /// Some keys.
    pub keys: Vec<ScannedKey>,
    /// Where to go on, 0 at the end.
    pub next: u64,
    /// LSN that must be acknowledged before they are shown.
    pub barrier: Lsn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_once_in_pieces_that_are_a_reply() {
        let mut listed = Listed::default();
        let names: Vec<Vec<u8>> = (0..30_000u32)
            .map(|n| [n.to_string().as_bytes(), b"\r\n$1\r\n"].concat().repeat(n as usize % 3))
            .chain([vec![7; 70_000], vec![8; 65_535]])
            .collect();
        for name in names.iter().chain(&names) {
            listed.push(name);
        }
        let mut expected = names.clone();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(listed.len(), expected.len());
        let mut found: Vec<Vec<u8>> = listed.keys().map(<[u8]>::to_vec).collect();
        found.sort_unstable();
        assert!(found == expected);
        let mut reply = Vec::new();
        for key in listed.keys() {
            Reply::new(&mut reply, Proto::Resp3).bulk(key);
        }
        assert!(listed.pieces().len() > 5 && listed.pieces().concat() == reply);
        assert!(listed.take_pieces().concat() == reply && listed.is_empty());
        assert_eq!(listed.keys().count(), 0);
    }
}
