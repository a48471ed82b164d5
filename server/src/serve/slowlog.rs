//! The slow log.
//!
//! Owns: the most recent slow commands, their arguments cut short.
//! Never knows: clocks.
//! Invariant: memory is bounded: so many entries, arguments and bytes.

use std::collections::VecDeque;

use emberlog_engine::UnixMillis;

use crate::resp::Args;

const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Debug)]
pub struct Entry {
    /// Serial number.
    pub id: i64,
    /// When it ran.
    pub at: UnixMillis,
    /// How long, in microseconds.
    pub usec: u64,
    /// Its arguments, cut short.
    pub args: Vec<Vec<u8>>,
    /// Address of the client.
    pub addr: String,
    /// Name of the client.
    pub name: Vec<u8>,
}

/// Recent slow commands, newest first.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<Entry>,
    next_id: i64,
}

impl SlowLog {
    /// Remembers a command, and at most `max` in all.
    pub fn add(
        &mut self,
        args: Args<'_>,
        usec: u64,
        at: UnixMillis,
        client: (&str, &[u8]),
        max: usize,
    ) {
        let (addr, name) = (client.0.to_owned(), client.1.to_vec());
        let entry = Entry { id: self.next_id, at, usec, args: shorten(args), addr, name };
        self.next_id += 1;
        self.entries.push_front(entry);
        self.entries.truncate(max);
    }

    /// The entries, newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

fn shorten(args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut short: Vec<Vec<u8>> = args.iter().take(kept).map(shorten_one).collect();
    if args.len() > kept {
        short.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    short
}

fn shorten_one(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut short = arg[..ARG_BYTES_MAX].to_vec();
    short.extend(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).bytes());
    short
}
