//! Sorted set commands on single members: in, out, scores, ranks.
//!
//! Owns: editing a sorted set value, which is one record, as a whole.
//! Never knows: the layout (see `value::zset`).
//! Invariant: a sorted set without members does not exist; no score is ever NaN.

use std::collections::HashMap;

use emberlog_engine::{Found, Key};

use super::collection::{rewrite, shrink};
use super::parse::{float, is};
use super::table::flag::{DENYOOM, FAST, READONLY, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;
use crate::value::zset::{Entry, ZSet, encode, order};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::SortedSet, since, summary, handler)
        .keys(Keys::ONE)
        .flags(READONLY | FAST)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("zadd", -4, "1.2.0", "Adds members to a sorted set, or changes scores.", |cx, args| {
        zadd(cx, args, false)
    })
    .flags(WRITE | DENYOOM | FAST),
    entry("zincrby", 4, "1.2.0", "Adds to the score of a member.", |cx, args| zadd(cx, args, true))
        .flags(WRITE | DENYOOM | FAST),
    entry("zrem", -3, "1.2.0", "Removes members from a sorted set.", zrem).flags(WRITE | FAST),
    entry("zscore", 3, "1.2.0", "Returns the score of a member.", zscore),
    entry("zmscore", -3, "6.2.0", "Returns the scores of members.", zmscore),
    entry("zcard", 2, "1.2.0", "Returns the number of members of a sorted set.", zcard),
    entry("zrank", -3, "2.0.0", "Returns how many members have a lower score.", |cx, args| {
        zrank(cx, args, false)
    }),
    entry("zrevrank", -3, "2.0.0", "Returns how many members have a higher score.", |cx, args| {
        zrank(cx, args, true)
    }),
];

/// The sorted set in `found`, or the empty one.
pub(super) fn view(found: Option<&Found>) -> Result<ZSet<'_>, Stop> {
    found.map_or(Ok(ZSet::EMPTY), |found| ZSet::parse(&found.value).map_err(|_| text::MALFORMED))
}

/// The sorted set at the first argument.
pub(super) fn find<'a>(
    cx: &mut Context<'_>,
    args: Args<'a>,
) -> Result<(Key<'a>, Option<Found>), Stop> {
    let key = cx.key(args.at(1))?;
    let found = cx.find_kind(&key, Kind::ZSet)?;
    Ok((key, found))
}

/// As [`find`], counted as a read.
pub(super) fn read(cx: &mut Context<'_>, args: Args<'_>) -> Result<Option<Found>, Stop> {
    let (_, found) = find(cx, args)?;
    cx.count_read(found.is_some());
    Ok(found)
}

/// The value of `entries`, which are in order; none if there are none.
pub(super) fn encoded(entries: &[Entry<'_>]) -> Option<Vec<u8>> {
    (!entries.is_empty()).then(|| encode(entries))
}

/// Options of ZADD.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent words of the command")]
struct Options {
    absent_only: bool,
    present_only: bool,
    greater: bool,
    less: bool,
    count_changed: bool,
    add: bool,
}

impl Options {
    /// Reads the words before the first score. Returns how many there are.
    fn parse(&mut self, args: Args<'_>) -> usize {
        for (at, word) in args.iter().enumerate() {
            let option = match word {
                word if is(word, "nx") => &mut self.absent_only,
                word if is(word, "xx") => &mut self.present_only,
                word if is(word, "gt") => &mut self.greater,
                word if is(word, "lt") => &mut self.less,
                word if is(word, "ch") => &mut self.count_changed,
                word if is(word, "incr") => &mut self.add,
                _ => return at,
            };
            *option = true;
        }
        args.len()
    }

    fn check(&self, pairs: usize) -> Result<(), Stop> {
        if self.absent_only && self.present_only {
            return Err(Stop::error("ERR XX and NX options at the same time are not compatible"));
        }
        if self.greater && (self.absent_only || self.less) || self.less && self.absent_only {
            return Err(Stop::error(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.add && pairs > 1 {
            return Err(Stop::error("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// The score that a member with score `old` gets; none: it keeps what it has.
    fn score(&self, old: Option<f64>, given: f64) -> Result<Option<f64>, Stop> {
        let Some(old) = old else { return Ok((!self.present_only).then_some(given)) };
        if self.absent_only {
            return Ok(None);
        }
        let new = if self.add { old + given } else { given };
        if new.is_nan() {
            return Err(Stop::error("ERR resulting score is not a number (NaN)"));
        }
        let refused = self.less && new >= old || self.greater && new <= old;
        Ok((!refused).then_some(new))
    }
}

/// Members with a way to find one. A few are searched, many are indexed.
struct Members<'a> {
    entries: Vec<Entry<'a>>,
    index: Option<HashMap<&'a [u8], usize>>,
}

/// Members that are looked for one by one without an index.
const FEW: usize = 4;

impl<'a> Members<'a> {
    fn new(set: &ZSet<'a>, lookups: usize) -> Members<'a> {
        let entries: Vec<Entry<'a>> = set.entries().collect();
        let index = (lookups > FEW)
            .then(|| entries.iter().enumerate().map(|(at, (_, member))| (*member, at)).collect());
        Members { entries, index }
    }

    fn position(&self, member: &[u8]) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(member).copied(),
            None => self.entries.iter().position(|(_, other)| *other == member),
        }
    }

    fn push(&mut self, score: f64, member: &'a [u8]) {
        if let Some(index) = &mut self.index {
            index.insert(member, self.entries.len());
        }
        self.entries.push((score, member));
    }
}

/// ZADD and ZINCRBY.
pub(super) fn zadd(cx: &mut Context<'_>, args: Args<'_>, add: bool) -> Outcome {
    let mut options = Options { add, ..Options::default() };
    let words = options.parse(args.from(2));
    let pairs = args.from(2 + words);
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(text::SYNTAX);
    }
    options.check(pairs.len() / 2)?;
    let mut changes = Vec::with_capacity(pairs.len() / 2);
    for at in (0..pairs.len()).step_by(2) {
        changes.push((float(&pairs[at])?, pairs.at(at + 1)));
    }
    let (key, found) = find(cx, args)?;
    let mut members = Members::new(&view(found.as_ref())?, changes.len());
    let (mut added, mut changed, mut last) = (0, 0, None);
    for (given, member) in changes {
        let position = members.position(member);
        let old = position.map(|at| members.entries[at].0);
        last = options.score(old, given)?;
        match (position, last) {
            (_, None) => {}
            (None, Some(score)) => {
                members.push(score, member);
                added += 1;
            }
            (Some(at), Some(score)) => {
                // Minus zero equals zero, as in Redis.
                changed += usize::from(old != last);
                members.entries[at].0 = if old == last { old.unwrap_or(score) } else { score };
            }
        }
    }
    if added + changed > 0 {
        // Nearly in order, which this sort makes use of.
        members.entries.sort_by(order);
        rewrite(cx, &key, Kind::ZSet, &encode(&members.entries), found.as_ref())?;
        cx.notify(notify::ZSET, if options.add { "zincr" } else { "zadd" }, &args[1]);
    }
    match last {
        Some(score) if options.add => cx.reply.double(score),
        None if options.add => cx.reply.null(),
        _ if options.count_changed => cx.reply.size(added + changed),
        _ => cx.reply.size(added),
    }
    Ok(())
}

fn zrem(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let set = view(found.as_ref())?;
    let gone: std::collections::HashSet<&[u8]> = args.iter().skip(2).collect();
    let left: Vec<Entry<'_>> = set.entries().filter(|(_, m)| !gone.contains(m)).collect();
    let removed = set.len() - left.len();
    if removed > 0 {
        shrink(cx, &key, Kind::ZSet, encoded(&left).as_deref(), found.as_ref(), "zrem")?;
    }
    cx.reply.size(removed);
    Ok(())
}

fn reply_score(cx: &mut Context<'_>, score: Option<f64>) {
    match score {
        Some(score) => cx.reply.double(score),
        None => cx.reply.null(),
    }
}

fn zscore(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    let score = view(found.as_ref())?.score(&args[2]);
    reply_score(cx, score);
    Ok(())
}

fn zmscore(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    let members = Members::new(&view(found.as_ref())?, args.len() - 2);
    cx.reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        reply_score(cx, members.position(member).map(|at| members.entries[at].0));
    }
    Ok(())
}

fn zcard(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    cx.reply.size(view(found.as_ref())?.len());
    Ok(())
}

fn zrank(cx: &mut Context<'_>, args: Args<'_>, from_end: bool) -> Outcome {
    let with_score = match args.get(3) {
        None => false,
        Some(_) if args.len() > 4 => {
            return Err(super::parse::wrong_arity(if from_end { "zrevrank" } else { "zrank" }));
        }
        Some(word) if is(word, "withscore") => true,
        Some(_) => return Err(text::SYNTAX),
    };
    let found = read(cx, args)?;
    let set = view(found.as_ref())?;
    let place = set.entries().enumerate().find(|(_, (_, member))| *member == &args[2]);
    let Some((rank, (score, _))) = place else {
        if with_score {
            cx.reply.null_array();
        } else {
            cx.reply.null();
        }
        return Ok(());
    };
    if with_score {
        cx.reply.array(2);
    }
    cx.reply.size(if from_end { set.len() - 1 - rank } else { rank });
    if with_score {
        cx.reply.double(score);
    }
    Ok(())
}
