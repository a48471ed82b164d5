//! SUBSCRIBE, PUBLISH and their relatives.
//!
//! Owns: the replies of subscription commands.
//! Never knows: how messages travel (see `event`).
//! Invariant: each named channel is answered by one message, also when there is none to leave.

use super::table::flag::{FAST, IN_PUBSUB, LOADING, NOSCRIPT, PUBSUB, STALE};
use super::{Command, Context, Group, Outcome};
use crate::glob;
use crate::resp::Args;
use crate::serve::pubsub::Kind;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    let flags = PUBSUB | NOSCRIPT | LOADING | STALE | IN_PUBSUB;
    Command::new(name, arity, Group::Pubsub, since, summary, handler).flags(flags)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("subscribe", -2, "2.0.0", "Listens to channels.", |cx, args| {
        subscribe(cx, args, Kind::Channel)
    }),
    entry("psubscribe", -2, "2.0.0", "Listens to channels that match patterns.", |cx, args| {
        subscribe(cx, args, Kind::Pattern)
    }),
    entry("unsubscribe", -1, "2.0.0", "Stops listening to channels.", |cx, args| {
        unsubscribe(cx, args, Kind::Channel)
    }),
    entry("punsubscribe", -1, "2.0.0", "Stops listening to patterns.", |cx, args| {
        unsubscribe(cx, args, Kind::Pattern)
    }),
    entry("publish", 3, "2.0.0", "Sends a message to a channel.", publish)
        .flags(PUBSUB | LOADING | STALE | FAST),
    entry("pubsub", -2, "2.8.0", "About subscriptions.", super::container)
        .flags(PUBSUB | LOADING | STALE)
        .subcommands(SUBCOMMANDS),
];

static SUBCOMMANDS: &[Command] = &[
    entry("channels", -2, "2.8.0", "Lists channels with subscribers.", channels),
    entry("numsub", -2, "2.8.0", "Counts the subscribers of channels.", numsub),
    entry("numpat", 2, "2.8.0", "Counts the patterns with subscribers.", |cx, _| {
        let count = cx.state.pubsub.pattern_count();
        cx.reply.size(count);
        Ok(())
    }),
];

/// Longest channel name or pattern, in bytes: as long as a key may be.
const NAME_MAX: usize = emberlog_engine::format::record::KEY_BYTES_MAX;

fn subscribe(cx: &mut Context<'_>, args: Args<'_>, kind: Kind) -> Outcome {
    if args.iter().any(|name| name.len() > NAME_MAX) {
        return Err(super::parse::error(format!("ERR channel is longer than {NAME_MAX} bytes")));
    }
    for name in args.iter().skip(1) {
        let own = match kind {
            Kind::Channel => &mut cx.session.channels,
            Kind::Pattern => &mut cx.session.patterns,
        };
        own.insert(name.to_vec());
        cx.state.pubsub.subscribe(kind, name, cx.session.key);
        let word = if kind == Kind::Channel { "subscribe" } else { "psubscribe" };
        confirm(cx, word, Some(name));
    }
    Ok(())
}

fn unsubscribe(cx: &mut Context<'_>, args: Args<'_>, kind: Kind) -> Outcome {
    let word = if kind == Kind::Channel { "unsubscribe" } else { "punsubscribe" };
    let names: Vec<Vec<u8>> = if args.len() > 1 {
        args.iter().skip(1).map(<[u8]>::to_vec).collect()
    } else {
        match kind {
            Kind::Channel => cx.session.channels.iter().cloned().collect(),
            Kind::Pattern => cx.session.patterns.iter().cloned().collect(),
        }
    };
    if names.is_empty() {
        confirm(cx, word, None);
    }
    for name in names {
        match kind {
            Kind::Channel => cx.session.channels.remove(&name),
            Kind::Pattern => cx.session.patterns.remove(&name),
        };
        cx.state.pubsub.unsubscribe(kind, &name, cx.session.key);
        confirm(cx, word, Some(&name));
    }
    Ok(())
}

fn confirm(cx: &mut Context<'_>, word: &str, name: Option<&[u8]>) {
    cx.reply.push(3);
    cx.reply.bulk(word.as_bytes());
    match name {
        Some(name) => cx.reply.bulk(name),
        None => cx.reply.null(),
    }
    cx.reply.size(cx.session.subscriptions());
}

fn publish(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let listeners = cx.publish(&args[1], &args[2]);
    cx.reply.size(listeners);
    Ok(())
}

fn channels(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let pattern = args.get(2).unwrap_or(b"*");
    let channels: Vec<Vec<u8>> = cx
        .state
        .pubsub
        .channels()
        .filter(|channel| glob::matches(pattern, channel))
        .map(<[u8]>::to_vec)
        .collect();
    cx.reply.array(channels.len());
    for channel in channels {
        cx.reply.bulk(&channel);
    }
    Ok(())
}

fn numsub(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    cx.reply.array((args.len() - 2) * 2);
    for channel in args.iter().skip(2) {
        let count = cx.state.pubsub.subscribers(channel);
        cx.reply.bulk(channel);
        cx.reply.size(count);
    }
    Ok(())
}
