//! HSETEX: fields of a hash set together with their expiry.
//!
//! Owns: its options, those of Redis 8.
//! Never knows: the layout (see `value::hash`).
//! Invariant: nothing is written unless the conditions hold for all fields.

use emberlog_engine::UnixMillis;

use super::collection::ranged;
use super::hash::{find, own, put, view};
use super::hash_expire::moment;
use super::parse::{Clock, error, is, wrong_arity};
use super::{Context, Outcome, Stop};
use crate::notify;
use crate::resp::Args;
use crate::value::hash::{Builder, Field};

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
            let clock = Clock::named(word);
            if is(word, "fnx") || is(word, "fxx") {
                if options.absent_only || options.present_only {
                    let only_one = "ERR Only one of FXX or FNX arguments can be specified";
                    return Err(Stop::error(only_one));
                }
                options.absent_only = is(word, "fnx");
                options.present_only = !options.absent_only;
            } else if clock.is_some() || is(word, "keepttl") {
                if options.keep_expiry || options.expires_at.is_some() {
                    return Err(Stop::error(
                        "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
                    ));
                }
                options.keep_expiry = clock.is_none();
                if let Some(clock) = clock {
                    at += 1;
                    let amount = args.get(at).ok_or(Stop::error("ERR missing expire time"))?;
                    options.expires_at = Some(moment(cx, amount, clock, "hsetex")?);
                }
            } else {
                return Err(error(format!("ERR unknown argument: {}", word.escape_ascii())));
            }
            at += 1;
        }
        Ok((options, at))
    }
}

/// Reads `FIELDS numfields` and the names and values that follow.
fn pairs_of(args: Args<'_>) -> Result<Args<'_>, Stop> {
    let arity = wrong_arity("hsetex");
    let count = args.get(1).filter(|_| args.len() > 3).ok_or(arity.clone())?;
    let count = ranged(count, 1, i64::from(i32::MAX), Some("ERR invalid number of fields"))?;
    let rest = args.from(2);
    if usize::try_from(count * 2) == Ok(rest.len()) { Ok(rest) } else { Err(arity) }
}

pub(super) fn hsetex(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (options, at) = Options::parse(cx, args)?;
    let given = pairs_of(args.from(at))?;
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
