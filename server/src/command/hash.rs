//! Hash commands that write.
//!
//! Owns: editing a hash value, which is one record, as a whole.
//! Never knows: the layout (see `value::hash`).
//! Invariant: a hash without fields does not exist.

use std::collections::HashMap;

use emberlog_engine::{Found, Key};

use super::counter::{sum, sum_of_floats};
use super::parse::{error, integer};
use super::table::flag::{DENYOOM, FAST, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;
use crate::value::hash::{Builder, Hash};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Hash, since, summary, handler)
        .keys(Keys::ONE)
        .flags(WRITE | DENYOOM | FAST)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("hset", -4, "2.0.0", "Sets fields of a hash.", hset),
    entry("hmset", -4, "2.0.0", "Sets fields of a hash; older form of HSET.", hset),
    entry("hsetnx", 4, "2.0.0", "Sets a field of a hash if it does not exist.", hsetnx),
    entry("hdel", -3, "2.0.0", "Deletes fields of a hash.", hdel).flags(WRITE | FAST),
    entry("hincrby", 4, "2.0.0", "Adds to the integer value of a field.", hincrby),
    entry("hincrbyfloat", 4, "2.6.0", "Adds to the number value of a field.", hincrbyfloat),
];

/// The hash in `found`, or the empty one.
pub(super) fn view(found: Option<&Found>) -> Result<Hash<'_>, Stop> {
    found.map_or(Ok(Hash::EMPTY), |found| Hash::parse(&found.value).map_err(|_| text::MALFORMED))
}

/// The hash at `key`.
pub(super) fn find<'a>(
    cx: &mut Context<'_>,
    args: Args<'a>,
) -> Result<(Key<'a>, Option<Found>), Stop> {
    let key = cx.key(args.at(1))?;
    let found = cx.find_kind(&key, Kind::Hash)?;
    Ok((key, found))
}

/// Writes the hash in `found` with `changes` applied. Returns how many fields are new.
fn edit(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    found: Option<&Found>,
    changes: &[(&[u8], &[u8])],
) -> Result<usize, Stop> {
    let hash = view(found)?;
    let old_len = found.map_or(0, |found| found.value.len());
    // Per field: two lengths of at most 5 bytes.
    let added: usize = changes.iter().map(|(field, value)| field.len() + value.len() + 10).sum();
    cx.room(old_len + added)?;
    let mut newest = Newest::new(changes);
    let mut builder = Builder::with_capacity(old_len + added);
    for (field, value) in hash.pairs() {
        builder.push(field, newest.take(field).unwrap_or(value));
    }
    let mut new = 0;
    for (field, _) in changes {
        if let Some(value) = newest.take(field) {
            builder.push(field, value);
            new += 1;
        }
    }
    cx.put(key, Kind::Hash, &builder.finish(), found.and_then(|found| found.expires_at))?;
    Ok(new)
}

/// The last of several values given for each field. A few changes are searched, many are indexed.
enum Newest<'a> {
    Few(Vec<(&'a [u8], &'a [u8])>),
    Many(HashMap<&'a [u8], &'a [u8]>),
}

/// Changes that are searched one by one.
const FEW: usize = 8;

impl<'a> Newest<'a> {
    fn new(changes: &[(&'a [u8], &'a [u8])]) -> Newest<'a> {
        if changes.len() > FEW {
            return Newest::Many(changes.iter().copied().collect());
        }
        let mut few: Vec<(&[u8], &[u8])> = Vec::with_capacity(changes.len());
        for (field, value) in changes {
            match few.iter_mut().find(|(name, _)| name == field) {
                Some(slot) => slot.1 = value,
                None => few.push((field, value)),
            }
        }
        Newest::Few(few)
    }

    fn take(&mut self, field: &[u8]) -> Option<&'a [u8]> {
        match self {
            Newest::Few(few) => {
                let position = few.iter().position(|(name, _)| *name == field)?;
                Some(few.swap_remove(position).1)
            }
            Newest::Many(many) => many.remove(field),
        }
    }
}

/// HSET and HMSET.
fn hset(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let old_form = args[0].len() == "hmset".len();
    if !args.len().is_multiple_of(2) {
        let name = if old_form { "hmset" } else { "hset" };
        return Err(error(format!("ERR wrong number of arguments for '{name}' command")));
    }
    let (key, found) = find(cx, args)?;
    let changes: Vec<(&[u8], &[u8])> =
        (2..args.len()).step_by(2).map(|at| (args.at(at), args.at(at + 1))).collect();
    let new = edit(cx, &key, found.as_ref(), &changes)?;
    cx.notify(notify::HASH, "hset", &args[1]);
    if old_form {
        cx.reply.ok();
    } else {
        cx.reply.size(new);
    }
    Ok(())
}

fn hsetnx(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let free = view(found.as_ref())?.get(&args[2]).is_none();
    if free {
        edit(cx, &key, found.as_ref(), &[(&args[2], &args[3])])?;
        cx.notify(notify::HASH, "hset", &args[1]);
    }
    cx.reply.integer(i64::from(free));
    Ok(())
}

fn hdel(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let hash = view(found.as_ref())?;
    let gone: std::collections::HashSet<&[u8]> = args.iter().skip(2).collect();
    let len = found.as_ref().map_or(0, |found| found.value.len());
    let mut builder = Builder::with_capacity(len);
    for (field, value) in hash.pairs().filter(|(field, _)| !gone.contains(field)) {
        builder.push(field, value);
    }
    let deleted = hash.len() - builder.len();
    if deleted > 0 {
        let emptied = builder.is_empty();
        if emptied {
            cx.delete(&key)?;
        } else {
            cx.room(len)?;
            let expires_at = found.as_ref().and_then(|found| found.expires_at);
            cx.put(&key, Kind::Hash, &builder.finish(), expires_at)?;
        }
        cx.notify(notify::HASH, "hdel", &args[1]);
        if emptied {
            cx.notify(notify::GENERIC, "del", &args[1]);
        }
    }
    cx.reply.size(deleted);
    Ok(())
}

fn hincrby(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let amount = integer(&args[3])?;
    let (key, found) = find(cx, args)?;
    let old = match view(found.as_ref())?.get(&args[2]) {
        None => 0,
        Some(old) => integer(old).map_err(|_| Stop::error("ERR hash value is not an integer"))?,
    };
    let new = sum(old, amount)?;
    let mut digits = itoa::Buffer::new();
    edit(cx, &key, found.as_ref(), &[(&args[2], digits.format(new).as_bytes())])?;
    cx.notify(notify::HASH, "hincrby", &args[1]);
    cx.reply.integer(new);
    Ok(())
}

fn hincrbyfloat(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let old = view(found.as_ref())?.get(&args[2]).unwrap_or(b"0");
    let sum = sum_of_floats(old, &args[3], Stop::error("ERR hash value is not a float"))?;
    edit(cx, &key, found.as_ref(), &[(&args[2], sum.as_bytes())])?;
    cx.notify(notify::HASH, "hincrbyfloat", &args[1]);
    cx.reply.bulk(sum.as_bytes());
    Ok(())
}
