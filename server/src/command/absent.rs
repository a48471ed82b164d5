//! Commands of Redis that clients and tools send, for parts that Emberlog has not: functions, modules,
//! replicas on demand.
//!
//! Owns: what is answered instead.
//! Never knows: anything about them.
//! Invariant: nothing is claimed to have been done that was not.

use super::parse::is;
use super::table::flag::{ADMIN, DANGEROUS, LOADING, NOSCRIPT, STALE};
use super::{Command, Context, Group, Outcome, Stop};
use crate::resp::Args;

const fn entry(
    name: &'static str,
    arity: i16,
    group: Group,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, group, since, summary, handler).flags(NOSCRIPT | STALE)
}

const OPERATOR: u32 = ADMIN | DANGEROUS | NOSCRIPT | LOADING | STALE;

const fn function(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    entry(name, arity, Group::Scripting, "7.0.0", summary, handler)
}

const fn server(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    entry(name, arity, Group::Server, since, summary, handler).flags(OPERATOR)
}

pub(super) static COMMANDS: &[Command] = &[
    function("function", -2, "There are no functions; see EVAL.", super::container)
        .subcommands(FUNCTION),
    function("fcall", -3, "Answers that there is no such function.", no_function),
    function("fcall_ro", -3, "Answers that there is no such function.", no_function),
    server("module", -2, "4.0.0", "There are no modules.", super::container).subcommands(MODULE),
    server("replicaof", 3, "5.0.0", "Refused, but for NO ONE.", replicaof),
    server("slaveof", 3, "1.0.0", "Refused, but for NO ONE.", replicaof),
    server("failover", -1, "6.2.0", "Refused: there are no replicas.", |_, _| {
        Err(Stop::error("ERR FAILOVER requires connected replicas."))
    }),
];

static FUNCTION: &[Command] = &[
    function("list", -2, "Lists libraries: none.", |cx, _| {
        cx.reply.array(0);
        Ok(())
    }),
    function("load", -3, "Refused.", |_, _| {
        Err(Stop::error("ERR functions are not supported; send scripts with EVAL"))
    }),
    function("delete", 3, "Answers that there is no such library.", |_, _| {
        Err(Stop::error("ERR Library not found"))
    }),
    function("flush", -2, "Deletes all libraries: none.", |cx, args| {
        match args.get(2) {
            None => {}
            Some(word) if args.len() == 3 && (is(word, "async") || is(word, "sync")) => {}
            Some(_) => {
                return Err(Stop::error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
            }
        }
        cx.reply.ok();
        Ok(())
    }),
    function("kill", 2, "Answers that no function is running.", |_, _| {
        Err(Stop::error("NOTBUSY No scripts in execution right now."))
    }),
    function("stats", 2, "Tells that there are no functions.", stats),
];

static MODULE: &[Command] = &[
    server("list", 2, "4.0.0", "Lists modules: none.", |cx, _| {
        cx.reply.array(0);
        Ok(())
    }),
    server("load", -3, "4.0.0", "Refused.", |_, _| {
        Err(Stop::error("ERR modules are not supported"))
    }),
    server("unload", 3, "4.0.0", "Answers that there is no such module.", |_, _| {
        Err(Stop::error("ERR Error unloading module: no such module with that name"))
    }),
];

fn no_function(_cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    Err(Stop::error("ERR Function not found"))
}

fn stats(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let reply = &mut cx.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    reply.null();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    for field in ["libraries_count", "functions_count"] {
        reply.bulk(field.as_bytes());
        reply.integer(0);
    }
    Ok(())
}

fn replicaof(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if is(&args[1], "no") && is(&args[2], "one") {
        cx.reply.ok();
        return Ok(());
    }
    Err(Stop::error("ERR emberlog does not replicate from other servers"))
}
