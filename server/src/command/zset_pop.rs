//! Sorted set commands that take members from an end, or look at some: ZPOPMIN, ZMPOP and their
//! blocking forms, ZRANDMEMBER, ZSCAN.
//!
//! Owns: nothing but these handlers.
//! Never knows: the layout (see `value::zset`), how waiting is done.
//! Invariant: what is answered has been taken, and nothing else.

use emberlog_engine::{Found, Key};

use super::blocking::{Pop, first_or_wait, many_or_wait};
use super::collection::{pick, positive, ranged, scan_pattern, shrink};
use super::parse::is;
use super::table::flag::{BLOCKING, FAST, NOSCRIPT, READONLY, TIMED, WRITE};
use super::zset::{encoded, find, read, view};
use super::zset_range::reply_entries;
use super::{Command, Context, Group, Keys, Outcome, Stop, scan, text};
use crate::glob;
use crate::resp::{Args, format_score};
use crate::value::Kind;
use crate::value::zset::Entry;

const ALL_BUT_LAST: Keys = Keys::Range { first: 1, last: -2, step: 1 };

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::SortedSet, since, summary, handler)
        .keys(Keys::ONE)
        .flags(WRITE | FAST)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("zpopmin", -2, "5.0.0", "Takes the members with the lowest scores.", |cx, args| {
        pop(cx, args, Side::Min)
    }),
    entry("zpopmax", -2, "5.0.0", "Takes the members with the highest scores.", |cx, args| {
        pop(cx, args, Side::Max)
    }),
    entry(
        "bzpopmin",
        -3,
        "5.0.0",
        "As ZPOPMIN on the first of keys; waits for one.",
        |cx, args| pop_one(cx, args, Side::Min),
    )
    .keys(ALL_BUT_LAST)
    .flags(WRITE | BLOCKING | NOSCRIPT | FAST),
    entry(
        "bzpopmax",
        -3,
        "5.0.0",
        "As ZPOPMAX on the first of keys; waits for one.",
        |cx, args| pop_one(cx, args, Side::Max),
    )
    .keys(ALL_BUT_LAST)
    .flags(WRITE | BLOCKING | NOSCRIPT | FAST),
    entry(
        "zmpop",
        -4,
        "7.0.0",
        "Takes members of the first sorted set that has any.",
        |cx, args| pop_many(cx, args, 1),
    )
    .keys(Keys::Counted { at: 1 })
    .flags(WRITE),
    entry("bzmpop", -5, "7.0.0", "As ZMPOP; waits for a member.", |cx, args| pop_many(cx, args, 2))
        .keys(Keys::Counted { at: 2 })
        .flags(WRITE | BLOCKING),
    entry("zrandmember", -2, "6.2.0", "Returns members of a sorted set at random.", zrandmember)
        .flags(READONLY | TIMED),
    entry("zscan", -3, "2.8.0", "Lists members and their scores.", zscan).flags(READONLY | TIMED),
];

/// An end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Min,
    Max,
}

/// Takes `count` entries from `side`, in the order in which they come off.
fn take<'a>(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    found: &'a Found,
    side: Side,
    count: usize,
) -> Result<Vec<Entry<'a>>, Stop> {
    let mut entries: Vec<Entry<'_>> = view(Some(found))?.entries().collect();
    let count = count.min(entries.len());
    let (taken, left, event) = match side {
        Side::Min => {
            let left = entries.split_off(count);
            (entries, left, "zpopmin")
        }
        Side::Max => {
            let mut taken = entries.split_off(entries.len() - count);
            taken.reverse();
            (taken, entries, "zpopmax")
        }
    };
    shrink(cx, key, Kind::ZSet, encoded(&left).as_deref(), Some(found), event)?;
    Ok(taken)
}

fn pop(cx: &mut Context<'_>, args: Args<'_>, side: Side) -> Outcome {
    if args.len() > 3 {
        return Err(text::SYNTAX);
    }
    let count = args.get(2).map(positive).transpose()?;
    let (key, found) = find(cx, args)?;
    let (Some(found), true) = (&found, count != Some(0)) else {
        cx.reply.array(0);
        return Ok(());
    };
    let taken = take(cx, &key, found, side, count.unwrap_or(1))?;
    match (count, taken.first()) {
        // Without a count, never nested.
        (None, Some((score, member))) => {
            cx.reply.array(2);
            cx.reply.bulk(member);
            cx.reply.double(*score);
        }
        _ => reply_entries(cx, &taken, true),
    }
    Ok(())
}

/// BZPOPMIN and BZPOPMAX.
fn pop_one(cx: &mut Context<'_>, args: Args<'_>, side: Side) -> Outcome {
    let Some((key, found)) = first_or_wait(cx, args, Kind::ZSet)? else { return Ok(()) };
    let taken = take(cx, &key, &found, side, 1)?;
    cx.reply.array(1 + 2 * taken.len());
    cx.reply.bulk(key.bytes());
    for (score, member) in taken {
        cx.reply.bulk(member);
        cx.reply.double(score);
    }
    Ok(())
}

fn side(arg: &[u8]) -> Result<Side, Stop> {
    match arg {
        arg if is(arg, "min") => Ok(Side::Min),
        arg if is(arg, "max") => Ok(Side::Max),
        _ => Err(text::SYNTAX),
    }
}

/// ZMPOP and BZMPOP, whose number of keys is argument `at`.
fn pop_many(cx: &mut Context<'_>, args: Args<'_>, at: usize) -> Outcome {
    let Some(Pop { key, found, side, count }) = many_or_wait(cx, args, at, Kind::ZSet, side)?
    else {
        return Ok(());
    };
    let taken = take(cx, &key, &found, side, count)?;
    cx.reply.array(2);
    cx.reply.bulk(key.bytes());
    cx.reply.array(taken.len());
    for (score, member) in taken {
        cx.reply.array(2);
        cx.reply.bulk(member);
        cx.reply.double(score);
    }
    Ok(())
}

/// Reads `[count [word]]` of ZRANDMEMBER and HRANDFIELD. Returns also whether the word is there.
pub(super) fn random_options(args: Args<'_>, word: &str) -> Result<(Option<i64>, bool), Stop> {
    let Some(count) = args.get(2) else { return Ok((None, false)) };
    let count = ranged(count, -i64::MAX, i64::MAX, None)?;
    match args.get(3) {
        None => Ok((Some(count), false)),
        Some(given) if args.len() == 4 && is(given, word) => {
            if !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
                return Err(Stop::error("ERR value is out of range"));
            }
            Ok((Some(count), true))
        }
        Some(_) => Err(text::SYNTAX),
    }
}

fn zrandmember(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (count, with_scores) = random_options(args, "withscores")?;
    let found = read(cx, args)?;
    let entries: Vec<Entry<'_>> = view(found.as_ref())?.entries().collect();
    let Some(count) = count else {
        match pick(cx, entries, -1, 0)?.first() {
            Some((_, member)) => cx.reply.bulk(member),
            None => cx.reply.null(),
        }
        return Ok(());
    };
    let longest = entries.iter().map(|(_, member)| member.len()).max().unwrap_or(0) + 32;
    let picked = pick(cx, entries, count, longest)?;
    reply_entries(cx, &picked, with_scores);
    Ok(())
}

fn zscan(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    scan::cursor(&args[2])?;
    let found = read(cx, args)?;
    let mut pattern: &[u8] = b"*";
    if found.is_some() {
        pattern = scan_pattern(args.from(3))?;
    }
    let entries: Vec<Entry<'_>> = view(found.as_ref())?
        .entries()
        .filter(|(_, member)| glob::matches(pattern, member))
        .collect();
    cx.reply.array(2);
    cx.reply.bulk(b"0");
    cx.reply.array(entries.len() * 2);
    for (score, member) in entries {
        cx.reply.bulk(member);
        cx.reply.bulk(format_score(score).as_bytes());
    }
    Ok(())
}
