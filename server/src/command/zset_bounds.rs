//! Ranges of sorted sets: by rank, by score, by member.
//!
//! Owns: how bounds are written, and which entries lie between them.
//! Never knows: commands, the store.
//! Invariant: what is selected is contiguous in the order of the set, or in its reverse.

use super::collection::span;
use super::parse::integer;
use super::{Stop, text};
use crate::resp::parse_strtod;
use crate::value::zset::Entry;

/// A bound by score.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    value: f64,
    excluded: bool,
}

impl Score {
    fn parse(arg: &[u8]) -> Option<Score> {
        let (excluded, number) = match arg {
            [b'(', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        parse_strtod(number).map(|value| Score { value, excluded })
    }
}

/// A bound by member.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lex<'a> {
    Lowest,
    Highest,
    Included(&'a [u8]),
    Excluded(&'a [u8]),
}

impl<'a> Lex<'a> {
    fn parse(arg: &'a [u8]) -> Option<Lex<'a>> {
        match arg {
            b"-" => Some(Lex::Lowest),
            b"+" => Some(Lex::Highest),
            [b'[', rest @ ..] => Some(Lex::Included(rest)),
            [b'(', rest @ ..] => Some(Lex::Excluded(rest)),
            _ => None,
        }
    }

    fn allows_from(self, member: &[u8]) -> bool {
        match self {
            Lex::Lowest => true,
            Lex::Highest => false,
            Lex::Included(bound) => member >= bound,
            Lex::Excluded(bound) => member > bound,
        }
    }

    fn allows_to(self, member: &[u8]) -> bool {
        match self {
            Lex::Lowest => false,
            Lex::Highest => true,
            Lex::Included(bound) => member <= bound,
            Lex::Excluded(bound) => member < bound,
        }
    }
}

/// Between which entries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bounds<'a> {
    /// First and last rank, negative ones from the end.
    Rank(i64, i64),
    /// Lowest and highest score.
    Score(Score, Score),
    /// Lowest and highest member, of a set whose members have the same score.
    Lex(Lex<'a>, Lex<'a>),
}

/// How bounds are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

impl<'a> Bounds<'a> {
    pub(super) fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Bounds<'a>, Stop> {
        match by {
            By::Rank => Ok(Bounds::Rank(integer(min)?, integer(max)?)),
            By::Score => match (Score::parse(min), Score::parse(max)) {
                (Some(min), Some(max)) => Ok(Bounds::Score(min, max)),
                _ => Err(Stop::error("ERR min or max is not a float")),
            },
            By::Lex => match (Lex::parse(min), Lex::parse(max)) {
                (Some(min), Some(max)) => Ok(Bounds::Lex(min, max)),
                _ => Err(Stop::error("ERR min or max not valid string range item")),
            },
        }
    }

    /// The positions in `entries`, which are in order, that lie between the bounds. For ranks,
    /// `reverse` counts from the end.
    pub(super) fn within(&self, entries: &[Entry<'_>], reverse: bool) -> std::ops::Range<usize> {
        match *self {
            Bounds::Rank(start, stop) => {
                let range = span(start, stop, entries.len()).unwrap_or(0..0);
                if reverse { entries.len() - range.end..entries.len() - range.start } else { range }
            }
            Bounds::Score(min, max) => {
                let below = |score: f64| {
                    if min.excluded { score <= min.value } else { score < min.value }
                };
                let above = |score: f64| {
                    if max.excluded { score >= max.value } else { score > max.value }
                };
                let first = entries.partition_point(|(score, _)| below(*score));
                let after = entries.partition_point(|(score, _)| !above(*score));
                first..after.max(first)
            }
            Bounds::Lex(min, max) => lex_range(entries, min, max, reverse),
        }
    }
}

/// The entries of a range by member that `limit` leaves, in the order asked for. As in Redis, those
/// that the offset passes over are not compared.
pub(super) fn walk_lex<'b>(
    entries: &[Entry<'b>],
    (min, max): (Lex<'_>, Lex<'_>),
    reverse: bool,
    limit: Limit,
) -> Vec<Entry<'b>> {
    let range = lex_range(entries, min, max, reverse);
    let Ok(offset) = usize::try_from(limit.offset) else { return Vec::new() };
    let count = usize::try_from(limit.count).unwrap_or(usize::MAX);
    if range.is_empty() {
        return Vec::new();
    }
    let (before, after) = (entries[..range.end].iter(), entries[range.start..].iter());
    if reverse {
        let walked = before.rev().skip(offset).take_while(|(_, member)| min.allows_from(member));
        walked.take(count).copied().collect()
    } else {
        let walked = after.skip(offset).take_while(|(_, member)| max.allows_to(member));
        walked.take(count).copied().collect()
    }
}

/// As Redis walks it, so that it is the same also for sets with different scores.
fn lex_range(
    entries: &[Entry<'_>],
    min: Lex<'_>,
    max: Lex<'_>,
    reverse: bool,
) -> std::ops::Range<usize> {
    let ends = entries.first().zip(entries.last());
    if !ends.is_some_and(|(first, last)| min.allows_from(last.1) && max.allows_to(first.1)) {
        return 0..0;
    }
    if reverse {
        let end =
            entries.iter().rposition(|(_, member)| max.allows_to(member)).map_or(0, |at| at + 1);
        let start = entries[..end].iter().rposition(|(_, member)| !min.allows_from(member));
        return start.map_or(0, |at| at + 1)..end;
    }
    let start = entries.iter().position(|(_, member)| min.allows_from(member));
    let start = start.unwrap_or(entries.len());
    let len = entries[start..].iter().take_while(|(_, member)| max.allows_to(member)).count();
    start..start + len
}

/// LIMIT: how many of the selected ones are passed over, and how many are taken at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limit {
    pub(super) offset: i64,
    pub(super) count: i64,
}

impl Limit {
    pub(super) const NONE: Limit = Limit { offset: 0, count: -1 };

    pub(super) fn parse(offset: &[u8], count: &[u8]) -> Result<Limit, Stop> {
        let number = |arg| integer(arg).map_err(|_| text::NOT_INTEGER);
        Ok(Limit { offset: number(offset)?, count: number(count)? })
    }

    /// The part of `selected` in its order that the limit leaves.
    pub(super) fn of<T>(self, mut selected: Vec<T>) -> Vec<T> {
        let Ok(offset) = usize::try_from(self.offset) else { return Vec::new() };
        selected.drain(..offset.min(selected.len()));
        if let Ok(count) = usize::try_from(self.count) {
            selected.truncate(count);
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(by: By, min: &str, max: &str, reverse: bool) -> std::ops::Range<usize> {
        let entries: [Entry<'_>; 4] = [(0.0, b"a"), (0.0, b"b"), (0.0, b"c"), (0.0, b"d")];
        let scored: [Entry<'_>; 4] = [(1.0, b"a"), (2.0, b"b"), (2.0, b"c"), (f64::INFINITY, b"d")];
        let bounds = Bounds::parse(by, min.as_bytes(), max.as_bytes()).unwrap();
        bounds.within(if by == By::Lex { &entries } else { &scored }, reverse)
    }

    #[test]
    fn bounds_are_those_of_redis() {
        assert_eq!(within(By::Rank, "1", "-2", false), 1..3);
        assert_eq!(within(By::Rank, "0", "0", true), 3..4);
        assert_eq!(within(By::Score, "2", "+inf", false), 1..4);
        assert_eq!(within(By::Score, "(1", "(inf", false), 1..3);
        assert!(within(By::Score, "5", "1", false).is_empty());
        assert_eq!(within(By::Lex, "[b", "(d", false), 1..3);
        assert_eq!(within(By::Lex, "-", "+", true), 0..4);
        assert!(within(By::Lex, "+", "-", false).is_empty());
        for bad in ["x", "(x", "[", "nan"] {
            assert!(Bounds::parse(By::Score, bad.as_bytes(), b"1").is_err(), "{bad}");
        }
        for bad in ["x", "", "--"] {
            assert!(Bounds::parse(By::Lex, bad.as_bytes(), b"+").is_err(), "{bad}");
        }
        let limit = Limit { offset: 1, count: 2 };
        assert_eq!(limit.of(vec![1, 2, 3, 4]), [2, 3]);
        assert_eq!(Limit { offset: -1, count: 2 }.of(vec![1]), [0; 0]);
        assert_eq!(Limit::NONE.of(vec![1, 2]), [1, 2]);
    }
}
