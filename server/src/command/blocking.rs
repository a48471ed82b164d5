//! Commands that wait for a key to have members: BLPOP, BZPOPMIN and their relatives.
//!
//! Owns: what they wait for, and for how long.
//! Never knows: who waits, and in which order (see `serve::blocked`).
//! Invariant: a command that waits has had no effect; it runs again when one of its keys has been
//! written, and answers or waits on. Within a transaction or script nothing waits.

use emberlog_engine::{Found, Key, UnixMillis};

use super::collection::{numbered, ranged};
use super::parse::is;
use super::{Context, Stop, text};
use crate::resp::{Args, parse_double};
use crate::serve::blocked::Blocked;
use crate::value::Kind;

/// The moment a wait of `arg` seconds ends; none for 0.
pub(super) fn timeout(cx: &Context<'_>, arg: &[u8]) -> Result<Option<UnixMillis>, Stop> {
    let seconds =
        parse_double(arg).ok_or(Stop::error("ERR timeout is not a float or out of range"))?;
    let millis = (seconds * 1000.0).ceil();
    if millis < 0.0 {
        return Err(Stop::error("ERR timeout is negative"));
    }
    let room = i64::MAX.saturating_sub(i64::try_from(cx.now.0).unwrap_or(i64::MAX));
    if millis >= room as f64 {
        return Err(Stop::error("ERR timeout is out of range"));
    }
    #[expect(clippy::cast_sign_loss, reason = "negative ones have been refused")]
    let millis = millis as u64;
    Ok((millis > 0).then(|| cx.now.plus(millis)))
}

/// The first of `keys` that exists, which must be of `kind`. For a command that has waited, keys of
/// other types do not count.
pub(super) fn first_with<'a>(
    cx: &mut Context<'_>,
    keys: Args<'a>,
    kind: Kind,
) -> Result<Option<(Key<'a>, Found)>, Stop> {
    for name in keys.iter() {
        let key = cx.key(name)?;
        let Some(found) = cx.find(&key)? else { continue };
        if found.value_type == kind.tag() {
            return Ok(Some((key, found)));
        }
        if cx.session.blocked.is_none() {
            return Err(text::WRONG_TYPE);
        }
    }
    Ok(None)
}

/// Waits until one of `keys` is written, at most until `deadline`.
///
/// # Errors
/// The wait has begun; it is over, or cannot be, if there is none.
pub(super) fn wait(
    cx: &mut Context<'_>,
    keys: Args<'_>,
    deadline: Option<UnixMillis>,
) -> Result<(), Stop> {
    if cx.session.unblocked {
        return Err(Stop::error("UNBLOCKED client unblocked via CLIENT UNBLOCK"));
    }
    if cx.atomic || cx.session.waited {
        return Ok(());
    }
    let db = cx.session.db;
    let mut keys: Vec<(u16, Box<[u8]>)> = keys.iter().map(|key| (db, key.into())).collect();
    keys.sort_unstable();
    keys.dedup();
    Err(Stop::Block(Box::new(Blocked { keys, deadline })))
}

/// The first of the keys of `args` that holds a value of `kind`; its last argument is how long to wait for
/// one. `None`: the reply is complete.
pub(super) fn first_or_wait<'a>(
    cx: &mut Context<'_>,
    args: Args<'a>,
    kind: Kind,
) -> Result<Option<(Key<'a>, Found)>, Stop> {
    let last = args.len() - 1;
    let patience = timeout(cx, &args[last])?;
    let keys = args.first(last).from(1);
    let first = first_with(cx, keys, kind)?;
    if first.is_none() {
        wait(cx, keys, patience)?;
        cx.reply.null_array();
    }
    Ok(first)
}

/// What LMPOP and ZMPOP are to take, and from where.
pub(super) struct Pop<'a, S> {
    pub(super) key: Key<'a>,
    pub(super) found: Found,
    pub(super) side: S,
    pub(super) count: usize,
}

/// Reads `[timeout] numkeys key ... side [COUNT n]`, where `numkeys` is argument `at`, and finds the first
/// key that holds a value of `kind`, or waits for one. `None`: the reply is complete.
pub(super) fn many_or_wait<'a, S>(
    cx: &mut Context<'_>,
    args: Args<'a>,
    at: usize,
    kind: Kind,
    side: fn(&[u8]) -> Result<S, Stop>,
) -> Result<Option<Pop<'a, S>>, Stop> {
    let patience = if at == 2 { Some(timeout(cx, &args[1])?) } else { None };
    let (keys, rest) = numbered(args, at, "ERR numkeys should be greater than 0")?;
    let side = side(rest.get(0).ok_or(text::SYNTAX)?)?;
    let count = count(rest.from(1))?;
    let Some((key, found)) = first_with(cx, keys, kind)? else {
        if let Some(patience) = patience {
            wait(cx, keys, patience)?;
        }
        cx.reply.null_array();
        return Ok(None);
    };
    Ok(Some(Pop { key, found, side, count }))
}

/// The COUNT of LMPOP and ZMPOP.
fn count(options: Args<'_>) -> Result<usize, Stop> {
    match (options.get(0), options.get(1)) {
        (None, _) => Ok(1),
        (Some(word), Some(count)) if is(word, "count") => {
            let text = Some("ERR count should be greater than 0");
            let count = ranged(count, 1, i64::MAX, text)?;
            if options.len() > 2 {
                return Err(text::SYNTAX);
            }
            Ok(usize::try_from(count).unwrap_or(usize::MAX))
        }
        _ => Err(text::SYNTAX),
    }
}
