//! Sorted set commands on several sets: ZUNION, ZINTER, ZDIFF and what stores or counts them.
//!
//! Owns: weights, aggregation. A set counts as a sorted set whose scores are all 1.
//! Never knows: the layouts.
//! Invariant: a score is never NaN: what would be one is 0, as in Redis. As there, the types of all
//! keys are checked before the options.

use std::collections::{HashMap, HashSet};

use emberlog_engine::Found;

use super::collection::replace;
use super::parse::{error, integer, is};
use super::set_algebra::limit;
use super::table::flag::{DENYOOM, READONLY, TIMED, WRITE};
use super::zset::encoded;
use super::zset_range::reply_entries;
use super::{Command, Context, Group, Keys, Outcome, Stop, set, text, zset};
use crate::resp::{Args, parse_double};
use crate::value::Kind;
use crate::value::zset::{Entry, order};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::SortedSet, since, summary, handler)
        .keys(Keys::Counted { at: 1 })
        .flags(READONLY | TIMED)
}

const fn storing(
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    entry(name, -4, since, summary, handler)
        .keys(Keys::TargetAndCounted)
        .flags(WRITE | DENYOOM | TIMED)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("zunion", -3, "6.2.0", "Returns the union of sorted sets.", |cx, args| {
        show(cx, args, Operation::Union, "zunion")
    }),
    entry("zinter", -3, "6.2.0", "Returns the intersection of sorted sets.", |cx, args| {
        show(cx, args, Operation::Intersection, "zinter")
    }),
    entry(
        "zdiff",
        -3,
        "6.2.0",
        "Returns the members of a sorted set that no other has.",
        |cx, a| show(cx, a, Operation::Difference, "zdiff"),
    ),
    entry("zintercard", -3, "7.0.0", "Counts the members that all sorted sets have.", zintercard),
    storing("zunionstore", "2.0.0", "Stores the union of sorted sets.", |cx, args| {
        store(cx, args, Operation::Union, "zunionstore")
    }),
    storing("zinterstore", "2.0.0", "Stores the intersection of sorted sets.", |cx, args| {
        store(cx, args, Operation::Intersection, "zinterstore")
    }),
    storing("zdiffstore", "6.2.0", "Stores the difference of sorted sets.", |cx, args| {
        store(cx, args, Operation::Difference, "zdiffstore")
    }),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => number(a + b),
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        }
    }
}

/// Infinities that cancel out, or meet a weight of zero, are 0.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// Options of an operation.
struct Query {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
}

impl Query {
    /// Reads the options behind `keys` of the command `name`.
    fn parse(
        keys: Args<'_>,
        options: Args<'_>,
        name: &str,
        operation: Operation,
    ) -> Result<Query, Stop> {
        let weights = vec![1.0; keys.len()];
        let mut query = Query { weights, aggregate: Aggregate::Sum, with_scores: false };
        let mut at = 0;
        while let Some(word) = options.get(at) {
            let left = options.len() - at - 1;
            let combines = operation != Operation::Difference;
            match word {
                word if combines && is(word, "weights") && left >= keys.len() => {
                    for (weight, arg) in query.weights.iter_mut().zip(options.from(at + 1).iter()) {
                        let text = Stop::error("ERR weight value is not a float");
                        *weight = parse_double(arg).ok_or(text)?;
                    }
                    at += keys.len();
                }
                word if combines && is(word, "aggregate") && left >= 1 => {
                    at += 1;
                    query.aggregate = match &options[at] {
                        word if is(word, "sum") => Aggregate::Sum,
                        word if is(word, "min") => Aggregate::Min,
                        word if is(word, "max") => Aggregate::Max,
                        _ => return Err(text::SYNTAX),
                    };
                }
                word if !name.ends_with("store") && is(word, "withscores") => {
                    query.with_scores = true;
                }
                _ => return Err(text::SYNTAX),
            }
            at += 1;
        }
        Ok(query)
    }
}

/// Reads `numkeys key [key ...]`.
fn keys<'a>(args: Args<'a>, at: usize, name: &str) -> Result<(Args<'a>, Args<'a>), Stop> {
    let count = integer(&args[at])?;
    if count < 1 {
        return Err(error(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    let rest = args.from(at + 1);
    match usize::try_from(count) {
        Ok(count) if count <= rest.len() => Ok((rest.first(count), rest.from(count))),
        _ => Err(text::SYNTAX),
    }
}

/// The values at `keys`, all of which are sorted sets, sets or absent.
fn find_all(cx: &mut Context<'_>, keys: Args<'_>) -> Result<Vec<Option<Found>>, Stop> {
    let mut all = Vec::with_capacity(keys.len());
    for name in keys.iter() {
        let key = cx.key(name)?;
        let found = cx.find(&key)?;
        let fits = |found: &Found| [Kind::ZSet.tag(), Kind::Set.tag()].contains(&found.value_type);
        if found.as_ref().is_some_and(|found| !fits(found)) {
            return Err(text::WRONG_TYPE);
        }
        all.push(found);
    }
    Ok(all)
}

fn entries_of(found: Option<&Found>) -> Result<Vec<Entry<'_>>, Stop> {
    if found.is_some_and(|found| found.value_type == Kind::Set.tag()) {
        return Ok(set::view(found)?.members().map(|member| (1.0, member)).collect());
    }
    Ok(zset::view(found)?.entries().collect())
}

/// A source: its weight and its entries.
type Source<'a> = (f64, Vec<Entry<'a>>);

fn sources(found: &[Option<Found>], weights: Vec<f64>) -> Result<Vec<Source<'_>>, Stop> {
    weights.into_iter().zip(found).map(|(w, f)| Ok((w, entries_of(f.as_ref())?))).collect()
}

fn union<'a>(sources: &[Source<'a>], aggregate: Aggregate) -> HashMap<&'a [u8], f64> {
    let mut scores: HashMap<&[u8], f64> = HashMap::new();
    for (weight, entries) in sources {
        for (score, member) in entries {
            let score = number(weight * score);
            match scores.get_mut(member) {
                Some(old) => *old = aggregate.of(*old, score),
                None => _ = scores.insert(member, score),
            }
        }
    }
    scores
}

/// Combines the sources, in order of score and member.
fn combine<'a>(
    mut sources: Vec<Source<'a>>,
    operation: Operation,
    aggregate: Aggregate,
) -> Vec<Entry<'a>> {
    if operation == Operation::Difference {
        let gone: HashSet<&[u8]> =
            sources[1..].iter().flat_map(|(_, entries)| entries).map(|(_, m)| *m).collect();
        let first = std::mem::take(&mut sources[0].1);
        return first.into_iter().filter(|(_, member)| !gone.contains(member)).collect();
    }
    // Sums of floats depend on the order; this is that of Redis.
    sources.sort_by_key(|(_, entries)| entries.len());
    let mut result: Vec<Entry<'a>> = if operation == Operation::Union {
        union(&sources, aggregate).into_iter().map(|(member, score)| (score, member)).collect()
    } else {
        let indexes: Vec<(f64, HashMap<&[u8], f64>)> = sources[1..]
            .iter()
            .map(|(weight, entries)| (*weight, entries.iter().map(|(s, m)| (*m, *s)).collect()))
            .collect();
        let (weight, smallest) = &sources[0];
        let total = |(score, member): &Entry<'a>| {
            indexes.iter().try_fold(number(weight * score), |total, (weight, index)| {
                index.get(member).map(|score| aggregate.of(total, number(weight * score)))
            })
        };
        smallest.iter().filter_map(|entry| Some((total(entry)?, entry.1))).collect()
    };
    result.sort_by(order);
    result
}

fn show(cx: &mut Context<'_>, args: Args<'_>, operation: Operation, name: &str) -> Outcome {
    let (keys, options) = keys(args, 1, name)?;
    let found = find_all(cx, keys)?;
    let query = Query::parse(keys, options, name, operation)?;
    let result = combine(sources(&found, query.weights)?, operation, query.aggregate);
    reply_entries(cx, &result, query.with_scores);
    Ok(())
}

fn store(cx: &mut Context<'_>, args: Args<'_>, operation: Operation, name: &str) -> Outcome {
    let (keys, options) = keys(args, 2, name)?;
    let found = find_all(cx, keys)?;
    let query = Query::parse(keys, options, name, operation)?;
    let result = combine(sources(&found, query.weights)?, operation, query.aggregate);
    let key = cx.key(&args[1])?;
    replace(cx, &key, Kind::ZSet, encoded(&result).as_deref(), name)?;
    cx.reply.size(result.len());
    Ok(())
}

fn zintercard(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (keys, options) = keys(args, 1, "zintercard")?;
    let found = find_all(cx, keys)?;
    let limit = limit(options)?;
    let sources = sources(&found, vec![1.0; keys.len()])?;
    let common = combine(sources, Operation::Intersection, Aggregate::Sum);
    cx.reply.size(common.len().min(limit));
    Ok(())
}
