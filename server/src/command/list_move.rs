//! Elements from one list to another, and from the first list that has any: LMOVE, LMPOP and
//! their blocking forms.
//!
//! Owns: nothing but these handlers.
//! Never knows: how waiting is done (see `serve::blocked`).
//! Invariant: an element that moves is in exactly one list at any time, also across a crash.

use emberlog_engine::Found;

use super::blocking::{Pop, first_or_wait, many_or_wait, timeout, wait};
use super::collection::{bulks, rewrite, shrink};
use super::list::{peek, pop_event, push_event, take, view};
use super::parse::is;
use super::table::flag::{BLOCKING, DENYOOM, FAST, NOSCRIPT, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;
use crate::value::list::{End, List};

const BOTH: Keys = Keys::Range { first: 1, last: 2, step: 1 };
const ALL_BUT_LAST: Keys = Keys::Range { first: 1, last: -2, step: 1 };

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::List, since, summary, handler)
        .keys(BOTH)
        .flags(WRITE | DENYOOM)
}

const fn blocking(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    entry(name, arity, since, summary, handler).flags(WRITE | DENYOOM | BLOCKING | NOSCRIPT)
}

pub(super) static COMMANDS: &[Command] = &[
    entry(
        "lmove",
        5,
        "6.2.0",
        "Moves an element from an end of a list to one of another.",
        |c, a| {
            let ends = (end(&a[3])?, end(&a[4])?);
            transfer(c, a, ends, None)
        },
    ),
    entry(
        "rpoplpush",
        3,
        "1.2.0",
        "Moves the last element of a list before the first of another.",
        |cx, args| transfer(cx, args, (End::Right, End::Left), None),
    ),
    blocking("blmove", 6, "6.2.0", "As LMOVE; waits for an element.", |cx, args| {
        let ends = (end(&args[3])?, end(&args[4])?);
        transfer(cx, args, ends, Some(5))
    }),
    blocking("brpoplpush", 4, "2.2.0", "As RPOPLPUSH; waits for an element.", |cx, args| {
        transfer(cx, args, (End::Right, End::Left), Some(3))
    }),
    entry("lmpop", -4, "7.0.0", "Takes elements from the first list that has any.", |cx, args| {
        pop_many(cx, args, 1)
    })
    .keys(Keys::Counted { at: 1 })
    .flags(WRITE),
    blocking("blmpop", -5, "7.0.0", "As LMPOP; waits for an element.", |cx, args| {
        pop_many(cx, args, 2)
    })
    .keys(Keys::Counted { at: 2 })
    .flags(WRITE | BLOCKING),
    blocking(
        "blpop",
        -3,
        "2.0.0",
        "Takes the first element of the first list that has any; waits for one.",
        |cx, args| pop_one(cx, args, End::Left),
    )
    .keys(ALL_BUT_LAST)
    .flags(WRITE | BLOCKING | NOSCRIPT),
    blocking(
        "brpop",
        -3,
        "2.0.0",
        "Takes the last element of the first list that has any; waits for one.",
        |cx, args| pop_one(cx, args, End::Right),
    )
    .keys(ALL_BUT_LAST)
    .flags(WRITE | BLOCKING | NOSCRIPT | FAST),
];

fn end(arg: &[u8]) -> Result<End, Stop> {
    match arg {
        arg if is(arg, "left") => Ok(End::Left),
        arg if is(arg, "right") => Ok(End::Right),
        _ => Err(text::SYNTAX),
    }
}

/// LMOVE and its relatives; `patience` is where the timeout is.
fn transfer(
    cx: &mut Context<'_>,
    args: Args<'_>,
    (from_end, to_end): (End, End),
    patience: Option<usize>,
) -> Outcome {
    let patience = patience.map(|at| timeout(cx, &args[at])).transpose()?;
    let (from, to) = (cx.key(&args[1])?, cx.key(&args[2])?);
    let source = cx.find(&from)?;
    let is_list = |found: &Found| found.value_type == Kind::List.tag();
    let again = cx.session.blocked.is_some();
    let Some(source) = source.filter(|found| !again || is_list(found)) else {
        if let Some(patience) = patience {
            wait(cx, args.from(1).first(1), patience)?;
        }
        // Redis tells a timeout from an empty list within MULTI.
        if cx.session.waited {
            cx.reply.null_array();
        } else {
            cx.reply.null();
        }
        return Ok(());
    };
    let target = cx.find(&to)?;
    if !is_list(&source) || target.as_ref().is_some_and(|found| !is_list(found)) {
        return Err(text::WRONG_TYPE);
    }
    let (taken, left) = view(Some(&source))?.popped(from_end, 1);
    let Some(element) = taken.first().copied() else { return Err(text::MALFORMED) };
    let add = |list: List<'_>| {
        let one = std::iter::once(element);
        if to_end == End::Left { list.pushed_front(one) } else { list.pushed_back(one) }
    };
    if from == to {
        let rest = left.as_deref().map_or(Ok(List::EMPTY), List::peek);
        let value = add(rest.map_err(|_| text::MALFORMED)?);
        rewrite(cx, &from, Kind::List, &value, Some(&source))?;
        cx.notify(notify::LIST, push_event(to_end), &args[2]);
        cx.notify(notify::LIST, pop_event(from_end), &args[1]);
    } else {
        let value = add(peek(target.as_ref())?);
        cx.room(left.as_ref().map_or(0, Vec::len) + value.len())?;
        cx.together(|cx| {
            rewrite(cx, &to, Kind::List, &value, target.as_ref())?;
            cx.notify(notify::LIST, push_event(to_end), &args[2]);
            shrink(cx, &from, Kind::List, left.as_deref(), Some(&source), pop_event(from_end))
        })?;
    }
    cx.reply.bulk(element);
    Ok(())
}

/// BLPOP and BRPOP.
fn pop_one(cx: &mut Context<'_>, args: Args<'_>, end: End) -> Outcome {
    let Some((key, found)) = first_or_wait(cx, args, Kind::List)? else { return Ok(()) };
    let taken = take(cx, &key, &found, end, 1)?;
    cx.reply.array(2);
    cx.reply.bulk(key.bytes());
    bulks(cx, taken.into_iter());
    Ok(())
}

/// LMPOP and BLMPOP, whose number of keys is argument `at`.
fn pop_many(cx: &mut Context<'_>, args: Args<'_>, at: usize) -> Outcome {
    let Some(Pop { key, found, side, count }) = many_or_wait(cx, args, at, Kind::List, end)? else {
        return Ok(());
    };
    let taken = take(cx, &key, &found, side, count)?;
    cx.reply.array(2);
    cx.reply.bulk(key.bytes());
    cx.reply.array(taken.len());
    bulks(cx, taken.into_iter());
    Ok(())
}
