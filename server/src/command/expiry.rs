//! When keys expire: EXPIRE, TTL and their relatives, PERSIST.
//!
//! Owns: the conditions NX, XX, GT, LT.
//! Never knows: how expiry is carried out.
//! Invariant: times are absolute once they have been read, so a slow disk never moves them.

use emberlog_engine::{Found, Key, UnixMillis};

use super::parse::{Clock, error, integer, invalid_expire, is};
use super::table::flag::{FAST, READONLY, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, hash};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;
use crate::value::hash::{Builder, is_expiring};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    let flags = if arity == 2 { READONLY | FAST } else { WRITE | FAST };
    Command::new(name, arity, Group::Generic, since, summary, handler).keys(Keys::ONE).flags(flags)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("expire", -3, "1.0.0", "Sets the expiry of a key in seconds.", |cx, args| {
        expire(cx, args, Clock::EX, "expire")
    }),
    entry("pexpire", -3, "2.6.0", "Sets the expiry of a key in milliseconds.", |cx, args| {
        expire(cx, args, Clock::PX, "pexpire")
    }),
    entry("expireat", -3, "1.2.0", "Sets the expiry of a key to a Unix time.", |cx, args| {
        expire(cx, args, Clock::EXAT, "expireat")
    }),
    entry(
        "pexpireat",
        -3,
        "2.6.0",
        "Sets the expiry of a key to a Unix time in milliseconds.",
        |cx, args| expire(cx, args, Clock::PXAT, "pexpireat"),
    ),
    entry("ttl", 2, "1.0.0", "Returns the time until a key expires, in seconds.", |cx, args| {
        remaining(cx, args, |at, now| seconds(at.since(now)))
    }),
    entry("pttl", 2, "2.6.0", "Returns the time until a key expires, in milliseconds.", |cx, a| {
        remaining(cx, a, UnixMillis::since)
    }),
    entry("expiretime", 2, "7.0.0", "Returns the Unix time at which a key expires.", |cx, args| {
        remaining(cx, args, |at, _| seconds(at.0))
    }),
    entry(
        "pexpiretime",
        2,
        "7.0.0",
        "Returns the Unix time in milliseconds at which a key expires.",
        |cx, args| remaining(cx, args, |at, _| at.0),
    ),
    entry("persist", 2, "2.2.0", "Removes the expiry of a key.", persist).flags(WRITE | FAST),
];

/// Rounds as Redis does.
fn seconds(millis: u64) -> u64 {
    (millis + 500) / 1000
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent words of the command")]
struct Conditions {
    none_yet: bool,
    has_one: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Conditions, Stop> {
        let mut conditions = Conditions::default();
        for word in args.iter() {
            let condition = match word {
                word if is(word, "nx") => &mut conditions.none_yet,
                word if is(word, "xx") => &mut conditions.has_one,
                word if is(word, "gt") => &mut conditions.later,
                word if is(word, "lt") => &mut conditions.earlier,
                _ => {
                    let word = String::from_utf8_lossy(&word[..word.len().min(128)]);
                    return Err(error(format!("ERR Unsupported option {word}")));
                }
            };
            *condition = true;
        }
        let Conditions { none_yet, has_one, later, earlier } = conditions;
        if none_yet && (has_one || later || earlier) {
            return Err(Stop::error(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if later && earlier {
            return Err(Stop::error("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Whether an expiry may change from `old` (none is the far future) to `new`.
    fn allow(&self, old: Option<UnixMillis>, new: i64) -> bool {
        let old_ms = old.map_or(i64::MAX, |at| i64::try_from(at.0).unwrap_or(i64::MAX));
        !(self.none_yet && old.is_some()
            || self.has_one && old.is_none()
            || self.later && new <= old_ms
            || self.earlier && new >= old_ms)
    }
}

/// When a key expires. The record of a hash may expire earlier, with its last field.
pub(super) fn expiry_of(found: &Found) -> Option<UnixMillis> {
    if found.value_type == Kind::Hash.tag() { hash::own(found) } else { found.expires_at }
}

/// Makes the key of `found` expire at another moment, or never; one that has passed deletes it.
/// Returns whether it was deleted.
fn change(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    found: &Found,
    expires_at: Option<UnixMillis>,
) -> Result<bool, Stop> {
    let past = expires_at.is_some_and(|at| at <= cx.now);
    if past || found.value_type != Kind::Hash.tag() || !is_expiring(&found.value) {
        return cx.expire(key, expires_at);
    }
    let mut builder = Builder::default();
    hash::view(cx, Some(found))?.fields().for_each(|field| builder.push(field));
    hash::put(cx, key, builder, expires_at)?;
    Ok(false)
}

fn expire(cx: &mut Context<'_>, args: Args<'_>, clock: Clock, name: &str) -> Outcome {
    let conditions = Conditions::parse(args.from(3))?;
    let amount = integer(&args[2])?;
    let moment = clock.moment(amount, cx.now).ok_or_else(|| invalid_expire(name))?;
    let key = cx.key(&args[1])?;
    let Some(found) = cx.find_any(&key)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    if !conditions.allow(expiry_of(&found), moment) {
        cx.reply.integer(0);
        return Ok(());
    }
    // A moment before the epoch is as past as the epoch.
    let moment = UnixMillis(u64::try_from(moment).unwrap_or(0));
    let deleted = change(cx, &key, &found, Some(moment))?;
    cx.notify(notify::GENERIC, if deleted { "del" } else { "expire" }, &args[1]);
    cx.reply.integer(1);
    Ok(())
}

fn remaining(
    cx: &mut Context<'_>,
    args: Args<'_>,
    show: fn(UnixMillis, UnixMillis) -> u64,
) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_any(&key)?;
    let number = match found {
        None => -2,
        Some(found) => {
            expiry_of(&found).map_or(-1, |at| i64::try_from(show(at, cx.now)).unwrap_or(i64::MAX))
        }
    };
    cx.reply.integer(number);
    Ok(())
}

fn persist(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_any(&key)?.filter(|found| expiry_of(found).is_some());
    let expires = found.is_some();
    if let Some(found) = found {
        change(cx, &key, &found, None)?;
        cx.notify(notify::GENERIC, "persist", &args[1]);
    }
    cx.reply.integer(i64::from(expires));
    Ok(())
}
