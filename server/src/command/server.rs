//! Commands for operators: INFO, TIME, ROLE, SHUTDOWN, SAVE, MONITOR.
//!
//! Owns: nothing but these handlers.
//! Never knows: how the process stops.
//! Invariant: SAVE answers only once everything before it is on stable storage.

use super::info;
use super::parse::is;
use super::table::flag::{
    ADMIN, BLOCKING, DANGEROUS, FAST, LOADING, NO_MULTI, NOSCRIPT, SKIP_MONITOR, STALE,
};
use super::{Command, Context, Group, Outcome, Stop, text};
use crate::EMBERLOG_VERSION;
use crate::resp::Args;
use crate::serve::client::{Closing, Until};
use crate::serve::state::Stage;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Server, since, summary, handler)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("info", -1, "1.0.0", "Describes the server.", |cx, args| {
        let text = info::text(cx, args.from(1));
        cx.reply.text(&text);
        Ok(())
    })
    .flags(LOADING | STALE | DANGEROUS),
    entry("time", 1, "2.6.0", "Returns the time of the server.", time)
        .flags(LOADING | STALE | FAST),
    entry("role", 1, "2.8.12", "Returns the role in replication.", role)
        .flags(NOSCRIPT | LOADING | STALE | FAST | ADMIN),
    entry("lolwut", -1, "5.0.0", "Answers the version.", |cx, _| {
        cx.reply.text(&format!("Emberlog ver. {EMBERLOG_VERSION}\n"));
        Ok(())
    })
    .flags(FAST),
    entry("save", 1, "1.0.0", "Waits until everything is on stable storage.", save)
        .flags(ADMIN | NOSCRIPT | NO_MULTI | BLOCKING),
    entry("bgsave", -1, "1.0.0", "Writes everything to stable storage.", bgsave)
        .flags(ADMIN | NOSCRIPT),
    entry("bgrewriteaof", 1, "1.0.0", "Writes everything to stable storage.", |cx, _| {
        flush(cx)?;
        cx.reply.simple("Background append only file rewriting started");
        Ok(())
    })
    .flags(ADMIN | NOSCRIPT),
    entry("lastsave", 1, "1.0.0", "Returns the time of the last SAVE or BGSAVE.", |cx, _| {
        let seconds = cx.state.saved_at.0 / 1000;
        cx.reply.integer(i64::try_from(seconds).unwrap_or(i64::MAX));
        Ok(())
    })
    .flags(LOADING | STALE | FAST | ADMIN),
    entry("shutdown", -1, "1.0.0", "Stops the server.", shutdown)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI),
    entry("monitor", 1, "1.0.0", "Shows every command.", monitor)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | SKIP_MONITOR),
    entry("cluster", -2, "3.0.0", "Refused: this is no cluster.", no_cluster).flags(STALE),
    entry("readonly", 1, "3.0.0", "Refused: this is no cluster.", no_cluster)
        .flags(LOADING | STALE | FAST),
    entry("readwrite", 1, "3.0.0", "Refused: this is no cluster.", no_cluster)
        .flags(LOADING | STALE | FAST),
];

fn no_cluster(_cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    Err(Stop::error("ERR This instance has cluster support disabled"))
}

fn time(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let millis = cx.now.0;
    cx.reply.array(2);
    cx.reply.bulk((millis / 1000).to_string().as_bytes());
    cx.reply.bulk((millis % 1000 * 1000).to_string().as_bytes());
    Ok(())
}

fn role(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let lsn = cx.shard.as_deref().map_or(0, |shard| shard.appended_lsn().0);
    cx.reply.array(3);
    cx.reply.bulk(b"master");
    cx.reply.integer(i64::try_from(lsn).unwrap_or(i64::MAX));
    cx.reply.array(0);
    Ok(())
}

/// Asks for everything appended to be written.
fn flush(cx: &mut Context<'_>) -> Result<emberlog_engine::Lsn, Stop> {
    let shard = cx.shard()?;
    if shard.poisoned() {
        return Err(text::POISONED);
    }
    shard.flush();
    let appended = shard.appended_lsn();
    cx.state.saved_at = cx.now;
    Ok(appended)
}

fn save(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    if !cx.session.waited {
        let appended = flush(cx)?;
        if cx.shard()?.durable_lsn() < appended {
            return Err(Stop::Until(Until { durable: Some(appended), deadline: None }));
        }
    }
    if cx.shard()?.poisoned() {
        return Err(text::POISONED);
    }
    cx.reply.ok();
    Ok(())
}

fn bgsave(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match args.get(1) {
        None => {}
        Some(word) if args.len() == 2 && is(word, "schedule") => {}
        Some(_) => return Err(text::SYNTAX),
    }
    flush(cx)?;
    cx.reply.simple("Background saving started");
    Ok(())
}

fn shutdown(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut flush = true;
    for word in args.iter().skip(1) {
        match word {
            word if is(word, "nosave") => flush = false,
            word if is(word, "save") || is(word, "now") || is(word, "force") => {}
            word if is(word, "abort") => {
                return Err(Stop::error("ERR No shutdown in progress."));
            }
            _ => return Err(text::SYNTAX),
        }
    }
    cx.state.stage = Stage::Stopping { flush };
    // As in Redis, success is the end of the connection.
    cx.session.close(Closing::AfterReplies);
    Ok(())
}

fn monitor(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    if !cx.session.monitor {
        cx.session.monitor = true;
        cx.state.monitors.push(cx.session.key);
    }
    cx.reply.ok();
    Ok(())
}
