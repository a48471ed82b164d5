//! SESSION.ROTATE and SESSION.DESTROY.
//!
//! Owns: nothing but these handlers.
//! Never knows: how a tombstone is kept.
//! Invariant: the old id is dead from the LSN on that the reply waits for.

use super::write::Conditions;
use super::{Looked, REVOKED, bury, end, look, open, store, view};
use crate::command::{Context, Outcome, RECORD_OVERHEAD, Stop};
use crate::notify;
use crate::resp::Args;
use crate::value::session::{Ended, Session};

pub(super) fn rotate(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let conditions = Conditions::parse(args, 3)?;
    let target = look(cx, &args[2])?;
    let (old_key, found) = open(cx, &args[1])?;
    let session = view(&found)?;
    conditions.check(cx, &old_key, &session)?;
    let new_key = match target {
        Looked::Absent(key) => key,
        Looked::Live(..) => return Err(Stop::error("EXISTS there is a session with this id")),
        Looked::Ended => return Err(REVOKED),
    };
    cx.room(found.value.len() + 4 * RECORD_OVERHEAD + args.bytes())?;
    let version = session.version + 1;
    cx.together(|cx| {
        store(cx, &new_key, &Session { version, seen: cx.now, ..session })?;
        bury(cx, &old_key, Ended::Rotated, session.absolute)
    })?;
    cx.notify(notify::GENERIC, "del", &args[1]);
    cx.notify(notify::MODULE, "session.create", &args[2]);
    cx.session_event(Ended::Rotated.name(), &args[1]);
    cx.session_event("created", &args[2]);
    cx.reply.integer(i64::try_from(version).unwrap_or(i64::MAX));
    Ok(())
}

pub(super) fn destroy(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let conditions = Conditions::parse(args, 2)?;
    // That it has ended is true for good only once it is on the disk.
    let Looked::Live(key, found) = look(cx, &args[1])? else {
        cx.wait_for_disk()?;
        cx.reply.integer(0);
        return Ok(());
    };
    let session = view(&found)?;
    conditions.check(cx, &key, &session)?;
    end(cx, &key, Ended::Destroyed, session.absolute)?;
    cx.reply.integer(1);
    Ok(())
}
