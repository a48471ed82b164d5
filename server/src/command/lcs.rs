//! LCS: the longest common subsequence of two strings.
//!
//! Owns: the algorithm, whose time and memory grow with the product of the lengths.
//! Never knows: how values are stored.
//! Invariant: the table stays within `proto-max-bulk-len` and 64 MiB, or the command is refused.

use super::bits::bytes;
use super::parse::{integer, is};
use super::table::flag::{READONLY, TIMED};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::resp::Args;
use crate::value::Kind;

/// Most bytes of a table.
const TABLE_BYTES_MAX: usize = 64 << 20;

pub(super) static COMMANDS: &[Command] = &[Command::new(
    "lcs",
    -3,
    Group::String,
    "7.0.0",
    "Returns the longest common subsequence of two strings.",
    lcs,
)
.keys(Keys::Range { first: 1, last: 2, step: 1 })
.flags(READONLY | TIMED)];

/// Lengths of the longest common subsequences of all pairs of beginnings.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8]) -> Table {
        let width = b.len() + 1;
        let mut cells = vec![0; (a.len() + 1) * width];
        for (row, byte) in a.iter().enumerate() {
            for (column, other) in b.iter().enumerate() {
                let at = (row + 1) * width + column + 1;
                cells[at] = if byte == other {
                    cells[at - width - 1] + 1
                } else {
                    cells[at - width].max(cells[at - 1])
                };
            }
        }
        Table { cells, width }
    }

    fn at(&self, row: usize, column: usize) -> u32 {
        self.cells[row * self.width + column]
    }
}

/// A run of the subsequence: where it ends in both strings, both exclusive, and its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    a_end: usize,
    b_end: usize,
    len: usize,
}

/// The longest common subsequence and the runs it consists of, the last first.
fn trace(table: &Table, a: &[u8], b: &[u8]) -> (Vec<u8>, Vec<Run>) {
    let (mut row, mut column) = (a.len(), b.len());
    let mut common = Vec::with_capacity(table.at(row, column) as usize);
    let mut runs: Vec<Run> = Vec::new();
    while row > 0 && column > 0 {
        if a[row - 1] == b[column - 1] {
            match runs.last_mut() {
                Some(run) if run.a_end - run.len == row && run.b_end - run.len == column => {
                    run.len += 1;
                }
                _ => runs.push(Run { a_end: row, b_end: column, len: 1 }),
            }
            common.push(a[row - 1]);
            (row, column) = (row - 1, column - 1);
        } else if table.at(row - 1, column) > table.at(row, column - 1) {
            row -= 1;
        } else {
            column -= 1;
        }
    }
    common.reverse();
    (common, runs)
}

/// Options of LCS.
#[derive(Default)]
struct Options {
    length: bool,
    indexes: bool,
    with_lengths: bool,
    shortest: usize,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, Stop> {
        let mut options = Options::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if is(word, "idx") {
                options.indexes = true;
            } else if is(word, "len") {
                options.length = true;
            } else if is(word, "withmatchlen") {
                options.with_lengths = true;
            } else if is(word, "minmatchlen") {
                let shortest = integer(words.next().ok_or(text::SYNTAX)?)?;
                options.shortest = usize::try_from(shortest).unwrap_or(0);
            } else {
                return Err(text::SYNTAX);
            }
        }
        if options.length && options.indexes {
            return Err(Stop::error(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

fn lcs(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (first, second) = (cx.key(&args[1])?, cx.key(&args[2])?);
    let (a, b) = (cx.find(&first)?, cx.find(&second)?);
    if [&a, &b].into_iter().flatten().any(|found| found.value_type != Kind::String.tag()) {
        return Err(Stop::error("ERR The specified keys must contain string values"));
    }
    let options = Options::parse(args.from(3))?;
    let (a, b) = (bytes(a.as_ref()), bytes(b.as_ref()));
    let cells = (a.len() + 1).saturating_mul(b.len() + 1);
    if cells.saturating_mul(4) > cx.state.config.proto_max_bulk_len.min(TABLE_BYTES_MAX) {
        return Err(Stop::error(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = Table::new(a, b);
    let (common, runs) = trace(&table, a, b);
    if options.length {
        cx.reply.size(common.len());
        return Ok(());
    }
    if !options.indexes {
        cx.reply.bulk(&common);
        return Ok(());
    }
    let shown: Vec<Run> =
        runs.into_iter().filter(|run| run.len >= options.shortest.max(1)).collect();
    cx.reply.map(2);
    cx.reply.bulk(b"matches");
    cx.reply.array(shown.len());
    for run in shown {
        cx.reply.array(if options.with_lengths { 3 } else { 2 });
        for end in [run.a_end, run.b_end] {
            cx.reply.array(2);
            cx.reply.size(end - run.len);
            cx.reply.size(end - 1);
        }
        if options.with_lengths {
            cx.reply.size(run.len);
        }
    }
    cx.reply.bulk(b"len");
    cx.reply.size(common.len());
    Ok(())
}
