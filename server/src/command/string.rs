//! String commands that read or change a value; those that replace it are in `string_set`.
//!
//! Owns: GET and its relatives, MGET, ranges, APPEND.
//! Never knows: how values are stored.
//! Invariant: a string keeps its expiry unless a command is about the expiry.

use emberlog_engine::{Found, UnixMillis};

use super::large::{len_of, size};
use super::parse::{Clock, integer, is};
use super::string_set::Comparison;
use super::table::flag::{DENYOOM, FAST, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::String, since, summary, handler).keys(Keys::ONE)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("get", 2, "1.0.0", "Returns the string value of a key.", get).flags(READONLY | FAST),
    entry("getex", -2, "6.2.0", "Returns the string value of a key and sets its expiry.", getex)
        .flags(WRITE | FAST),
    entry("getdel", 2, "6.2.0", "Returns the string value of a key and deletes the key.", getdel)
        .flags(WRITE | FAST),
    entry("delifeq", 3, "8.4.0", "Deletes a key if it is a given string.", |cx, args| {
        delete_if(cx, args, Some(Comparison::Equal(args.at(2))))
    })
    .flags(WRITE | FAST),
    entry("delex", -2, "8.4.0", "Deletes a key, with a condition on its string as option.", delex)
        .flags(WRITE | FAST),
    entry("getset", 3, "1.0.0", "Sets a string and returns the value it had.", getset)
        .flags(WRITE | DENYOOM | FAST),
    entry("mget", -2, "1.0.0", "Returns the string values of keys.", mget)
        .flags(READONLY | FAST | TIMED)
        .keys(Keys::ALL),
    entry("strlen", 2, "2.2.0", "Returns the length of a string.", strlen).flags(READONLY | FAST),
    entry("getrange", 4, "2.4.0", "Returns a part of a string.", getrange).flags(READONLY),
    entry("substr", 4, "1.0.0", "Returns a part of a string; older name of GETRANGE.", getrange)
        .flags(READONLY),
    entry("setrange", 4, "2.2.0", "Overwrites a part of a string.", setrange)
        .flags(WRITE | DENYOOM),
    entry("append", 3, "2.0.0", "Appends to a string.", append).flags(WRITE | DENYOOM | FAST),
];

fn get(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_any_string(&key)?;
    cx.reply_string(found.as_ref())?;
    cx.count_read(found.is_some());
    Ok(())
}

/// What GETEX does to the expiry.
enum Change {
    Keep,
    Remove,
    Set(UnixMillis),
}

fn getex(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let option = match (args.get(2), args.get(3), args.len()) {
        (None, _, _) => None,
        (Some(option), None, _) if is(option, "persist") => Some(None),
        (Some(option), Some(amount), 4) => {
            Some(Some((Clock::named(option).ok_or(text::SYNTAX)?, amount)))
        }
        _ => return Err(text::SYNTAX),
    };
    let key = cx.key(&args[1])?;
    let found = cx.find_any_string(&key)?;
    let change = match option {
        None => Change::Keep,
        Some(None) => Change::Remove,
        // As in Redis, only a key that exists has its new expiry looked at.
        Some(Some(_)) if found.is_none() => Change::Keep,
        Some(Some((clock, amount))) => Change::Set(clock.positive(amount, cx.now, "getex")?),
    };
    cx.reply_string(found.as_ref())?;
    cx.count_read(found.is_some());
    if let Some(found) = &found {
        match change {
            Change::Set(at) => {
                let deleted = cx.expire(&key, Some(at))?;
                cx.notify(notify::GENERIC, if deleted { "del" } else { "expire" }, &args[1]);
            }
            Change::Remove if found.expires_at.is_some() => {
                cx.expire(&key, None)?;
                cx.notify(notify::GENERIC, "persist", &args[1]);
            }
            Change::Keep | Change::Remove => {}
        }
    }
    Ok(())
}

fn getdel(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_any_string(&key)?;
    // Before the value goes: what is large is kept until it has been sent.
    cx.reply_string(found.as_ref())?;
    cx.count_read(found.is_some());
    if found.is_some() {
        cx.delete(&key)?;
        cx.notify(notify::GENERIC, "del", &args[1]);
    }
    Ok(())
}

fn delete_if(cx: &mut Context<'_>, args: Args<'_>, wanted: Option<Comparison<'_>>) -> Outcome {
    let key = cx.key(&args[1])?;
    let deleted = match wanted {
        None => cx.exists(&key)?,
        Some(wanted) => {
            let found = cx.find_any(&key)?;
            found.is_some() && wanted.holds(found.as_ref())?
        }
    };
    if deleted {
        cx.delete(&key)?;
        cx.notify(notify::GENERIC, "del", &args[1]);
    }
    cx.reply.integer(i64::from(deleted));
    Ok(())
}

fn delex(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match (args.get(2), args.get(3), args.len()) {
        (None, _, _) => delete_if(cx, args, None),
        (Some(word), Some(value), 4) => {
            let wanted = Comparison::named(word, value).ok_or(text::SYNTAX)?;
            delete_if(cx, args, Some(wanted))
        }
        _ => Err(text::SYNTAX),
    }
}

fn getset(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_any_string(&key)?;
    cx.reply_string(found.as_ref())?;
    super::string_set::store(cx, &key, found.as_ref(), &args[2], None)?;
    cx.notify(notify::STRING, "set", &args[1]);
    Ok(())
}

fn mget(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    cx.reply.array(args.len() - 1);
    for name in args.iter().skip(1) {
        let key = cx.key(name)?;
        let found = cx.find_any(&key)?.filter(|found| found.value_type == Kind::String.tag());
        cx.count_read(found.is_some());
        cx.reply_one_of(found.as_ref())?;
    }
    Ok(())
}

fn strlen(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_any_string(&key)?;
    cx.count_read(found.is_some());
    cx.reply.size(size(len_of(found.as_ref())));
    Ok(())
}

/// The part of `len` bytes that two offsets name, both included, negative ones from the end.
fn range(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let size = i64::try_from(len).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let absolute =
        |offset: i64| if offset < 0 { size.saturating_add(offset).max(0) } else { offset };
    let first = usize::try_from(absolute(start)).unwrap_or(len).min(len);
    let after = usize::try_from(absolute(end).saturating_add(1)).unwrap_or(len).min(len);
    first..after.max(first)
}

fn getrange(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (start, end) = (integer(&args[2])?, integer(&args[3])?);
    let key = cx.key(&args[1])?;
    let found = cx.find_any_string(&key)?;
    let wanted = range(start, end, size(len_of(found.as_ref())));
    match &found {
        Some(found) => cx.reply_range(found, wanted.start as u64..wanted.end as u64)?,
        None => cx.reply.bulk(&[]),
    }
    cx.count_read(found.is_some());
    Ok(())
}

fn setrange(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let offset = usize::try_from(integer(&args[2])?)
        .map_err(|_| Stop::error("ERR offset is out of range"))?;
    let key = cx.key(&args[1])?;
    let found = cx.find_any_string(&key)?;
    let old = size(len_of(found.as_ref()));
    let part = size(cx.argument_len(args, 3));
    if part == 0 {
        cx.reply.size(old);
        return Ok(());
    }
    let len = offset.checked_add(part).ok_or_else(exceeds)?.max(old);
    write_at(cx, args, found.as_ref(), (offset, 3), len)?;
    cx.notify(notify::STRING, "setrange", &args[1]);
    cx.reply.size(len);
    Ok(())
}

fn exceeds() -> Stop {
    Stop::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
}

/// Writes an argument into a string from a byte on, which makes it `len` bytes long.
fn write_at(
    cx: &mut Context<'_>,
    args: Args<'_>,
    found: Option<&Found>,
    (offset, argument): (usize, usize),
    len: usize,
) -> Outcome {
    if len > cx.state.config.proto_max_bulk_len {
        return Err(exceeds());
    }
    let key = cx.key(&args[1])?;
    let is_large = found.is_some_and(|found| found.chunked.is_some());
    if cx.took_in() || is_large || (len > cx.shard()?.value_bytes_max() && cx.may_wait()) {
        return cx.splice(&key, found, offset as u64, (args, argument));
    }
    cx.room(len)?;
    let (old, part) = (found.map_or(&[][..], |found| &found.value), args.at(argument));
    let mut value = Vec::with_capacity(len);
    value.extend_from_slice(&old[..old.len().min(offset)]);
    value.resize(offset, 0);
    value.extend_from_slice(part);
    value.extend_from_slice(old.get(value.len()..).unwrap_or_default());
    cx.put(&key, Kind::String, &value, found.and_then(|found| found.expires_at))
}

fn append(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_any_string(&key)?;
    let old = size(len_of(found.as_ref()));
    let part = size(cx.argument_len(args, 2));
    let len = old.checked_add(part).ok_or_else(exceeds)?;
    if part == 0 && found.as_ref().is_some_and(|found| found.chunked.is_some()) {
        cx.unchanged(&key);
    } else {
        write_at(cx, args, found.as_ref(), (old, 2), len)?;
    }
    cx.notify(notify::STRING, "append", &args[1]);
    cx.reply.size(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_redis() {
        for (start, end, len, expected) in [
            (0, 3, 16, 0..4),
            (-3, -1, 16, 13..16),
            (0, -1, 16, 0..16),
            (10, 100, 16, 10..16),
            (-1, -3, 16, 0..0),
            (5, 2, 16, 5..5),
            (-100, 1, 16, 0..2),
            (0, 0, 0, 0..0),
            (i64::MIN, i64::MAX, 4, 0..4),
            (i64::MAX, i64::MIN, 4, 4..4),
        ] {
            assert_eq!(range(start, end, len), expected, "{start} {end} {len}");
        }
    }
}
