//! Hash commands that write.
//!
//! Owns: editing a hash value, which is one record, as a whole.
//! Never knows: the layout (see `value::hash`).
//! Invariant: a hash without fields does not exist.

use std::collections::HashMap;

use emberlog_engine::{Found, Key, UnixMillis};

use super::counter::{sum, sum_of_floats};
use super::parse::{float, integer, wrong_arity};
use super::table::flag::{DENYOOM, FAST, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;
use crate::value::hash::{self, Builder, Field, Hash};

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
pub(super) fn view<'a>(cx: &Context<'_>, found: Option<&'a Found>) -> Result<Hash<'a>, Stop> {
    let parse = |found: &'a Found| Hash::parse(&found.value, cx.now).map_err(|_| text::MALFORMED);
    found.map_or(Ok(Hash::EMPTY), parse)
}

/// When the key of the hash in `found` expires.
pub(super) fn own(found: &Found) -> Option<UnixMillis> {
    hash::own_expiry(&found.value, found.expires_at)
}

/// Writes what `builder` holds under a key that expires at `own_expiry`; without fields, there is
/// no hash.
pub(super) fn put(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    builder: Builder<'_>,
    own_expiry: Option<UnixMillis>,
) -> Result<(), Stop> {
    if builder.is_empty() {
        return cx.delete(key).map(|_| ());
    }
    let (value, expires_at) = builder.finish(own_expiry);
    cx.room(value.len())?;
    cx.put(key, Kind::Hash, &value, expires_at)
}

/// The hash at `key`.
pub(super) fn find<'a>(
    cx: &mut Context<'_>,
    args: Args<'a>,
) -> Result<(Key<'a>, Option<Found>), Stop> {
    let key = cx.key(args.at(1))?;
    let found = cx.find_kind(&key, Kind::Hash)?;
    if let Some(found) = found.as_ref().filter(|_| cx.overlay.is_none()) {
        cx.meet_hash(&key, &found.value, found.expires_at);
    }
    Ok((key, found))
}

/// Writes the hash `value`, as it is in a record, under a key that expires at `own_expiry`.
pub(super) fn restore(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    value: &[u8],
    own_expiry: Option<UnixMillis>,
) -> Result<(), Stop> {
    let hash = Hash::parse(value, cx.now).map_err(|_| text::MALFORMED)?;
    let mut builder = Builder::default();
    for field in hash.fields() {
        builder.push(field);
    }
    put(cx, key, builder, own_expiry)
}

/// Writes the hash in `found` with `changes` applied. A field that is set loses its expiry, unless
/// `keep_expiry`. Returns how many fields are new.
fn edit(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    found: Option<&Found>,
    changes: &[(&[u8], &[u8])],
    keep_expiry: bool,
) -> Result<usize, Stop> {
    let hash = view(cx, found)?;
    let mut newest = Newest::new(changes);
    let mut builder = Builder::default();
    for field in hash.fields() {
        builder.push(match newest.take(field.name) {
            None => field,
            Some(value) if keep_expiry => Field { value, ..field },
            Some(value) => Field { value, expires_at: None, ..field },
        });
    }
    let mut new = 0;
    for (name, _) in changes {
        if let Some(value) = newest.take(name) {
            builder.push(Field { name, value, expires_at: None });
            new += 1;
        }
    }
    put(cx, key, builder, found.and_then(own))?;
    Ok(new)
}

/// The last of several values given for each field. A few changes are searched, many are indexed.
pub(super) enum Newest<'a> {
    Few(Vec<(&'a [u8], &'a [u8])>),
    Many(HashMap<&'a [u8], &'a [u8]>),
}

/// Changes that are searched one by one.
const FEW: usize = 8;

impl<'a> Newest<'a> {
    pub(super) fn new(changes: &[(&'a [u8], &'a [u8])]) -> Newest<'a> {
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

    pub(super) fn take(&mut self, field: &[u8]) -> Option<&'a [u8]> {
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
        return Err(wrong_arity(if old_form { "hmset" } else { "hset" }));
    }
    let (key, found) = find(cx, args)?;
    let changes: Vec<(&[u8], &[u8])> =
        (2..args.len()).step_by(2).map(|at| (args.at(at), args.at(at + 1))).collect();
    let new = edit(cx, &key, found.as_ref(), &changes, false)?;
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
    let free = view(cx, found.as_ref())?.get(&args[2]).is_none();
    if free {
        edit(cx, &key, found.as_ref(), &[(&args[2], &args[3])], false)?;
        cx.notify(notify::HASH, "hset", &args[1]);
    }
    cx.reply.integer(i64::from(free));
    Ok(())
}

fn hdel(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let hash = view(cx, found.as_ref())?;
    let gone: std::collections::HashSet<&[u8]> = args.iter().skip(2).collect();
    let mut builder = Builder::default();
    for field in hash.fields().filter(|field| !gone.contains(field.name)) {
        builder.push(field);
    }
    let deleted = hash.len() - builder.len();
    if deleted > 0 {
        let emptied = builder.is_empty();
        put(cx, &key, builder, found.as_ref().and_then(own))?;
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
    let old = match view(cx, found.as_ref())?.get(&args[2]) {
        None => 0,
        Some(old) => integer(old).map_err(|_| Stop::error("ERR hash value is not an integer"))?,
    };
    let new = sum(old, amount)?;
    let mut digits = itoa::Buffer::new();
    edit(cx, &key, found.as_ref(), &[(&args[2], digits.format(new).as_bytes())], true)?;
    cx.notify(notify::HASH, "hincrby", &args[1]);
    cx.reply.integer(new);
    Ok(())
}

fn hincrbyfloat(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if float(&args[3])?.is_infinite() {
        return Err(Stop::error("ERR value is NaN or Infinity"));
    }
    let (key, found) = find(cx, args)?;
    let old = view(cx, found.as_ref())?.get(&args[2]).unwrap_or(b"0");
    let sum = sum_of_floats(old, &args[3], Stop::error("ERR hash value is not a float"))?;
    edit(cx, &key, found.as_ref(), &[(&args[2], sum.as_bytes())], true)?;
    cx.notify(notify::HASH, "hincrbyfloat", &args[1]);
    cx.reply.bulk(sum.as_bytes());
    Ok(())
}
