//! Fields of a hash that expire by themselves: the HEXPIRE family, HGETEX, HSETEX, HGETDEL.
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
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
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
    entry("hsetex", -6, "8.0.0", "Sets fields and their expiry.", hsetex),
];

/// Reads `FIELDS numfields` and what follows, `per_field` arguments for each.
fn fields_of(args: Args<'_>, per_field: usize) -> Result<Args<'_>, Stop> {
    if !args.get(0).is_some_and(|word| is(word, "fields")) {
        return Err(Stop::error(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let few = "ERR Parameter `numFields` should be greater than 0";
    let count = args.get(1).ok_or(Stop::error(few))?;
    let count = usize::try_from(ranged(count, 1, i64::MAX, Some(few))?).unwrap_or(usize::MAX);
    let rest = args.from(2);
    if count.checked_mul(per_field) != Some(rest.len()) {
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
fn moment(cx: &Context<'_>, arg: &[u8], clock: Clock, command: &str) -> Result<UnixMillis, Stop> {
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
    let moment = moment(cx, &args[2], clock, name)?;
    let condition = Condition::parse(&args[3]);
    let names = fields_of(args.from(if condition == Condition::None { 3 } else { 4 }), 1)?;
    let (key, found) = find(cx, args)?;
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
    let names = fields_of(args.from(2), 1)?;
    let (key, found) = find(cx, args)?;
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
    let names = fields_of(args.from(2), 1)?;
    let (_, found) = find(cx, args)?;
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

/// Writes the values of `names` as they are in `found`.
fn reply_values(cx: &mut Context<'_>, found: Option<&Found>, names: Args<'_>) -> Outcome {
    let hash = view(cx, found)?;
    cx.reply.array(names.len());
    for name in names.iter() {
        match hash.get(name) {
            Some(value) => cx.reply.bulk(value),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

fn hgetdel(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let names = fields_of(args.from(2), 1)?;
    let (key, found) = find(cx, args)?;
    cx.count_read(found.is_some());
    change(cx, &key, found.as_ref(), names, |_| Fate::Gone)?;
    reply_values(cx, found.as_ref(), names)
}

fn hgetex(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (fate, at) = match &args[2] {
        word if is(word, "persist") => (Fate::Stays, 3),
        word => match Clock::named(word) {
            None => (Fate::Kept, 2),
            Some(clock) => (Fate::Expires(moment(cx, &args[3], clock, "hgetex")?), 4),
        },
    };
    let names = fields_of(args.from(at), 1)?;
    let (key, found) = find(cx, args)?;
    cx.count_read(found.is_some());
    change(cx, &key, found.as_ref(), names, |field| {
        if fate == Fate::Stays && field.expires_at.is_none() { Fate::Kept } else { fate }
    })?;
    reply_values(cx, found.as_ref(), names)
}

/// Options of HSETEX.
#[derive(Default)]
struct Options {
    absent_only: bool,
    present_only: bool,
    keep_expiry: bool,
    expires_at: Option<UnixMillis>,
}

impl Options {
    /// Reads the words before FIELDS. Returns also where that is.
    fn parse(cx: &Context<'_>, args: Args<'_>) -> Result<(Options, usize), Stop> {
        let (mut options, mut at) = (Options::default(), 2);
        while let Some(word) = args.get(at).filter(|word| !is(word, "fields")) {
            if is(word, "fnx") {
                options.absent_only = true;
            } else if is(word, "fxx") {
                options.present_only = true;
            } else if is(word, "keepttl") {
                options.keep_expiry = true;
            } else {
                let clock = Clock::named(word).ok_or(text::SYNTAX)?;
                at += 1;
                let amount = args.get(at).ok_or(text::SYNTAX)?;
                let moment = moment(cx, amount, clock, "hsetex")?;
                if options.expires_at.replace(moment).is_some() {
                    return Err(text::SYNTAX);
                }
            }
            at += 1;
        }
        let contradiction = options.absent_only && options.present_only
            || options.keep_expiry && options.expires_at.is_some();
        if contradiction { Err(text::SYNTAX) } else { Ok((options, at)) }
    }
}

fn hsetex(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (options, at) = Options::parse(cx, args)?;
    let given = fields_of(args.from(at), 2)?;
    let (key, found) = find(cx, args)?;
    let hash = view(cx, found.as_ref())?;
    let mut names = (0..given.len()).step_by(2).map(|at| given.at(at));
    let refused = options.absent_only && names.clone().any(|name| hash.get(name).is_some())
        || options.present_only && names.any(|name| hash.get(name).is_none());
    if refused {
        cx.reply.integer(0);
        return Ok(());
    }
    let mut fields: Vec<Field<'_>> = hash.fields().collect();
    for at in (0..given.len()).step_by(2) {
        let (name, value) = (given.at(at), given.at(at + 1));
        if let Some(field) = fields.iter_mut().find(|field| field.name == name) {
            let expires_at =
                if options.keep_expiry { field.expires_at } else { options.expires_at };
            *field = Field { name, value, expires_at };
        } else {
            fields.push(Field { name, value, expires_at: options.expires_at });
        }
    }
    let mut builder = Builder::default();
    let now = cx.now;
    let lasts = |field: &Field<'_>| field.expires_at.is_none_or(|at| at > now);
    fields.into_iter().filter(lasts).for_each(|field| builder.push(field));
    let emptied = builder.is_empty();
    put(cx, &key, builder, found.as_ref().and_then(own))?;
    cx.notify(notify::HASH, "hset", &args[1]);
    if options.expires_at.is_some() {
        let past = options.expires_at.is_some_and(|at| at <= now);
        cx.notify(notify::HASH, if past { "hdel" } else { "hexpire" }, &args[1]);
    }
    if emptied {
        cx.notify(notify::GENERIC, "del", &args[1]);
    }
    cx.reply.integer(1);
    Ok(())
}
