//! List commands that write one list.
//!
//! Owns: editing a list value, which is one record, as a whole.
//! Never knows: the layout (see `value::list`).
//! Invariant: a list without elements does not exist.

use emberlog_engine::{Found, Key};

use super::collection::{bulks, positive, rewrite, shrink, span};
use super::parse::{integer, is, wrong_arity};
use super::table::flag::{DENYOOM, FAST, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;
use crate::value::list::{End, List, encode};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::List, since, summary, handler)
        .keys(Keys::ONE)
        .flags(WRITE | DENYOOM | FAST)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("lpush", -3, "1.0.0", "Adds elements before the first of a list.", |cx, args| {
        push(cx, args, End::Left, false)
    }),
    entry("rpush", -3, "1.0.0", "Adds elements behind the last of a list.", |cx, args| {
        push(cx, args, End::Right, false)
    }),
    entry("lpushx", -3, "2.2.0", "As LPUSH, if the list exists.", |cx, args| {
        push(cx, args, End::Left, true)
    }),
    entry("rpushx", -3, "2.2.0", "As RPUSH, if the list exists.", |cx, args| {
        push(cx, args, End::Right, true)
    }),
    entry("lpop", -2, "1.0.0", "Removes and returns the first elements of a list.", |cx, args| {
        pop(cx, args, End::Left)
    })
    .flags(WRITE | FAST),
    entry("rpop", -2, "1.0.0", "Removes and returns the last elements of a list.", |cx, args| {
        pop(cx, args, End::Right)
    })
    .flags(WRITE | FAST),
    entry("linsert", 5, "2.2.0", "Adds an element before or behind another.", linsert)
        .flags(WRITE | DENYOOM),
    entry("lset", 4, "1.0.0", "Replaces an element of a list.", lset).flags(WRITE | DENYOOM),
    entry("lrem", 4, "1.0.0", "Removes elements equal to a value from a list.", lrem).flags(WRITE),
    entry("ltrim", 4, "1.0.0", "Keeps only a range of a list.", ltrim).flags(WRITE),
];

/// The list in `found`, or the empty one.
pub(super) fn view(found: Option<&Found>) -> Result<List<'_>, Stop> {
    found.map_or(Ok(List::EMPTY), |found| List::parse(&found.value).map_err(|_| text::MALFORMED))
}

/// The list in `found` or the empty one, of which only the length and the ends of pushing are
/// looked at.
pub(super) fn peek(found: Option<&Found>) -> Result<List<'_>, Stop> {
    found.map_or(Ok(List::EMPTY), |found| List::peek(&found.value).map_err(|_| text::MALFORMED))
}

/// The list at the first argument.
pub(super) fn find<'a>(
    cx: &mut Context<'_>,
    args: Args<'a>,
) -> Result<(Key<'a>, Option<Found>), Stop> {
    let key = cx.key(args.at(1))?;
    let found = cx.find_kind(&key, Kind::List)?;
    Ok((key, found))
}

/// Event of pushing at `end`.
pub(super) fn push_event(end: End) -> &'static str {
    if end == End::Left { "lpush" } else { "rpush" }
}

/// Event of taking from `end`.
pub(super) fn pop_event(end: End) -> &'static str {
    if end == End::Left { "lpop" } else { "rpop" }
}

fn push(cx: &mut Context<'_>, args: Args<'_>, end: End, existing_only: bool) -> Outcome {
    let (key, found) = find(cx, args)?;
    if existing_only && found.is_none() {
        cx.reply.integer(0);
        return Ok(());
    }
    let list = peek(found.as_ref())?;
    let items = args.iter().skip(2);
    let len = list.len() + items.len();
    let value = if end == End::Left { list.pushed_front(items) } else { list.pushed_back(items) };
    rewrite(cx, &key, Kind::List, &value, found.as_ref())?;
    cx.notify(notify::LIST, push_event(end), &args[1]);
    cx.reply.size(len);
    Ok(())
}

/// Takes `count` elements from `end` of the list in `found` and writes what is left.
pub(super) fn take<'a>(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    found: &'a Found,
    end: End,
    count: usize,
) -> Result<Vec<&'a [u8]>, Stop> {
    let (taken, left) = view(Some(found))?.popped(end, count);
    shrink(cx, key, Kind::List, left.as_deref(), Some(found), pop_event(end))?;
    Ok(taken)
}

fn pop(cx: &mut Context<'_>, args: Args<'_>, end: End) -> Outcome {
    if args.len() > 3 {
        return Err(wrong_arity(pop_event(end)));
    }
    let count = args.get(2).map(positive).transpose()?;
    let (key, found) = find(cx, args)?;
    match (&found, count) {
        (None, None) => cx.reply.null(),
        (None, Some(_)) => cx.reply.null_array(),
        (Some(_), Some(0)) => cx.reply.array(0),
        (Some(found), _) => {
            let taken = take(cx, &key, found, end, count.unwrap_or(1))?;
            if count.is_some() {
                cx.reply.array(taken.len());
            }
            bulks(cx, taken.into_iter());
        }
    }
    Ok(())
}

fn linsert(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let behind = match &args[2] {
        word if is(word, "before") => 0,
        word if is(word, "after") => 1,
        _ => return Err(text::SYNTAX),
    };
    let (key, found) = find(cx, args)?;
    let mut items: Vec<&[u8]> = view(found.as_ref())?.items().collect();
    if found.is_none() {
        cx.reply.integer(0);
        return Ok(());
    }
    let Some(at) = items.iter().position(|item| *item == &args[3]) else {
        cx.reply.integer(-1);
        return Ok(());
    };
    items.insert(at + behind, args.at(4));
    rewrite(cx, &key, Kind::List, &encode(items.iter().copied()), found.as_ref())?;
    cx.notify(notify::LIST, "linsert", &args[1]);
    cx.reply.size(items.len());
    Ok(())
}

/// The position that `index` names, negative ones from the end.
pub(super) fn position(index: i64, len: usize) -> Option<usize> {
    let size = i64::try_from(len).unwrap_or(i64::MAX);
    let index = if index < 0 { size.checked_add(index)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

fn lset(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    if found.is_none() {
        return Err(text::NO_KEY);
    }
    let index = integer(&args[2])?;
    let mut items: Vec<&[u8]> = view(found.as_ref())?.items().collect();
    let at = position(index, items.len()).ok_or(text::OUT_OF_RANGE)?;
    items[at] = args.at(3);
    rewrite(cx, &key, Kind::List, &encode(items.iter().copied()), found.as_ref())?;
    cx.notify(notify::LIST, "lset", &args[1]);
    cx.reply.ok();
    Ok(())
}

/// The value of `items`, none if there are none.
fn encoded(items: &[&[u8]]) -> Option<Vec<u8>> {
    (!items.is_empty()).then(|| encode(items.iter().copied()))
}

fn lrem(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = integer(&args[2])?;
    let (key, found) = find(cx, args)?;
    let mut items: Vec<&[u8]> = view(found.as_ref())?.items().collect();
    let before = items.len();
    let mut budget = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(count) => count,
    };
    let mut stays = |item: &&[u8]| {
        let goes = budget > 0 && *item == &args[3];
        budget -= usize::from(goes);
        !goes
    };
    if count < 0 {
        items.reverse();
        items.retain(&mut stays);
        items.reverse();
    } else {
        items.retain(&mut stays);
    }
    let removed = before - items.len();
    if removed > 0 {
        shrink(cx, &key, Kind::List, encoded(&items).as_deref(), found.as_ref(), "lrem")?;
    }
    cx.reply.size(removed);
    Ok(())
}

fn ltrim(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let (key, found) = find(cx, args)?;
    if found.is_some() {
        let items: Vec<&[u8]> = view(found.as_ref())?.items().collect();
        let kept = &items[span(start, stop, items.len()).unwrap_or(0..0)];
        shrink(cx, &key, Kind::List, encoded(kept).as_deref(), found.as_ref(), "ltrim")?;
    }
    cx.reply.ok();
    Ok(())
}
