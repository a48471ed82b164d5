//! SLOWLOG and MEMORY.
//!
//! Owns: their replies.
//! Never knows: how slow commands are found (see `serve::dispatch`).
//! Invariant: none beyond the shapes of the replies.

use super::parse::{integer, is};
use super::table::flag::{ADMIN, DANGEROUS, LOADING, NOSCRIPT, READONLY, STALE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::resp::Args;

const fn sub(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Server, "2.2.12", summary, run)
        .flags(ADMIN | DANGEROUS | LOADING | STALE | NOSCRIPT)
}

pub(super) static COMMANDS: &[Command] = &[
    sub("slowlog", -2, "About slow commands.", super::container).subcommands(SLOWLOG),
    sub("memory", -2, "About memory.", super::container).flags(READONLY).subcommands(MEMORY),
];

static SLOWLOG: &[Command] = &[
    sub("get", -2, "Lists slow commands.", get),
    sub("len", 2, "Counts the slow commands listed.", |cx, _| {
        let count = cx.state.slowlog.entries().len();
        cx.reply.size(count);
        Ok(())
    }),
    sub("reset", 2, "Forgets the slow commands.", |cx, _| {
        cx.state.slowlog.clear();
        cx.reply.ok();
        Ok(())
    }),
];

static MEMORY: &[Command] = &[
    sub("usage", -3, "Returns the bytes that a key and its value take.", usage)
        .flags(READONLY)
        .keys(Keys::at(2)),
    sub("stats", 2, "Returns how the process' memory is used.", stats),
    sub("purge", 2, "Accepted; memory is given back as it becomes free.", |cx, _| {
        cx.reply.ok();
        Ok(())
    }),
    sub("malloc-stats", 2, "Points to INFO.", |cx, _| {
        cx.reply.text("The allocator is the system's; see the section memory of INFO.");
        Ok(())
    }),
    sub("doctor", 2, "Points to INFO.", |cx, _| {
        cx.reply.text("See the sections memory and ember of INFO.");
        Ok(())
    }),
];

fn get(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = match args.get(2) {
        None => 10,
        Some(_) if args.len() > 3 => return Err(text::SYNTAX),
        Some(count) => integer(count)
            .ok()
            .filter(|count| *count >= -1)
            .ok_or(Stop::error("ERR count should be greater than or equal to -1"))?,
    };
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let entries = cx.state.slowlog.entries();
    cx.reply.array(entries.len().min(wanted));
    for entry in entries.take(wanted) {
        let reply = &mut cx.reply;
        reply.array(6);
        reply.integer(entry.id);
        reply.integer(number(entry.at.0 / 1000));
        reply.integer(number(entry.usec));
        reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(entry.addr.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(())
}

/// RAM that an index entry takes, plus the value as it is kept while hot.
const ENTRY_BYTES: usize = 16;

fn usage(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match (args.get(3), args.get(4)) {
        (None, _) => {}
        (Some(word), Some(count)) if args.len() == 5 && is(word, "samples") => {
            integer(count)?;
        }
        _ => return Err(text::SYNTAX),
    }
    let key = cx.key(&args[2])?;
    match cx.find_any(&key)? {
        Some(found) => {
            let value = super::large::size(super::large::len_of(Some(&found)));
            cx.reply.size(ENTRY_BYTES + args[2].len() + value);
        }
        None => cx.reply.null(),
    }
    Ok(())
}

/// MEMORY STATS: what is known of the process, in the names of Redis where they mean the same.
fn stats(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let shard = cx.shard()?;
    let databases = 0..=u16::MAX;
    let keys: u64 = databases.map(|db| shard.len(emberlog_engine::Namespace(db))).sum();
    let engine = shard.stats();
    let state = &cx.state;
    let clients: usize = cx
        .clients
        .others()
        .map(|client| client.connection.input.capacity() + client.connection.output.buffered())
        .sum();
    let scripts = state.scripts.as_deref().map_or(0, crate::script::Engine::memory_bytes);
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let rows = [
        ("peak.allocated", number(state.rss_peak_bytes)),
        ("total.allocated", number(state.rss_bytes)),
        ("clients.normal", number(clients as u64)),
        ("lua.caches", number(scripts as u64)),
        ("index.bytes", number(engine.index_bytes)),
        ("hot.bytes", number(engine.hot_bytes)),
        ("keys.count", number(keys)),
        ("maxmemory", number(state.memory_budget())),
    ];
    cx.reply.map(rows.len());
    for (name, value) in rows {
        cx.reply.bulk(name.as_bytes());
        cx.reply.integer(value);
    }
    Ok(())
}
