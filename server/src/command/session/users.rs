//! SESSION.LIST, COUNT and REVOKE: all sessions of a user.
//!
//! Owns: nothing but these handlers.
//! Never knows: how the store keeps its user index.
//! Invariant: a user's sessions are revoked in one step, whether their values are in RAM or not.

use std::collections::HashSet;

use emberlog_engine::{Namespace, Owned};

use super::{Looked, end, look, read, view};
use crate::command::parse::is;
use crate::command::{Context, Outcome, RECORD_OVERHEAD, Stop, text};
use crate::resp::Args;
use crate::value::session::Ended;

/// Sessions in their last second that one command asks the disk about; of more it tells what RAM knows.
const ASKED_MAX: usize = 1024;

/// Bytes that the tombstones of these sessions take.
pub(super) fn room(owned: &[Owned]) -> usize {
    owned.iter().map(|owned| owned.key.len() + RECORD_OVERHEAD).sum()
}

/// The user's sessions as RAM knows them: one whose value is on disk only may have been idle for too
/// long since up to a second.
fn owned(cx: &mut Context<'_>, user: &[u8]) -> Result<Vec<Owned>, Stop> {
    cx.without_script()?;
    let (db, now) = (Namespace(cx.session.db), cx.now);
    cx.observe_all()?;
    Ok(cx.shard()?.owned(db, user, now))
}

/// The user's sessions at this very millisecond: asks the disk about those in their last second. Within a
/// transaction nothing can be asked any more; there [`super::super::transaction`] has called this before.
pub(super) fn living(cx: &mut Context<'_>, user: &[u8]) -> Result<Vec<Owned>, Stop> {
    let mut owned = owned(cx, user)?;
    if cx.atomic || !owned.iter().any(|owned| owned.unsure) {
        return Ok(owned);
    }
    let (mut cold, mut ended) = (Vec::new(), HashSet::new());
    for unsure in owned.iter().filter(|owned| owned.unsure).take(ASKED_MAX) {
        match look(cx, &unsure.key) {
            // One that cannot be read has not been seen to end.
            Ok(Looked::Live(..)) | Err(Stop::Error(_)) => {}
            Ok(_) => drop(ended.insert(unsure.key.clone())),
            Err(Stop::Cold) => cold.push((cx.session.db, unsure.key.clone())),
            Err(stop) => return Err(stop),
        }
    }
    if !cold.is_empty() {
        return Err(Stop::Load(cold));
    }
    owned.retain(|owned| !ended.contains(&owned.key));
    Ok(owned)
}

pub(super) fn list(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let with_meta = match args.get(2) {
        None => false,
        Some(word) if args.len() == 3 && is(word, "meta") => true,
        Some(_) => return Err(text::SYNTAX),
    };
    let owned = living(cx, &args[1])?;
    if !with_meta {
        cx.reply.array(owned.len());
        for owned in &owned {
            cx.reply.bulk(&owned.key);
        }
        return Ok(());
    }
    let (mut sessions, mut cold) = (Vec::with_capacity(owned.len()), Vec::new());
    for owned in &owned {
        match look(cx, &owned.key) {
            Ok(Looked::Live(_, found)) => sessions.push((&owned.key, found)),
            // Ended since it was listed, or lost to corruption.
            Ok(_) | Err(Stop::Error(_)) => {}
            Err(Stop::Cold) => cold.push((cx.session.db, owned.key.clone())),
            Err(stop) => return Err(stop),
        }
    }
    if !cold.is_empty() {
        return Err(Stop::Load(cold));
    }
    cx.reply.array(sessions.len());
    for (sid, found) in sessions {
        let session = view(&found)?;
        cx.reply.array(2);
        cx.reply.bulk(sid);
        read::meta(cx, &session, found.expires_at);
    }
    Ok(())
}

pub(super) fn count(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = living(cx, &args[1])?.len();
    cx.reply.size(count);
    Ok(())
}

pub(super) fn revoke(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let spared = match (args.get(2), args.get(3)) {
        (None, _) => None,
        (Some(word), Some(sid)) if args.len() == 4 && is(word, "except") => Some(sid),
        _ => return Err(text::SYNTAX),
    };
    let mut owned = owned(cx, &args[1])?;
    owned.retain(|owned| spared != Some(&*owned.key));
    // What is told to have ended waits for the disk, also if there was nothing left to end.
    cx.wait_for_disk()?;
    cx.room_for_tombstones(room(&owned))?;
    cx.together(|cx| {
        for session in &owned {
            let key = cx.key(&session.key)?;
            end(cx, &key, Ended::Revoked, session.limit)?;
        }
        Ok(())
    })?;
    cx.reply.size(owned.len());
    Ok(())
}
