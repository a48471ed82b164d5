//! Set commands on several sets: intersection, union, difference.
//!
//! Owns: the three operations. Members are ordered, so each is a merge in one pass per set.
//! Never knows: the layout (see `value::set`).
//! Invariant: all keys have been looked at, and their types, before anything is written.

use std::cmp::Ordering;

use emberlog_engine::Found;

use super::collection::{bulks, numbered, ranged, replace};
use super::set::{encoded, union, view};
use super::table::flag::{DENYOOM, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::resp::Args;
use crate::value::Kind;
use crate::value::set::Set;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    let flags = if arity == -2 { READONLY | TIMED } else { WRITE | DENYOOM | TIMED };
    Command::new(name, arity, Group::Set, since, summary, handler).keys(Keys::ALL).flags(flags)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("sinter", -2, "1.0.0", "Returns the members that all sets have.", |cx, args| {
        show(cx, args, intersection)
    }),
    entry("sunion", -2, "1.0.0", "Returns the members that any of the sets has.", |cx, args| {
        show(cx, args, union_of)
    }),
    entry(
        "sdiff",
        -2,
        "1.0.0",
        "Returns the members of a set that no other of the sets has.",
        |cx, args| show(cx, args, difference),
    ),
    entry("sinterstore", -3, "1.0.0", "Stores the intersection of sets.", |cx, args| {
        store(cx, args, intersection, "sinterstore")
    }),
    entry("sunionstore", -3, "1.0.0", "Stores the union of sets.", |cx, args| {
        store(cx, args, union_of, "sunionstore")
    }),
    entry("sdiffstore", -3, "1.0.0", "Stores the difference of sets.", |cx, args| {
        store(cx, args, difference, "sdiffstore")
    }),
    entry(
        "sintercard",
        -3,
        "7.0.0",
        "Returns the number of members that all sets have, up to a limit.",
        sintercard,
    )
    .keys(Keys::Counted { at: 1 })
    .flags(READONLY | TIMED),
];

type Operation = for<'a> fn(&[Set<'a>]) -> Vec<&'a [u8]>;

/// The values at `keys`, all of which are sets or absent.
fn find_all(cx: &mut Context<'_>, keys: Args<'_>) -> Result<Vec<Option<Found>>, Stop> {
    let mut found = Vec::with_capacity(keys.len());
    for name in keys.iter() {
        let key = cx.key(name)?;
        found.push(cx.find_kind(&key, Kind::Set)?);
    }
    Ok(found)
}

fn views(found: &[Option<Found>]) -> Result<Vec<Set<'_>>, Stop> {
    found.iter().map(|found| view(found.as_ref())).collect()
}

fn intersection<'a>(sets: &[Set<'a>]) -> Vec<&'a [u8]> {
    let Some(smallest) = sets.iter().min_by_key(|set| set.len()) else { return Vec::new() };
    let mut common: Vec<&[u8]> = smallest.members().collect();
    for set in sets {
        let mut members = set.members().peekable();
        common.retain(|member| {
            while members.next_if(|other| other < member).is_some() {}
            members.peek() == Some(member)
        });
    }
    common
}

fn union_of<'a>(sets: &[Set<'a>]) -> Vec<&'a [u8]> {
    sets.iter().fold(Vec::new(), |merged, set| union(set, &merged))
}

fn difference<'a>(sets: &[Set<'a>]) -> Vec<&'a [u8]> {
    let Some((first, others)) = sets.split_first() else { return Vec::new() };
    let mut left: Vec<&[u8]> = first.members().collect();
    for set in others {
        let mut members = set.members().peekable();
        left.retain(|member| {
            loop {
                match members.peek().map(|other| other.cmp(member)) {
                    Some(Ordering::Less) => _ = members.next(),
                    found => return found != Some(Ordering::Equal),
                }
            }
        });
    }
    left
}

fn show(cx: &mut Context<'_>, args: Args<'_>, operation: Operation) -> Outcome {
    let found = find_all(cx, args.from(1))?;
    let members = operation(&views(&found)?);
    cx.reply.set(members.len());
    bulks(cx, members.iter().copied());
    Ok(())
}

fn store(cx: &mut Context<'_>, args: Args<'_>, operation: Operation, event: &str) -> Outcome {
    let found = find_all(cx, args.from(2))?;
    let members = operation(&views(&found)?);
    let key = cx.key(&args[1])?;
    replace(cx, &key, Kind::Set, encoded(&members).as_deref(), event)?;
    cx.reply.size(members.len());
    Ok(())
}

/// The LIMIT of SINTERCARD and ZINTERCARD; none is no limit.
pub(super) fn limit(options: Args<'_>) -> Result<usize, Stop> {
    let mut limit = 0;
    for at in (0..options.len()).step_by(2) {
        let value = options.get(at + 1).filter(|_| super::parse::is(&options[at], "limit"));
        let value = value.ok_or(text::SYNTAX)?;
        limit = ranged(value, 0, i64::MAX, Some("ERR LIMIT can't be negative"))?;
    }
    Ok(if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) })
}

fn sintercard(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let few = "ERR numkeys should be greater than 0";
    let (keys, options) = match numbered(args, 1, few) {
        Err(stop) if stop == text::SYNTAX => {
            return Err(Stop::error("ERR Number of keys can't be greater than number of args"));
        }
        other => other?,
    };
    let limit = limit(options)?;
    let found = find_all(cx, keys)?;
    cx.reply.size(intersection(&views(&found)?).len().min(limit));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::set::encode;
    use std::collections::BTreeSet;

    #[test]
    fn the_operations_are_those_of_sets() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..300 {
            let sets: Vec<BTreeSet<Vec<u8>>> = (0..random.usize(1..4))
                .map(|_| (0..random.usize(..12)).map(|_| vec![random.u8(b'a'..b'm')]).collect())
                .collect();
            let values: Vec<Vec<u8>> = sets
                .iter()
                .map(|set| encode(&set.iter().map(Vec::as_slice).collect::<Vec<_>>()))
                .collect();
            let views: Vec<Set<'_>> = values.iter().map(|v| Set::parse(v).unwrap()).collect();
            let any: BTreeSet<&Vec<u8>> = sets.iter().flatten().collect();
            let in_all = |member: &&&Vec<u8>| sets.iter().all(|set| set.contains(**member));
            let in_first_only = |member: &&&Vec<u8>| {
                sets[0].contains(**member) && !sets[1..].iter().any(|set| set.contains(**member))
            };
            let same = |found: Vec<&[u8]>, expected: Vec<&&Vec<u8>>| {
                assert!(
                    found.into_iter().eq(expected.iter().map(|m| m.as_slice())),
                    "round {round}"
                );
            };
            same(union_of(&views), any.iter().collect());
            same(intersection(&views), any.iter().filter(in_all).collect());
            same(difference(&views), any.iter().filter(in_first_only).collect());
        }
    }
}
