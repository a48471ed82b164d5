//! EVAL and SCRIPT.
//!
//! Owns: how a script meets the store: its writes wait in the overlay until it has ended, and it
//! runs again from the start when it came upon a key that is not in RAM.
//! Never knows: Lua (see `script`).
//! Invariant: a script's writes are one group in the log; a script that is stopped has none, one
//! that fails has those before its error, as in Redis.

use sha1::{Digest, Sha1};

use super::describe::find;
use super::parse::{error, integer, is};
use super::table::flag::{DENYOOM, GATHERS, NOSCRIPT, READONLY, SCRIPT, STALE, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, RECORD_OVERHEAD, Stop, resolve, text};
use crate::resp::{Args, Proto};
use crate::script::{Abort, Engine, Failure, Host, Limits, Script, Sha, digest};

const fn entry(
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, -3, Group::Scripting, since, summary, handler)
        .keys(Keys::Counted { at: 2 })
        .flags(NOSCRIPT | STALE | WRITE | TIMED | SCRIPT)
}

const READS: u32 = NOSCRIPT | STALE | READONLY | TIMED | SCRIPT;

pub(super) static COMMANDS: &[Command] = &[
    entry("eval", "2.6.0", "Runs a Lua script.", |cx, args| eval(cx, args, false)),
    entry("evalsha", "2.6.0", "Runs a Lua script that is known, by digest.", |cx, args| {
        evalsha(cx, args, false)
    }),
    entry("eval_ro", "7.0.0", "Runs a Lua script that only reads.", |cx, args| {
        eval(cx, args, true)
    })
    .flags(READS),
    entry("evalsha_ro", "7.0.0", "Runs a known Lua script that only reads.", |cx, args| {
        evalsha(cx, args, true)
    })
    .flags(READS),
    Command::new("script", -2, Group::Scripting, "2.6.0", "About scripts.", super::container)
        .flags(NOSCRIPT | STALE)
        .subcommands(SUBCOMMANDS),
];

const fn sub(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Scripting, "2.6.0", summary, run).flags(NOSCRIPT | STALE)
}

static SUBCOMMANDS: &[Command] = &[
    sub("load", 3, "Compiles and keeps a script, and returns its digest.", load),
    sub("exists", -3, "Tells which scripts are kept.", exists),
    sub("flush", -2, "Forgets all scripts.", flush),
    sub("kill", 2, "Answers that no script is running: see lua-time-limit.", |_, _| {
        Err(Stop::error("NOTBUSY No scripts in execution right now."))
    }),
    sub("debug", 3, "Refused: there is no debugger.", |_, _| {
        Err(Stop::error("ERR SCRIPT DEBUG is not supported"))
    }),
];

fn parse_hex(text: &[u8]) -> Option<Sha> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 40 && text.is_ascii())?;
    let mut sha = [0; 20];
    for (at, byte) in sha.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(sha)
}

/// Whether a command exists, for `redis.acl_check_cmd`.
fn knows(args: Args<'_>) -> bool {
    args.get(0).is_some_and(|name| find(name).is_some())
}

/// Takes the interpreter out of the state, made if there is none.
fn interpreter(cx: &mut Context<'_>) -> Result<Box<Engine>, Stop> {
    if !cx.state.config.lua {
        return Err(Stop::error("ERR scripts are turned off by the setting lua"));
    }
    if let Some(engine) = cx.state.scripts.take() {
        engine.set_memory_limit(cx.state.config.lua_memory_limit);
        return Ok(engine);
    }
    let limits = Limits { memory_bytes: cx.state.config.lua_memory_limit };
    Engine::new(limits, cx.clock_us, knows).map(Box::new).map_err(error)
}

/// Compiles a script, or finds it compiled.
fn compile(cx: &mut Context<'_>, body: &[u8], loaded: bool) -> Result<(Script, Sha), Stop> {
    let mut engine = interpreter(cx)?;
    let sha = digest(body);
    let script = engine.compile(sha, body, loaded);
    cx.state.scripts = Some(engine);
    script.map(|script| (script, sha)).map_err(error)
}

fn eval(cx: &mut Context<'_>, args: Args<'_>, read_only: bool) -> Outcome {
    let (script, sha) = compile(cx, &args[1], false)?;
    run(cx, args, (&script, &sha), read_only)
}

fn evalsha(cx: &mut Context<'_>, args: Args<'_>, read_only: bool) -> Outcome {
    let engine = interpreter(cx)?;
    let known = parse_hex(&args[1]).and_then(|sha| Some((engine.get(&sha)?, sha)));
    cx.state.scripts = Some(engine);
    let (script, sha) =
        known.ok_or(Stop::error("NOSCRIPT No matching script. Please use EVAL."))?;
    run(cx, args, (&script, &sha), read_only)
}

fn run(cx: &mut Context<'_>, args: Args<'_>, script: (&Script, &Sha), read_only: bool) -> Outcome {
    let count = integer(&args[2])?;
    let count =
        usize::try_from(count).map_err(|_| Stop::error("ERR Number of keys can't be negative"))?;
    if count > args.len() - 3 {
        return Err(Stop::error("ERR Number of keys can't be greater than number of args"));
    }
    let declared = script.0.declared;
    if read_only && declared.present && !declared.no_writes {
        return Err(Stop::error(
            "ERR Can not execute a script with write flag using *_ro command.",
        ));
    }
    let strings = (args.from(3).first(count), args.from(3 + count));
    let read_only = read_only || declared.no_writes;
    // Within a transaction the writes before it wait, too.
    let before = cx.overlay.clone();
    if before.is_none() {
        cx.hold_writes();
    }
    if let Ok(resolved) = resolve(args) {
        cx.show(resolved.command, args, false);
    }
    let outcome = run_held(cx, script, strings, read_only);
    let keeps = match &outcome {
        Ok(()) | Err(End::Failed(_)) => true,
        Err(End::Stopped(_)) => false,
    };
    match before {
        Some(before) if !keeps => cx.overlay = Some(before),
        Some(_) => {}
        None if keeps => cx.make_writes().inspect_err(|_| cx.drop_writes())?,
        None => cx.drop_writes(),
    }
    outcome.map_err(|end| match end {
        End::Failed(stop) | End::Stopped(stop) => stop,
    })
}

/// Why a script has no value.
enum End {
    /// It failed; its writes stay.
    Failed(Stop),
    /// It was stopped; it has written nothing.
    Stopped(Stop),
}

/// Runs a script whose writes wait.
fn run_held(
    cx: &mut Context<'_>,
    script: (&Script, &Sha),
    strings: (Args<'_>, Args<'_>),
    read_only: bool,
) -> Result<(), End> {
    let limit_us = u64::from(cx.state.config.lua_time_limit) * 1000;
    let left_us = limit_us.saturating_sub(cx.session.script.spent_us);
    let seed = match cx.session.script.seed {
        Some(seed) => seed,
        None => *cx.session.script.seed.insert(cx.state.random.i32(..)),
    };
    let engine = interpreter(cx).map_err(End::Stopped)?;
    let (db, slot, started) = (cx.session.db, cx.slot, (cx.clock_us)());
    let mut caller = Caller { cx, read_only, stop: None };
    let outcome = engine.run(script, strings, (left_us, seed), &mut caller);
    let stop = caller.stop.take();
    cx.state.scripts = Some(engine);
    (cx.session.db, cx.slot) = (db, slot);
    cx.session.script.spent_us += (cx.clock_us)().saturating_sub(started);
    match outcome {
        Ok(value) => value.write(&mut cx.reply).map_err(|text| End::Failed(error(text))),
        Err(Failure::Error(text)) => Err(End::Failed(error(text))),
        Err(Failure::Killed) => Err(End::Stopped(error(format!(
            "ERR the script was stopped after {} ms (lua-time-limit); none of its writes were made",
            cx.state.config.lua_time_limit
        )))),
        Err(Failure::Aborted) => Err(End::Stopped(stop.unwrap_or(text::READ_FAILED))),
    }
}

/// Runs the commands of a script.
struct Caller<'c, 'a> {
    cx: &'c mut Context<'a>,
    read_only: bool,
    stop: Option<Stop>,
}

impl Host for Caller<'_, '_> {
    fn call(&mut self, args: Args<'_>, proto: Proto, reply: &mut Vec<u8>) -> Result<(), Abort> {
        let cx = &mut *self.cx;
        let (start, clients) = (cx.reply.len(), cx.reply.proto());
        cx.reply.set_proto(proto);
        cx.in_script = true;
        let outcome = call(cx, args, self.read_only);
        cx.in_script = false;
        if outcome.is_ok() {
            reply.extend_from_slice(cx.reply.since(start));
        }
        cx.reply.truncate(start);
        cx.reply.set_proto(clients);
        match outcome {
            Ok(()) => Ok(()),
            Err(Stop::Error(text)) => {
                cx.state.stats.error(&text);
                crate::resp::Reply::new(reply, proto).error(&text);
                Ok(())
            }
            Err(stop) => {
                self.stop = Some(match stop {
                    Stop::Cold | Stop::Room | Stop::Gather(_) => stop,
                    _ => Stop::error("ERR the command would have to wait, which a script cannot"),
                });
                Err(Abort)
            }
        }
    }
}

/// Runs one command of a script.
fn call(cx: &mut Context<'_>, args: Args<'_>, read_only: bool) -> Outcome {
    let resolved = resolve(args).map_err(|stop| match stop {
        Stop::Error(text) if text.starts_with("ERR wrong number of arguments") => {
            Stop::error("ERR Wrong number of args calling Redis command from script")
        }
        _ => Stop::error("ERR Unknown Redis command called from script"),
    })?;
    let (command, flags) = (resolved.command, resolved.command.flags);
    if flags.has(NOSCRIPT) {
        return Err(Stop::error("ERR This Redis command is not allowed from script"));
    }
    if flags.has(WRITE) {
        if read_only {
            return Err(Stop::error("ERR Write commands are not allowed from read-only scripts."));
        }
        let keys = if command.keys.may_be_many() { args.len() } else { 1 };
        cx.room_aside(args.bytes() + keys * RECORD_OVERHEAD, flags.has(DENYOOM))?;
    }
    if command.keys.may_be_many() {
        all_resident(cx, command.keys.of(args))?;
        cx.refuse_ended_in(command, args)?;
    }
    if flags.has(GATHERS) {
        cx.slot = slot(cx, args);
    }
    cx.state.stats.by_command[resolved.id].calls += 1;
    cx.show(command, args, true);
    let outcome = (command.handler)(cx, args);
    if matches!(outcome, Err(Stop::Error(_))) {
        cx.state.stats.by_command[resolved.id].failed += 1;
    }
    outcome
}

/// Names what a command of a script lists, beside the positions in a queue. A run after a wait finds
/// its answer by what it asks for, since what it does until then may have changed.
fn slot(cx: &Context<'_>, args: Args<'_>) -> usize {
    let mut sha = Sha1::new();
    sha.update(cx.session.db.to_le_bytes());
    for arg in args.iter() {
        sha.update(arg.len().to_le_bytes());
        sha.update(arg);
    }
    let digest: [u8; 20] = sha.finalize().into();
    // The highest byte keeps it apart from positions.
    digest.iter().take(7).fold(1, |slot, byte| slot << 8 | usize::from(*byte))
}

/// Looks all keys up, so that all that are cold are loaded before the script runs again.
fn all_resident<'a>(cx: &mut Context<'_>, keys: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut outcome = Ok(());
    for name in keys {
        if let Ok(key) = cx.key(name)
            && let Err(stop) = cx.find_to_replace(&key)
        {
            outcome = Err(stop);
        }
    }
    outcome
}

fn load(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (_, sha) = compile(cx, &args[2], true)?;
    cx.reply.bulk(crate::process::hex(&sha).as_bytes());
    Ok(())
}

fn exists(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    cx.reply.array(args.len() - 2);
    for sha in args.iter().skip(2) {
        let engine = cx.state.scripts.as_deref();
        let kept = parse_hex(sha).is_some_and(|sha| engine.is_some_and(|e| e.get(&sha).is_some()));
        cx.reply.integer(i64::from(kept));
    }
    Ok(())
}

fn flush(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match args.get(2) {
        None => {}
        Some(word) if args.len() == 3 && (is(word, "async") || is(word, "sync")) => {}
        Some(_) => {
            return Err(Stop::error("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
        }
    }
    cx.state.scripts = None;
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_in_any_case() {
        let sha = digest(b"return 1");
        let hex = crate::process::hex(&sha);
        assert_eq!(parse_hex(hex.as_bytes()), Some(sha));
        assert_eq!(parse_hex(hex.to_uppercase().as_bytes()), Some(sha));
        for bad in ["", "xyz", &"g".repeat(40), &"é".repeat(20)] {
            assert_eq!(parse_hex(bad.as_bytes()), None);
        }
    }
}
