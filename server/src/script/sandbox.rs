//! What scripts may use, and how their failures are told.
//!
//! Owns: the environment of scripts; see `sandbox.lua`.
//! Never knows: the running command.
//! Invariant: no file, process, clock or bytecode is in reach of a script, and what a script can
//! reach is the same for the next one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value};

use super::number::{Random, truncate};
use super::redis::{Complaint, Raised, command_of, raise, setresp};
use super::{bit, json, msgpack, structs};
use crate::resp::{Args, Proto};
use crate::{REDIS_VERSION, REDIS_VERSION_NUM};

/// The environment of scripts.
pub(super) struct Sandbox {
    environment: Table,
    /// What stands behind it.
    pub(super) globals: Table,
    /// What stands behind `redis`.
    pub(super) redis: Table,
    /// Everything that scripts must not change.
    guarded: Vec<Table>,
    xpcall: Function,
    note: Function,
    /// What the running script failed with.
    pub(super) failure: Rc<RefCell<Option<Complaint>>>,
}

/// A bare interpreter.
pub(super) fn interpreter() -> mlua::Result<Lua> {
    // Panics pass through Lua as they are: none of ours is meant to be caught by a script.
    let options = LuaOptions::new().catch_rust_panics(false);
    Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, options)
}

impl Sandbox {
    pub(super) fn new(
        lua: &Lua,
        settings: &Rc<json::Settings>,
        random: &Rc<Random>,
        proto: &Rc<Cell<Proto>>,
        knows: fn(Args<'_>) -> bool,
    ) -> mlua::Result<Sandbox> {
        let host = lua.create_table()?;
        host.raw_set("redis", library(lua, proto, knows)?)?;
        host.raw_set("cjson", json::library(lua, settings)?)?;
        host.raw_set("cmsgpack", msgpack::library(lua)?)?;
        host.raw_set("bit", bit::library(lua)?)?;
        host.raw_set("struct", structs::library(lua)?)?;
        host.raw_set("text", lua.create_function(|_, error: Value| Ok(message(&error)))?)?;
        host.raw_set(
            "concat",
            lua.create_function(|lua, pieces: Vec<LuaString>| concat(lua, &pieces))?,
        )?;
        numbers(lua, &host, random)?;
        let environment: Rc<RefCell<Option<Table>>> = Rc::default();
        let shared = Rc::clone(&environment);
        host.raw_set(
            "compile",
            lua.create_function(move |lua, (text, name): (LuaString, Option<LuaString>)| {
                Ok(compile(lua, &text, name.as_ref(), shared.borrow().clone()))
            })?,
        )?;
        let chunk = lua.load(include_str!("sandbox.lua")).set_name("=sandbox");
        let (env, globals, redis, guarded): (Table, Table, Table, Vec<Table>) = chunk.call(host)?;
        *environment.borrow_mut() = Some(env.clone());
        let failure: Rc<RefCell<Option<Complaint>>> = Rc::default();
        let noted = Rc::clone(&failure);
        let note = lua.create_function(move |lua, error: Value| {
            *noted.borrow_mut() = Some(complaint(lua, &error));
            Ok(())
        })?;
        let xpcall = lua.globals().get("xpcall")?;
        Ok(Sandbox { environment: env, globals, redis, guarded, xpcall, note, failure })
    }

    pub(super) fn environment(&self) -> Table {
        self.environment.clone()
    }

    /// Calls a script. Returns whether it ended well, and with what.
    pub(super) fn protected_call(&self, script: &Function) -> mlua::Result<(bool, Value)> {
        self.failure.borrow_mut().take();
        self.xpcall.call((script, &self.note))
    }

    /// Undoes what scripts can do to tables in front of which only metatables stand guard.
    pub(super) fn clean(&self) {
        for table in self.guarded.iter().filter(|table| !table.is_empty()) {
            // Fails only for tables that Lua itself holds read-only, which 5.1 has none of.
            let _ = table.clear();
        }
    }
}

/// What Lua says of an error, without where it happened in Rust.
pub(super) fn message(error: &Value) -> String {
    let Value::Error(error) = error else { return text(error) };
    let mut error: &mlua::Error = error;
    loop {
        error = match error {
            mlua::Error::CallbackError { cause, .. }
            | mlua::Error::BadArgument { cause, .. }
            | mlua::Error::WithContext { cause, .. } => cause,
            mlua::Error::RuntimeError(text) => return text.clone(),
            mlua::Error::MemoryError(_) => return "not enough memory".to_owned(),
            mlua::Error::ExternalError(other) => return other.to_string(),
            other => return other.to_string(),
        };
    }
}

/// What the compiler says.
pub(super) fn syntax_message(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => message(&Value::Error(Box::new(other.clone()))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string_lossy(),
        other => other.to_string().unwrap_or_else(|_| other.type_name().to_owned()),
    }
}

fn complaint(lua: &Lua, error: &Value) -> Complaint {
    let text = match error {
        Value::Table(table) => match table.raw_get("err") {
            Ok(Value::String(text)) => text.to_string_lossy(),
            _ => "ERR unknown error".to_owned(),
        },
        Value::Error(inner) => {
            let text = message(error);
            if is_reply(inner) { text } else { format!("ERR {text}") }
        }
        other => format!("ERR {}", text(other)),
    };
    Complaint { text, line: line(lua) }
}

/// Whether an error carries an error reply.
fn is_reply(error: &mlua::Error) -> bool {
    match error {
        mlua::Error::CallbackError { cause, .. } => is_reply(cause),
        other => other.downcast_ref::<Raised>().is_some(),
    }
}

/// Stack frames that are searched for the script's.
const FRAMES_MAX: usize = 64;

/// The line at which the script is.
fn line(lua: &Lua) -> Option<usize> {
    for level in 0..FRAMES_MAX {
        let line = lua.inspect_stack(level, |frame| {
            let ours = frame.source().source.as_deref() == Some("@user_script");
            ours.then(|| frame.current_line()).flatten()
        })?;
        if line.is_some() {
            return line;
        }
    }
    None
}

/// An error with the place where the running function was called, as Lua's own libraries raise.
pub(super) fn fail<R>(lua: &Lua, problem: &str) -> mlua::Result<R> {
    let place = lua.inspect_stack(1, |frame| {
        let source = frame.source().short_src.map(std::borrow::Cow::into_owned);
        source.zip(frame.current_line())
    });
    match place.flatten() {
        Some((source, line)) => Err(mlua::Error::runtime(format!("{source}:{line}: {problem}"))),
        None => Err(mlua::Error::runtime(problem)),
    }
}

fn concat(lua: &Lua, pieces: &[LuaString]) -> mlua::Result<LuaString> {
    let mut all = Vec::new();
    for piece in pieces {
        all.extend_from_slice(&piece.as_bytes());
    }
    lua.create_string(all)
}

/// `loadstring`, for text only: bytecode can crash the interpreter.
fn compile(
    lua: &Lua,
    text: &LuaString,
    name: Option<&LuaString>,
    environment: Option<Table>,
) -> (Option<Function>, Option<String>) {
    let body = text.as_bytes().to_vec();
    let name = name.unwrap_or(text).to_string_lossy().replace('\0', " ");
    let mut chunk = lua.load(body).set_name(name).set_mode(ChunkMode::Text);
    if let Some(environment) = environment {
        chunk = chunk.set_environment(environment);
    }
    match chunk.into_function() {
        Ok(function) => (Some(function), None),
        Err(error) => (None, Some(syntax_message(&error))),
    }
}

/// `math.random` and `math.randomseed` as in Redis.
fn numbers(lua: &Lua, host: &Table, random: &Rc<Random>) -> mlua::Result<()> {
    let generator = Rc::clone(random);
    let next = lua.create_function(move |lua, (low, high): (Option<f64>, Option<f64>)| {
        let part = f64::from(generator.next() % 2_147_483_647) / Random::MAX;
        let (low, high) = match (low.map(f64::floor), high.map(f64::floor)) {
            (None, _) => return Ok(part),
            (Some(high), None) => (1.0, high),
            (Some(low), Some(high)) => (low, high),
        };
        if low > high {
            return fail(lua, "bad argument #1 to 'random' (interval is empty)");
        }
        Ok((part * (high - low + 1.0)).floor() + low)
    })?;
    host.raw_set("random", next)?;
    let generator = Rc::clone(random);
    let seed = lua.create_function(move |_, seed: f64| {
        generator.seed(truncate(seed) as i32);
        Ok(())
    })?;
    host.raw_set("randomseed", seed)
}

/// What of `redis` does not need the running command.
fn library(lua: &Lua, proto: &Rc<Cell<Proto>>, knows: fn(Args<'_>) -> bool) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    for (name, number) in [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", REDIS_VERSION_NUM),
    ] {
        redis.raw_set(name, number)?;
    }
    redis.raw_set("REDIS_VERSION", REDIS_VERSION)?;
    let function = |name: &str, function: mlua::Result<Function>| redis.raw_set(name, function?);
    function("error_reply", lua.create_function(|lua, args: MultiValue| error_reply(lua, &args)))?;
    function("status_reply", lua.create_function(|lua, args| single(lua, "ok", &args, None)))?;
    function("sha1hex", lua.create_function(|lua, args: MultiValue| sha1hex(lua, &args)))?;
    function("log", lua.create_function(|lua, args: MultiValue| log(lua, &args)))?;
    let proto = Rc::clone(proto);
    function("setresp", lua.create_function(move |_, args: MultiValue| setresp(&proto, &args)))?;
    // All writes of a script are one group in the log, whatever it asks for.
    function("replicate_commands", lua.create_function(|_, ()| Ok(true)))?;
    function("set_repl", lua.create_function(|_, _: MultiValue| Ok(())))?;
    function("breakpoint", lua.create_function(|_, ()| Ok(false)))?;
    function("debug", lua.create_function(|_, _: MultiValue| Ok(())))?;
    function(
        "acl_check_cmd",
        lua.create_function(move |_, values: MultiValue| {
            if knows(command_of(&values)?.view()) {
                return Ok(true);
            }
            raise("ERR Invalid command passed to redis.acl_check_cmd()")
        }),
    )?;
    Ok(redis)
}

/// A table with one field, the only argument.
fn single(lua: &Lua, field: &str, args: &MultiValue, fixed: Option<String>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    match (args.front(), args.len()) {
        (Some(Value::String(text)), 1) => match fixed {
            Some(fixed) => table.raw_set(field, fixed)?,
            None => table.raw_set(field, text)?,
        },
        _ => table.raw_set("err", "ERR wrong number or type of arguments")?,
    }
    Ok(table)
}

fn error_reply(lua: &Lua, args: &MultiValue) -> mlua::Result<Table> {
    let fixed = match args.front() {
        Some(Value::String(text)) => {
            let text = text.to_string_lossy();
            let text = text.strip_prefix('-').unwrap_or(&text);
            Some(if text.contains(' ') { text.to_owned() } else { format!("ERR {text}") })
        }
        _ => None,
    };
    single(lua, "err", args, fixed)
}

fn sha1hex(_: &Lua, args: &MultiValue) -> mlua::Result<String> {
    let Some(value) = args.front().filter(|_| args.len() == 1) else {
        return raise("ERR wrong number of arguments");
    };
    let sha = match value {
        Value::String(text) => super::digest(&text.as_bytes()),
        other => super::digest(text(other).as_bytes()),
    };
    Ok(crate::process::hex(&sha))
}

fn log(_: &Lua, args: &MultiValue) -> mlua::Result<()> {
    if args.len() < 2 {
        return raise("ERR redis.log() requires two arguments or more.");
    }
    let Some(Value::Integer(level)) = args.front() else {
        return raise("ERR First argument must be a number (log level).");
    };
    let words: Vec<String> = args.iter().skip(1).map(text).collect();
    let said = words.join(" ");
    match level {
        0 | 1 => tracing::debug!("script: {said}"),
        2 => tracing::info!("script: {said}"),
        3 => tracing::warn!("script: {said}"),
        _ => return raise("ERR Invalid debug level."),
    }
    Ok(())
}
