//! Commands that give a value another key: RENAME, COPY, MOVE.
//!
//! Owns: nothing but these handlers.
//! Never knows: the layout of values.
//! Invariant: both keys change together, also across a crash.

use emberlog_engine::{Found, Key};

use super::collection::ranged;
use super::parse::is;
use super::table::flag::{DENYOOM, FAST, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;

const BOTH: Keys = Keys::Range { first: 1, last: 2, step: 1 };

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Generic, since, summary, handler)
        .keys(BOTH)
        .flags(WRITE | DENYOOM)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("rename", 3, "1.0.0", "Renames a key, replacing the destination.", |cx, args| {
        rename(cx, args)?;
        cx.reply.ok();
        Ok(())
    }),
    entry("renamenx", 3, "1.0.0", "Renames a key if the new name is free.", renamenx)
        .flags(WRITE | DENYOOM | FAST),
    entry("copy", -3, "6.2.0", "Copies the value of a key to another key.", copy),
    entry("move", 3, "1.0.0", "Moves a key to another database.", move_key)
        .flags(WRITE | DENYOOM | FAST)
        .keys(Keys::ONE),
];

fn kind_of(found: &Found) -> Result<Kind, Stop> {
    Kind::of_tag(found.value_type).ok_or(text::MALFORMED)
}

/// Writes `found` under `key`.
fn put(cx: &mut Context<'_>, key: &Key<'_>, found: &Found) -> Result<(), Stop> {
    cx.put(key, kind_of(found)?, &found.value, found.expires_at)
}

/// Gives the value `found` of `from` the key `to` instead.
fn transfer(cx: &mut Context<'_>, from: &Key<'_>, to: &Key<'_>, found: &Found) -> Result<(), Stop> {
    if let Some(chunked) = found.chunked {
        return cx.rename_large((from, to), &chunked, found.expires_at);
    }
    cx.room(found.value.len())?;
    cx.together(|cx| {
        put(cx, to, found)?;
        cx.delete(from).map(|_| ())
    })
}

fn rename(cx: &mut Context<'_>, args: Args<'_>) -> Result<(), Stop> {
    let (from, to) = (cx.key(&args[1])?, cx.key(&args[2])?);
    let Some(found) = cx.find_any(&from)? else { return Err(text::NO_KEY) };
    cx.find_to_replace(&to)?;
    if from == to {
        return Ok(());
    }
    transfer(cx, &from, &to, &found)?;
    cx.notify(notify::GENERIC, "rename_from", &args[1]);
    cx.notify(notify::GENERIC, "rename_to", &args[2]);
    Ok(())
}

fn renamenx(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (from, to) = (cx.key(&args[1])?, cx.key(&args[2])?);
    if cx.find_any(&from)?.is_none() {
        return Err(text::NO_KEY);
    }
    let free = !cx.exists(&to)?;
    if free {
        rename(cx, args)?;
    }
    cx.reply.integer(i64::from(free));
    Ok(())
}

/// A database number.
pub(super) fn database(cx: &Context<'_>, arg: &[u8]) -> Result<u16, Stop> {
    let out_of_range = Stop::error("ERR DB index is out of range");
    let number = ranged(arg, i64::from(i32::MIN), i64::from(i32::MAX), None)?;
    let db = u16::try_from(number).map_err(|_| out_of_range.clone())?;
    if db < cx.state.config.databases { Ok(db) } else { Err(out_of_range) }
}

fn copy(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (mut db, mut replace) = (cx.session.db, false);
    let mut words = args.from(3).iter();
    while let Some(word) = words.next() {
        match (word, words.clone().next()) {
            (word, _) if is(word, "replace") => replace = true,
            (word, Some(number)) if is(word, "db") => {
                db = database(cx, number)?;
                words.next();
            }
            _ => return Err(text::SYNTAX),
        }
    }
    let (from, to) = (cx.key(&args[1])?, cx.key_in(db, &args[2])?);
    if from == to {
        return Err(Stop::error("ERR source and destination objects are the same"));
    }
    let copied = match cx.find_any(&from)? {
        Some(found) if replace || !cx.exists(&to)? => {
            cx.find_to_replace(&to)?;
            if let Some(chunked) = found.chunked {
                let upload = cx.copied(&chunked)?;
                cx.put_large(&to, upload, found.expires_at)?;
            } else {
                cx.room(found.value.len())?;
                put(cx, &to, &found)?;
            }
            cx.notify_in(db, notify::GENERIC, "copy_to", &args[2]);
            true
        }
        _ => false,
    };
    cx.reply.integer(i64::from(copied));
    Ok(())
}

fn move_key(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let db = database(cx, &args[2])?;
    if db == cx.session.db {
        return Err(Stop::error("ERR source and destination objects are the same"));
    }
    let (from, to) = (cx.key(&args[1])?, cx.key_in(db, &args[1])?);
    let moved = match cx.find_any(&from)? {
        Some(found) if !cx.exists(&to)? => {
            transfer(cx, &from, &to, &found)?;
            cx.notify(notify::GENERIC, "move_from", &args[1]);
            cx.notify_in(db, notify::GENERIC, "move_to", &args[1]);
            true
        }
        _ => false,
    };
    cx.reply.integer(i64::from(moved));
    Ok(())
}
