//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! Owns: the rules of transactions, those of Redis to the letter.
//! Never knows: how a queue was filled (see `serve::dispatch`).
//! Invariant: EXEC begins only when every key of every queued command is resident and there is room
//! for all of their writes, so it never stops midway; its writes survive a crash together.

use std::collections::HashMap;

use emberlog_engine::{Found, Room};

use super::context::RECORD_OVERHEAD;
use super::table::flag::{
    DENYOOM, FAST, GATHERS, LOADING, NOSCRIPT, NOT_QUEUED, SCRIPT, STALE, TIMED, WRITE,
};
use super::{Command, Context, Group, Keys, Outcome, Stop, selected_by, text};
use crate::resp::Args;
use crate::serve::client::{Queued, Transaction, WatchedKey};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    let flags = NOSCRIPT | LOADING | STALE | FAST | NOT_QUEUED;
    Command::new(name, arity, Group::Transactions, since, summary, handler).flags(flags)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("multi", 1, "1.2.0", "Begins to queue commands.", multi),
    entry("exec", 1, "1.2.0", "Runs the queued commands as one.", exec)
        .flags(NOSCRIPT | LOADING | STALE | NOT_QUEUED | TIMED),
    entry("discard", 1, "2.0.0", "Forgets the queued commands.", discard),
    entry("watch", -2, "2.2.0", "Makes EXEC fail if a key changes.", watch).keys(Keys::ALL),
    entry("unwatch", 1, "2.2.0", "Forgets the watched keys.", unwatch)
        .flags(NOSCRIPT | LOADING | STALE | FAST),
];

fn multi(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    if cx.session.transaction.open {
        return Err(Stop::error("ERR MULTI calls can not be nested"));
    }
    cx.session.transaction.open = true;
    cx.reply.ok();
    Ok(())
}

fn discard(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    if !cx.session.transaction.open {
        return Err(Stop::error("ERR DISCARD without MULTI"));
    }
    forget(cx);
    cx.reply.ok();
    Ok(())
}

fn unwatch(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    forget_watches(cx);
    cx.reply.ok();
    Ok(())
}

/// Ends the transaction and its watches.
pub(super) fn forget(cx: &mut Context<'_>) {
    forget_watches(cx);
    cx.session.transaction = Transaction::default();
}

fn forget_watches(cx: &mut Context<'_>) {
    let client = cx.session.key;
    for watched in cx.session.transaction.watched.drain(..) {
        cx.state.watched.remove(watched.db, &watched.key, client);
    }
    cx.session.transaction.dirty = false;
}

fn watch(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if cx.session.transaction.open {
        return Err(Stop::error("ERR WATCH inside MULTI is not allowed"));
    }
    let mut seen: Vec<Option<Found>> = Vec::with_capacity(args.len() - 1);
    for name in args.iter().skip(1) {
        let key = cx.key(name)?;
        seen.push(cx.find_to_replace(&key)?);
    }
    let (db, client) = (cx.session.db, cx.session.key);
    for (name, found) in args.iter().skip(1).zip(seen) {
        let transaction = &mut cx.session.transaction;
        if transaction.watched.iter().any(|watched| watched.db == db && *watched.key == *name) {
            continue;
        }
        transaction.watched.push(WatchedKey {
            db,
            key: cx.state.watched.add(db, name, client),
            existed: found.is_some(),
            expires_at: found.and_then(|found| found.expires_at),
        });
    }
    cx.reply.ok();
    Ok(())
}

fn exec(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let transaction = &cx.session.transaction;
    if !transaction.open {
        return Err(Stop::error("ERR EXEC without MULTI"));
    }
    if transaction.refused {
        forget(cx);
        return Err(Stop::error("EXECABORT Transaction discarded because of previous errors."));
    }
    let now = cx.now;
    let expired = |watched: &WatchedKey| watched.expires_at.is_some_and(|at| at <= now);
    if transaction.dirty || transaction.watched.iter().any(expired) {
        forget(cx);
        cx.reply.null_array();
        return Ok(());
    }
    cx.queued = true;
    // Out of the session while its commands run, and back if they have to wait.
    let queue = std::mem::take(&mut cx.session.transaction.queue);
    let prepared = prepare(cx, &queue);
    if let Err(stop @ (Stop::Cold | Stop::Room | Stop::Gather(_) | Stop::Load(_))) = prepared {
        cx.session.transaction.queue = queue;
        return Err(stop);
    }
    if prepared.is_ok() && queue.iter().any(|queued| queued.command.flags.has(SCRIPT)) {
        return exec_with_scripts(cx, queue);
    }
    forget(cx);
    if prepared? {
        return cx.together(|cx| run_all(cx, &queue));
    }
    cx.atomic = true;
    let outcome = run_all(cx, &queue);
    cx.atomic = false;
    outcome
}

/// Runs a queue with scripts. They may come upon keys that are not in RAM when commands before them
/// have written, so all writes wait until the end, and if need be the queue runs again.
fn exec_with_scripts(cx: &mut Context<'_>, queue: Vec<Queued>) -> Outcome {
    let db = cx.session.db;
    cx.hold_writes();
    let outcome = run_all(cx, &queue).and_then(|()| cx.make_writes());
    if let Err(stop) = outcome {
        cx.drop_writes();
        cx.session.db = db;
        if matches!(stop, Stop::Error(_)) {
            forget(cx);
        } else {
            cx.session.transaction.queue = queue;
        }
        return Err(stop);
    }
    forget(cx);
    Ok(())
}

fn run_all(cx: &mut Context<'_>, queue: &[Queued]) -> Outcome {
    cx.reply.array(queue.len());
    for (slot, queued) in queue.iter().enumerate() {
        cx.slot = slot;
        run_one(cx, queued)?;
    }
    cx.slot = 0;
    Ok(())
}

/// Runs one queued command; its error is its reply.
fn run_one(cx: &mut Context<'_>, queued: &Queued) -> Outcome {
    let start = cx.reply.len();
    let stats = &mut cx.state.stats;
    stats.by_command[queued.id].calls += 1;
    cx.session.last_command = queued.command.name;
    let checked = cx.refuse_ended_in(queued.command, queued.args.view());
    let error = match checked.and_then(|()| (queued.command.handler)(cx, queued.args.view())) {
        Ok(()) => {
            if !queued.command.flags.has(SCRIPT) {
                cx.show(queued.command, queued.args.view(), false);
            }
            return Ok(());
        }
        Err(Stop::Error(text)) => text,
        Err(stop @ (Stop::Cold | Stop::Room | Stop::Gather(_) | Stop::Load(_)))
            if cx.overlay.is_some() =>
        {
            return Err(stop);
        }
        // Made sure of beforehand; see `prepare`.
        Err(_) => "ERR the command would have to wait, which a transaction cannot".into(),
    };
    cx.state.stats.by_command[queued.id].failed += 1;
    cx.state.stats.error(&error);
    cx.truncate(start);
    cx.reply.error(&error);
    Ok(())
}

/// Makes sure that no queued command will have to wait, without effect. Returns whether any of
/// them writes.
fn prepare(cx: &mut Context<'_>, queue: &[Queued]) -> Result<bool, Stop> {
    let db = cx.session.db;
    let needs = survey(cx, queue);
    cx.session.db = db;
    let needs = needs?;
    if needs.writes {
        reserve(cx, needs.bytes, needs.grows)?;
    }
    let gathered = gather(cx, queue);
    cx.session.db = db;
    cx.slot = 0;
    gathered.map(|()| needs.writes)
}

/// What a queue needs of the store.
#[derive(Default)]
struct Needs {
    bytes: usize,
    writes: bool,
    grows: bool,
}

/// Looks up every key of the queue.
fn survey(cx: &mut Context<'_>, queue: &[Queued]) -> Result<Needs, Stop> {
    let mut needs = Needs::default();
    let mut cold = false;
    // What earlier commands of the queue may have added to a key that is written whole each time.
    let mut grown: HashMap<(u16, &[u8]), usize> = HashMap::new();
    for queued in queue {
        let flags = queued.command.flags;
        let args = queued.args.view();
        select_in_queue(cx, queued);
        if queued.command.name.starts_with("sort") {
            match super::sort::survey(cx, args) {
                Err(Stop::Cold) => cold = true,
                other => other?,
            }
        }
        for (db, name) in queued.command.keys_in(cx.session.db, args) {
            // A key that is too long is that command's own error.
            let Ok(key) = cx.key_in(db, name) else { continue };
            match cx.find_to_replace(&key) {
                Ok(found) if flags.has(WRITE) => {
                    let earlier = grown.entry((db, name)).or_default();
                    // Of a large value some chunks are changed.
                    let old = found.map_or(0, |found| match found.chunked {
                        Some(chunked) => 3 * chunked.chunk_bytes as usize,
                        None => found.value.len(),
                    });
                    needs.bytes += old + *earlier + RECORD_OVERHEAD;
                    if matches!(queued.command.group, Group::List | Group::Set | Group::SortedSet) {
                        *earlier += args.bytes();
                    }
                }
                Ok(_) => {}
                Err(Stop::Cold) => cold = true,
                Err(other) => return Err(other),
            }
        }
        if flags.has(WRITE) {
            needs.bytes += args.bytes() + RECORD_OVERHEAD;
            needs.writes = true;
            needs.grows |= flags.has(DENYOOM);
        }
    }
    if cold { Err(Stop::Cold) } else { Ok(needs) }
}

/// Follows the SELECTs of a queue, so that later keys are looked up where they will be.
fn select_in_queue(cx: &mut Context<'_>, queued: &Queued) {
    let selected = selected_by(queued.command, queued.args.view());
    if let Some(db) = selected.filter(|db| *db < cx.state.config.databases) {
        cx.session.db = db;
    }
}

fn reserve(cx: &mut Context<'_>, bytes: usize, grows: bool) -> Result<(), Stop> {
    let shard = cx.shard()?;
    let room = if grows { shard.room(bytes) } else { shard.room_for_delete(bytes) };
    match room {
        Room::Yes => Ok(()),
        Room::Wait => Err(Stop::Room),
        Room::Full => Err(Stop::error(
            "EXECABORT Transaction discarded because of: OOM command not allowed: the disk limit \
             is reached; delete keys or raise disk-limit",
        )),
        Room::Poisoned => Err(text::POISONED),
    }
}

/// Has the keys listed that queued commands ask for.
fn gather(cx: &mut Context<'_>, queue: &[Queued]) -> Result<(), Stop> {
    let start = cx.reply.len();
    for (slot, queued) in queue.iter().enumerate() {
        select_in_queue(cx, queued);
        if !queued.command.flags.has(GATHERS) {
            continue;
        }
        cx.slot = slot;
        let outcome = (queued.command.handler)(cx, queued.args.view());
        cx.reply.truncate(start);
        if let Err(stop @ (Stop::Gather(_) | Stop::Load(_))) = outcome {
            return Err(stop);
        }
    }
    Ok(())
}
