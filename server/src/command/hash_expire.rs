//! Fields of a hash that expire by themselves: the HEXPIRE family, HGETEX, HGETDEL; HSETEX is in `hash_setex`.
//!
//! Owns: their options and conditions, those of Redis 7.4 and 8.
//! Never knows: the layout (see `value::hash`).
//! Invariant: a field that has expired is not there for any command; a hash whose last field goes
//! goes with it.

use std::collections::HashMap;

use emberlog_engine::{Found, Key, UnixMillis};

use super::collection::ranged;
use super::hash::{find, own, put, view};
use super::parse::{Clock, integer, invalid_expire, is};
use super::table::flag::{DENYOOM, FAST, READONLY, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop};
use crate::notify;
use crate::resp::Args;
use crate::value::hash::{Builder, Field};

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
    entry("hexpire", -6, "7.4.0", "Sets the expiry of fields in seconds.", |cx, args| {
        hexpire(cx, args, Clock::EX, "hexpire")
    }),
    entry("hpexpire", -6, "7.4.0", "Sets the expiry of fields in milliseconds.", |cx, args| {
        hexpire(cx, args, Clock::PX, "hpexpire")
    }),
    entry("hexpireat", -6, "7.4.0", "Sets the expiry of fields to a Unix time.", |cx, args| {
        hexpire(cx, args, Clock::EXAT, "hexpireat")
    }),
    entry(
        "hpexpireat",
        -6,
        "7.4.0",
        "Sets the expiry of fields to a Unix time in milliseconds.",
        |cx, args| hexpire(cx, args, Clock::PXAT, "hpexpireat"),
    ),
    entry("httl", -5, "7.4.0", "Returns the time until fields expire, in seconds.", |cx, args| {
        remaining(cx, args, |at, now| at.since(now).div_ceil(1000))
    })
    .flags(READONLY | FAST),
    entry(
        "hpttl",
        -5,
        "7.4.0",
        "Returns the time until fields expire, in milliseconds.",
        |c, a| remaining(c, a, UnixMillis::since),
    )
    .flags(READONLY | FAST),
    entry("hexpiretime", -5, "7.4.0", "Returns the Unix times at which fields expire.", |c, a| {
        remaining(c, a, |at, _| at.0.div_ceil(1000))
    })
    .flags(READONLY | FAST),
    entry(
        "hpexpiretime",
        -5,
        "7.4.0",
        "Returns the Unix times in milliseconds at which fields expire.",
        |cx, args| remaining(cx, args, |at, _| at.0),
    )
    .flags(READONLY | FAST),
    entry("hpersist", -5, "7.4.0", "Removes the expiry of fields.", hpersist).flags(WRITE | FAST),
    entry("hgetdel", -5, "8.0.0", "Returns the values of fields and deletes them.", hgetdel)
        .flags(WRITE | FAST),
    entry("hgetex", -5, "8.0.0", "Returns the values of fields and sets their expiry.", hgetex)
        .flags(WRITE | FAST),
    entry("hsetex", -6, "8.0.0", "Sets fields and their expiry.", super::hash_setex::hsetex),
];

/// What HEXPIRE and its like say of a number of fields that is none, and what all others say.
const FEW_TO_EXPIRE: &str = "ERR Parameter `numFields` should be greater than 0";
const FEW: &str = "ERR Number of fields must be a positive integer";

/// Reads `FIELDS numfields` and the names that follow.
fn fields_of<'a>(args: Args<'a>, few: &'static str) -> Result<Args<'a>, Stop> {
    if !args.get(0).is_some_and(|word| is(word, "fields")) {
        return Err(Stop::error(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = args.get(1).ok_or(Stop::error(few))?;
    let count = ranged(count, 1, i64::MAX, Some(few))?;
    let rest = args.from(2);
    if usize::try_from(count) != Ok(rest.len()) {
        return Err(Stop::error(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(rest)
}

/// Condition of HEXPIRE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition {
    None,
    HasNone,
    HasOne,
    Later,
    Earlier,
}

impl Condition {
    fn parse(arg: &[u8]) -> Condition {
        match arg {
            arg if is(arg, "nx") => Condition::HasNone,
            arg if is(arg, "xx") => Condition::HasOne,
            arg if is(arg, "gt") => Condition::Later,
            arg if is(arg, "lt") => Condition::Earlier,
            _ => Condition::None,
        }
    }

    fn allows(self, old: Option<UnixMillis>, new: UnixMillis) -> bool {
        match self {
            Condition::None => true,
            Condition::HasNone => old.is_none(),
            Condition::HasOne => old.is_some(),
            Condition::Later => old.is_some_and(|old| new > old),
            Condition::Earlier => old.is_none_or(|old| new < old),
        }
    }
}

/// The moment that `arg` stands for; one in the past is as good as now.
pub(super) fn moment(
    cx: &Context<'_>,
    arg: &[u8],
    clock: Clock,
    command: &str,
) -> Result<UnixMillis, Stop> {
    let amount = integer(arg)?;
    if amount < 0 {
        return Err(Stop::error("ERR invalid expire time, must be >= 0"));
    }
    let moment = clock.moment(amount, cx.now).and_then(|moment| u64::try_from(moment).ok());
    moment.map(UnixMillis).ok_or_else(|| invalid_expire(command))
}

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It stays as it is.
    Kept,
    /// It expires then.
    Expires(UnixMillis),
    /// It does not expire by itself.
    Stays,
    /// It is deleted.
    Gone,
}

/// Applies `decide` to the named fields, and writes the hash if that changes anything. Returns what
/// became of each name; `None`: there is no such field.
fn change(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    found: Option<&Found>,
    names: Args<'_>,
    mut decide: impl FnMut(&Field<'_>) -> Fate,
) -> Result<Vec<Option<Fate>>, Stop> {
    let hash = view(cx, found)?;
    let mut fields: Vec<(Field<'_>, bool)> = hash.fields().map(|field| (field, true)).collect();
    let places: HashMap<&[u8], usize> =
        fields.iter().enumerate().map(|(at, (field, _))| (field.name, at)).collect();
    let mut fates = Vec::with_capacity(names.len());
    for name in names.iter() {
        let field = places.get(name).map(|at| &mut fields[*at]).filter(|(_, there)| *there);
        fates.push(field.map(|(field, there)| {
            let fate = decide(field);
            match fate {
                Fate::Kept => {}
                Fate::Stays => field.expires_at = None,
                Fate::Expires(at) if at > cx.now => field.expires_at = Some(at),
                Fate::Expires(_) | Fate::Gone => {
                    *there = false;
                    return Fate::Gone;
                }
            }
            fate
        }));
    }
    let is = |wanted: fn(&Fate) -> bool| fates.iter().flatten().any(wanted);
    if !is(|fate| *fate != Fate::Kept) {
        return Ok(fates);
    }
    let mut builder = Builder::default();
    fields.into_iter().filter(|(_, there)| *there).for_each(|(field, _)| builder.push(field));
    let emptied = builder.is_empty();
    put(cx, key, builder, found.and_then(own))?;
    if is(|fate| matches!(fate, Fate::Expires(_))) {
        cx.notify(notify::HASH, "hexpire", key.bytes());
    }
    if is(|fate| *fate == Fate::Stays) {
        cx.notify(notify::HASH, "hpersist", key.bytes());
    }
    if is(|fate| *fate == Fate::Gone) {
        cx.notify(notify::HASH, "hdel", key.bytes());
    }
    if emptied {
        cx.notify(notify::GENERIC, "del", key.bytes());
    }
    Ok(fates)
}

fn hexpire(cx: &mut Context<'_>, args: Args<'_>, clock: Clock, name: &str) -> Outcome {
    let (key, found) = find(cx, args)?;
    let moment = moment(cx, &args[2], clock, name)?;
    let condition = Condition::parse(&args[3]);
    let words = args.from(if condition == Condition::None { 3 } else { 4 });
    let names = fields_of(words, FEW_TO_EXPIRE)?;
    let fates = change(cx, &key, found.as_ref(), names, |field| {
        if condition.allows(field.expires_at, moment) { Fate::Expires(moment) } else { Fate::Kept }
    })?;
    cx.reply.array(fates.len());
    for fate in fates {
        cx.reply.integer(match fate {
            None => -2,
            Some(Fate::Gone) => 2,
            Some(Fate::Kept) => 0,
            Some(_) => 1,
        });
    }
    Ok(())
}

fn hpersist(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let names = fields_of(args.from(2), FEW)?;
    let fates = change(cx, &key, found.as_ref(), names, |field| {
        if field.expires_at.is_some() { Fate::Stays } else { Fate::Kept }
    })?;
    cx.reply.array(fates.len());
    for fate in fates {
        cx.reply.integer(match fate {
            None => -2,
            Some(Fate::Kept) => -1,
            Some(_) => 1,
        });
    }
    Ok(())
}

fn remaining(
    cx: &mut Context<'_>,
    args: Args<'_>,
    show: fn(UnixMillis, UnixMillis) -> u64,
) -> Outcome {
    let (_, found) = find(cx, args)?;
    let names = fields_of(args.from(2), FEW)?;
    cx.count_read(found.is_some());
    let hash = view(cx, found.as_ref())?;
    cx.reply.array(names.len());
    for name in names.iter() {
        cx.reply.integer(match hash.field(name).map(|field| field.expires_at) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => i64::try_from(show(at, cx.now)).unwrap_or(i64::MAX),
        });
    }
    Ok(())
}

/// Writes the values of `names` as they were in `found`, those that still were there when it was their
/// turn.
fn reply_values(
    cx: &mut Context<'_>,
    found: Option<&Found>,
    names: Args<'_>,
    fates: &[Option<Fate>],
) -> Outcome {
    let hash = view(cx, found)?;
    cx.reply.array(names.len());
    for (name, fate) in names.iter().zip(fates) {
        match hash.get(name).filter(|_| fate.is_some()) {
            Some(value) => cx.reply.bulk(value),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

fn hgetdel(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let names = fields_of(args.from(2), FEW)?;
    cx.count_read(found.is_some());
    let fates = change(cx, &key, found.as_ref(), names, |_| Fate::Gone)?;
    reply_values(cx, found.as_ref(), names, &fates)
}

fn hgetex(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let (fate, at) = match &args[2] {
        word if is(word, "persist") => (Fate::Stays, 3),
        word => match Clock::named(word) {
            None => (Fate::Kept, 2),
            Some(clock) => (Fate::Expires(moment(cx, &args[3], clock, "hgetex")?), 4),
        },
    };
    let names = fields_of(args.from(at), FEW)?;
    cx.count_read(found.is_some());
    let fates = change(cx, &key, found.as_ref(), names, |field| {
        if fate == Fate::Stays && field.expires_at.is_none() { Fate::Kept } else { fate }
    })?;
    reply_values(cx, found.as_ref(), names, &fates)
}
