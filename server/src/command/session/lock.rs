//! SESSION.LOCK and SESSION.UNLOCK.
//!
//! Owns: their arguments, and when a wait for a lock is over.
//! Never knows: the order of the queue (see `serve::locks`).
//! Invariant: a client waits in the queue of one lock at most, and leaves it with its reply.

use emberlog_engine::UnixMillis;

use super::{Looked, NO_SESSION, REVOKED, look};
use crate::command::parse::{integer, is};
use crate::command::{Context, Outcome, Stop, text};
use crate::resp::Args;
use crate::serve::client::Until;
use crate::serve::locks::Asked;

/// Longest lease and longest wait, in milliseconds.
const MS_MAX: u64 = 24 * 3_600_000;

fn millis(arg: &[u8], least: u64) -> Result<u64, Stop> {
    let number = u64::try_from(integer(arg)?).ok();
    number
        .filter(|ms| (least..=MS_MAX).contains(ms))
        .ok_or(Stop::error("ERR milliseconds must be positive and at most 24 hours"))
}

/// What a client waits for: a lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockWait {
    /// Database of the session.
    pub db: u16,
    /// Its id.
    pub sid: Box<[u8]>,
    /// When the client gives up.
    pub until: UnixMillis,
}

pub(super) fn lock(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let lease_ms = millis(&args[2], 1)?;
    let wait_ms = match (args.get(3), args.get(4)) {
        (None, _) => 0,
        (Some(word), Some(ms)) if args.len() == 5 && is(word, "wait") => millis(ms, 0)?,
        _ => return Err(text::SYNTAX),
    };
    let (db, client, now) = (cx.session.db, cx.session.key, cx.now);
    let looked = look(cx, &args[1]);
    if !matches!(looked, Err(Stop::Cold) | Ok(Looked::Live(..))) {
        leave(cx);
    }
    match looked? {
        Looked::Live(..) => {}
        Looked::Absent(_) => return Err(NO_SESSION),
        Looked::Ended => return Err(REVOKED),
    }
    let until = cx.session.lock_wait.as_ref().map_or(now.plus(wait_ms), |wait| wait.until);
    let wait = until > now && !cx.atomic;
    match cx.state.locks.ask((db, &args[1]), client, lease_ms, wait, now) {
        Asked::Granted(token) => {
            cx.session.lock_wait = None;
            cx.reply.integer(i64::try_from(token).unwrap_or(i64::MAX));
            Ok(())
        }
        Asked::Held(held_until) if wait => {
            cx.session.lock_wait = Some(LockWait { db, sid: args[1].into(), until });
            let deadline = Some(until.min(held_until));
            Err(Stop::Until(Until { durable: None, deadline }))
        }
        Asked::Held(_) => {
            leave(cx);
            cx.reply.null();
            Ok(())
        }
    }
}

/// Leaves the queue that the client waits in, if it does.
fn leave(cx: &mut Context<'_>) {
    if let Some(LockWait { db, sid, .. }) = cx.session.lock_wait.take() {
        cx.state.locks.leave(db, &sid, cx.session.key, cx.now);
    }
}

pub(super) fn unlock(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let token = u64::try_from(integer(&args[2])?).map_err(|_| text::NOT_INTEGER)?;
    let (db, now) = (cx.session.db, cx.now);
    let unlocked = cx.state.locks.unlock(db, &args[1], token, now);
    cx.reply.integer(i64::from(unlocked));
    Ok(())
}
