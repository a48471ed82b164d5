//! What commands on collections of every type share.
//!
//! Owns: writing a collection back, choosing members at random, the options of the SCAN family.
//! Never knows: the layout of any collection.
//! Invariant: a collection without members does not exist.

use emberlog_engine::{Found, Key};

use super::parse::{error, integer};
use super::{Context, Stop, scan, text};
use crate::config::ClientClass;
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;

/// Keys by number: `numkeys key [key ...]` from argument `at` on.
///
/// # Errors
/// With `text` if the number is not one or below one; syntax, if there are fewer keys.
pub(super) fn numbered<'a>(
    args: Args<'a>,
    at: usize,
    text: &'static str,
) -> Result<(Args<'a>, Args<'a>), Stop> {
    let count = integer(&args[at]).ok().and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count > 0).ok_or(Stop::error(text))?;
    let rest = args.from(at + 1);
    if count > rest.len() {
        return Err(text::SYNTAX);
    }
    Ok((rest.first(count), rest.from(count)))
}

/// An integer from `min` to `max`.
///
/// # Errors
/// With `text`, or else in the words of Redis.
pub(super) fn ranged(
    arg: &[u8],
    min: i64,
    max: i64,
    text: Option<&'static str>,
) -> Result<i64, Stop> {
    let number = match (integer(arg), text) {
        (Ok(number), _) => number,
        (Err(_), Some(text)) => return Err(Stop::error(text)),
        (Err(stop), None) => return Err(stop),
    };
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(text.map_or_else(
        || error(format!("ERR value is out of range, value must between {min} and {max}")),
        Stop::error,
    ))
}

/// A count that is not negative.
///
/// # Errors
/// It is none.
pub(super) fn positive(arg: &[u8]) -> Result<usize, Stop> {
    let number = ranged(arg, 0, i64::MAX, Some("ERR value is out of range, must be positive"))?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// Writes a changed collection under the expiry it has.
///
/// # Errors
/// No room; refused by the store.
pub(super) fn rewrite(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    kind: Kind,
    value: &[u8],
    found: Option<&Found>,
) -> Result<(), Stop> {
    cx.room(value.len())?;
    cx.put(key, kind, value, found.and_then(|found| found.expires_at))
}

/// Writes what is left of a collection after `event`, or deletes it if that is nothing, and tells
/// of both.
///
/// # Errors
/// No room; refused by the store.
pub(super) fn shrink(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    kind: Kind,
    left: Option<&[u8]>,
    found: Option<&Found>,
    event: &str,
) -> Result<(), Stop> {
    match left {
        Some(value) => rewrite(cx, key, kind, value, found)?,
        None => {
            cx.delete(key)?;
        }
    }
    cx.notify(class(kind), event, key.bytes());
    if left.is_none() {
        cx.notify(notify::GENERIC, "del", key.bytes());
    }
    Ok(())
}

/// Makes `key` the collection `value` without an expiry, or nothing if there is none; `event` is
/// that of the first case.
///
/// # Errors
/// No room; refused by the store.
pub(super) fn replace(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    kind: Kind,
    value: Option<&[u8]>,
    event: &str,
) -> Result<(), Stop> {
    cx.find_to_replace(key)?;
    if let Some(value) = value {
        cx.room(value.len())?;
        cx.put(key, kind, value, None)?;
        cx.notify(class(kind), event, key.bytes());
    } else if cx.delete(key)? {
        cx.notify(notify::GENERIC, "del", key.bytes());
    }
    Ok(())
}

/// The class of events of a type.
pub(super) fn class(kind: Kind) -> u32 {
    match kind {
        Kind::Hash => notify::HASH,
        Kind::Set => notify::SET,
        Kind::List => notify::LIST,
        Kind::ZSet => notify::ZSET,
        Kind::String => notify::STRING,
        Kind::Session | Kind::Revoked => notify::MODULE,
    }
}

/// `count` different ones of `items`, or, if negative, as many with repetition. `longest` is the
/// most bytes that one of them takes in a reply.
///
/// # Errors
/// More than a client may be sent.
pub(super) fn pick<T: Copy>(
    cx: &mut Context<'_>,
    mut items: Vec<T>,
    count: i64,
    longest: usize,
) -> Result<Vec<T>, Stop> {
    if items.is_empty() {
        return Ok(items);
    }
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count >= 0 {
        let wanted = wanted.min(items.len());
        if wanted < items.len() {
            shuffle(cx, &mut items, wanted);
            items.truncate(wanted);
        }
        return Ok(items);
    }
    // 32 bytes stand for the framing of a reply and for its place in the list.
    let limit = cx.state.config.client_output_buffer_limit.of(ClientClass::Normal).hard_bytes;
    let limit = if limit == 0 { u64::MAX } else { limit }.min(1 << 30);
    if wanted.saturating_mul(longest + 32) as u64 > limit {
        return Err(Stop::error("ERR value is out of range"));
    }
    Ok((0..wanted).map(|_| items[cx.state.random.usize(..items.len())]).collect())
}

/// Writes `items` as strings.
pub(super) fn bulks<'a>(cx: &mut Context<'_>, items: impl Iterator<Item = &'a [u8]>) {
    for item in items {
        cx.reply.bulk(item);
    }
}

/// Moves `count` items chosen at random to the front.
pub(super) fn shuffle<T>(cx: &mut Context<'_>, items: &mut [T], count: usize) {
    for at in 0..count {
        let other = cx.state.random.usize(at..items.len());
        items.swap(at, other);
    }
}

/// Options of HSCAN, SSCAN and ZSCAN. A collection is one record and in RAM as a whole, so one
/// call lists all of it, as Redis does for those that it keeps in one piece.
pub(super) fn scan_pattern(args: Args<'_>) -> Result<&[u8], Stop> {
    let options = scan::Options::parse(args)?;
    if options.kind.is_some() {
        return Err(text::SYNTAX);
    }
    Ok(options.pattern)
}

/// Offsets `start` and `stop` of `len` elements, negative ones from the end, both included.
/// `None`: nothing is between them.
pub(super) fn span(start: i64, stop: i64, len: usize) -> Option<std::ops::Range<usize>> {
    let size = i64::try_from(len).unwrap_or(i64::MAX);
    let absolute = |offset: i64| if offset < 0 { size.saturating_add(offset) } else { offset };
    let (start, stop) = (absolute(start).max(0), absolute(stop).min(size - 1));
    if start > stop || start >= size {
        return None;
    }
    Some(usize::try_from(start).ok()?..usize::try_from(stop).ok()? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_those_of_redis() {
        for (start, stop, len, expected) in [
            (0, -1, 3, Some(0..3)),
            (-100, 100, 3, Some(0..3)),
            (1, 1, 3, Some(1..2)),
            (2, 1, 3, None),
            (3, 5, 3, None),
            (0, -4, 3, None),
            (0, 0, 0, None),
            (i64::MIN, i64::MAX, 2, Some(0..2)),
            (i64::MAX, i64::MIN, 2, None),
        ] {
            assert_eq!(span(start, stop, len), expected, "{start} {stop} {len}");
        }
    }
}
