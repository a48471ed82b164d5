//! Commands about the connection: HELLO, AUTH, SELECT, PING, RESET, QUIT.
//!
//! Owns: the handshake.
//! Never knows: how bytes travel.
//! Invariant: a password is compared in constant time, and a failed HELLO changes nothing.

use subtle::ConstantTimeEq;

use super::parse::{error, is};
use super::table::flag::{FAST, IN_PUBSUB, LOADING, NO_AUTH, NOSCRIPT, NOT_QUEUED, STALE};
use super::{Command, Context, Group, Outcome, Stop, copy, text, transaction};
use crate::resp::{Args, Proto, parse_i64};
use crate::serve::client::{Closing, ReplyMode};
use crate::serve::pubsub::Kind;
use crate::{EMBERLOG_VERSION, REDIS_VERSION};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Connection, since, summary, handler)
}

const HANDSHAKE: u32 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH;

pub(super) static COMMANDS: &[Command] = &[
    entry("ping", -1, "1.0.0", "Answers PONG, or its argument.", ping).flags(FAST | IN_PUBSUB),
    entry("echo", 2, "1.0.0", "Answers its argument.", |cx, args| {
        cx.reply.bulk(&args[1]);
        Ok(())
    })
    .flags(LOADING | STALE | FAST),
    entry("select", 2, "1.0.0", "Selects a database.", select).flags(LOADING | STALE | FAST),
    entry("auth", -2, "1.0.0", "Authenticates the connection.", auth).flags(HANDSHAKE),
    entry("hello", -1, "6.0.0", "Negotiates the protocol; may authenticate.", hello)
        .flags(HANDSHAKE),
    entry("quit", -1, "1.0.0", "Closes the connection.", quit)
        .flags(HANDSHAKE | NOT_QUEUED | IN_PUBSUB),
    entry("reset", 1, "6.2.0", "Makes the connection as new.", reset)
        .flags(HANDSHAKE | NOT_QUEUED | IN_PUBSUB),
];

fn ping(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() > 2 {
        return Err(super::parse::wrong_arity("ping"));
    }
    if cx.session.subscriptions() > 0 && cx.session.proto == Proto::Resp2 {
        cx.reply.array(2);
        cx.reply.bulk(b"pong");
        cx.reply.bulk(args.get(1).unwrap_or_default());
    } else {
        match args.get(1) {
            Some(message) => cx.reply.bulk(message),
            None => cx.reply.simple("PONG"),
        }
    }
    Ok(())
}

fn select(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if parse_i64(&args[1]).is_none() {
        return Err(Stop::error("ERR value is not an integer or out of range"));
    }
    cx.session.db = copy::database(cx, &args[1])?;
    cx.reply.ok();
    Ok(())
}

const WRONG_PASS: Stop =
    Stop::error("WRONGPASS invalid username-password pair or user is disabled.");

/// Checks a password. There is one user, `default`.
fn authenticate(cx: &mut Context<'_>, user: &[u8], password: &[u8]) -> Result<(), Stop> {
    let expected = cx.state.config.requirepass.as_bytes();
    // Without a password the user accepts any, as in Redis.
    let right = expected.is_empty() || bool::from(expected.ct_eq(password));
    if user == b"default" && right {
        cx.session.authenticated = true;
        return Ok(());
    }
    cx.state.stats.auth_failures += 1;
    tracing::warn!(client = cx.session.peer.addr, "wrong password");
    Err(WRONG_PASS)
}

fn auth(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (user, password) = match args.len() {
        2 if cx.state.config.requirepass.is_empty() => {
            return Err(Stop::error(
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            ));
        }
        2 => (&b"default"[..], args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => return Err(text::SYNTAX),
    };
    authenticate(cx, user, password)?;
    cx.reply.ok();
    Ok(())
}

fn hello(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let proto = match args.get(1) {
        None => cx.session.proto,
        Some(version) => match parse_i64(version) {
            Some(2) => Proto::Resp2,
            Some(3) => Proto::Resp3,
            Some(_) => return Err(Stop::error("NOPROTO unsupported protocol version")),
            None => {
                return Err(Stop::error("ERR Protocol version is not an integer or out of range"));
            }
        },
    };
    let options = HelloOptions::parse(args.from(2))?;
    if let Some((user, password)) = options.auth {
        authenticate(cx, user, password)?;
    }
    if !cx.session.authenticated {
        return Err(Stop::error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = options.name {
        name.clone_into(&mut cx.session.name);
    }
    cx.session.proto = proto;
    cx.reply.set_proto(proto);
    describe(cx);
    Ok(())
}

#[derive(Default)]
struct HelloOptions<'a> {
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> HelloOptions<'a> {
    fn parse(args: Args<'a>) -> Result<HelloOptions<'a>, Stop> {
        let mut options = HelloOptions::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or_else(|| syntax_in_hello(word));
            if is(word, "auth") {
                options.auth = Some((next()?, next()?));
            } else if is(word, "setname") {
                let name = next()?;
                check_name(name)?;
                options.name = Some(name);
            } else {
                return Err(syntax_in_hello(word));
            }
        }
        Ok(options)
    }
}

fn syntax_in_hello(word: &[u8]) -> Stop {
    let word = String::from_utf8_lossy(&word[..word.len().min(128)]);
    error(format!("ERR Syntax error in HELLO option '{word}'"))
}

/// Names are shown in lists separated by blanks.
pub(super) fn check_name(name: &[u8]) -> Result<(), Stop> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    Err(Stop::error("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn describe(cx: &mut Context<'_>) {
    let proto = if cx.session.proto == Proto::Resp3 { 3 } else { 2 };
    let id = i64::try_from(cx.session.key.id).unwrap_or(i64::MAX);
    let reply = &mut cx.reply;
    reply.map(8);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(proto);
    reply.bulk(b"id");
    reply.integer(id);
    for (field, value) in
        [("mode", "standalone"), ("role", "master"), ("emberlog_version", EMBERLOG_VERSION)]
    {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

fn quit(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    cx.session.close(Closing::AfterReplies);
    cx.reply.ok();
    Ok(())
}

fn reset(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    transaction::forget(cx);
    let client = cx.session.key;
    for name in std::mem::take(&mut cx.session.channels) {
        cx.state.pubsub.unsubscribe(Kind::Channel, &name, client);
    }
    for name in std::mem::take(&mut cx.session.patterns) {
        cx.state.pubsub.unsubscribe(Kind::Pattern, &name, client);
    }
    cx.state.monitors.retain(|monitor| *monitor != client);
    let authenticated = cx.state.config.requirepass.is_empty();
    let session = &mut *cx.session;
    session.monitor = false;
    session.db = 0;
    session.name.clear();
    session.no_evict = false;
    session.no_touch = false;
    session.reply_mode = ReplyMode::On;
    session.authenticated = authenticated;
    session.proto = Proto::Resp2;
    cx.reply.set_proto(Proto::Resp2);
    cx.reply.simple("RESET");
    Ok(())
}
