//! Lua 5.1 as Redis' scripts know it: one interpreter, its sandbox, its limits.
//!
//! ```text
//! command::script -> Engine::run -> Lua -> Host::call -> command table
//! ```
//! Owns: the interpreter, compiled scripts by digest, conversion between Lua and RESP, and the
//! libraries `redis`, `cjson`, `cmsgpack`, `bit` and `struct`.
//! Never knows: commands, keys, the store.
//! Invariant: nothing that a script does outlives its run, whatever it does ends at its limits of
//! time and memory, and an aborted script does not get to run on.

mod bit;
mod convert;
mod json;
mod json_decode;
mod json_encode;
mod limits;
mod msgpack;
mod number;
mod redis;
mod sandbox;
mod structs;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, MultiValue, Table, Value};
use sha1::{Digest, Sha1};

use crate::resp::{Args, OwnedArgs, Proto, Reply};

pub use redis::{Abort, Host};

use limits::Watch;
use redis::Complaint;

/// SHA-1 of a script's text.
pub type Sha = [u8; 20];

/// Scripts that EVAL has compiled are kept up to so many; those of SCRIPT LOAD stay.
const EVALUATED_MAX: usize = 500;
/// Scripts that SCRIPT LOAD may keep.
const LOADED_MAX: usize = 10_000;

/// Digest of a script's text.
pub fn digest(body: &[u8]) -> Sha {
    let mut sha = Sha1::new();
    sha.update(body);
    sha.finalize().into()
}

/// What a script says of itself in its first line, `#!lua flags=...`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Declared {
    /// Whether there is such a line.
    pub present: bool,
    /// `no-writes`.
    pub no_writes: bool,
}

/// A compiled script.
#[derive(Clone, Debug)]
pub struct Script {
    function: Function,
    /// What it declares.
    pub declared: Declared,
    /// Whether SCRIPT LOAD asked to keep it.
    loaded: bool,
    /// When it was compiled, in scripts.
    serial: u64,
}

/// Limits of one interpreter.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that the interpreter may take.
    pub memory_bytes: usize,
}

/// How a script ended other than with a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It failed, with the text of an error reply. What it has written counts.
    Error(String),
    /// It used up its time.
    Killed,
    /// The host stopped it.
    Aborted,
}

/// What a script returned.
pub struct Returned {
    value: Value,
    proto: Proto,
}

impl Returned {
    /// Writes it as a reply.
    ///
    /// # Errors
    /// It is nested too deeply.
    pub fn write(&self, reply: &mut Reply<'_>) -> Result<(), String> {
        convert::write(&self.value, self.proto, reply)
    }
}

/// An interpreter with its scripts.
pub struct Engine {
    lua: Lua,
    watch: Rc<Watch>,
    sandbox: sandbox::Sandbox,
    settings: Rc<json::Settings>,
    random: Rc<number::Random>,
    /// What the running script chose with `redis.setresp`.
    proto: Rc<Cell<Proto>>,
    scripts: HashMap<Sha, Script>,
    serial: u64,
    memory_limit: Cell<usize>,
}

impl Engine {
    /// A fresh interpreter. `clock_us` measures time, `knows` tells whether a command exists.
    ///
    /// # Errors
    /// The memory limit is too low for it.
    pub fn new(
        limits: Limits,
        clock_us: fn() -> u64,
        knows: fn(Args<'_>) -> bool,
    ) -> Result<Engine, String> {
        let lua = sandbox::interpreter().map_err(|error| error.to_string())?;
        let watch = Rc::new(Watch::new(clock_us));
        let (settings, random, proto) = (Rc::default(), Rc::default(), Rc::default());
        let sandbox = sandbox::Sandbox::new(&lua, &settings, &random, &proto, knows)
            .map_err(|error| error.to_string())?;
        watch.arm(&lua).map_err(|error| error.to_string())?;
        let (scripts, memory_limit) = (HashMap::new(), Cell::new(0));
        let engine = Engine {
            lua,
            watch,
            sandbox,
            settings,
            random,
            proto,
            scripts,
            serial: 0,
            memory_limit,
        };
        engine.set_memory_limit(limits.memory_bytes);
        Ok(engine)
    }

    /// Changes the memory limit.
    pub fn set_memory_limit(&self, bytes: usize) {
        if self.memory_limit.replace(bytes) == bytes {
            return;
        }
        // It fails only for allocators that are not ours.
        let _ = self.lua.set_memory_limit(bytes);
    }

    /// Bytes that the interpreter takes.
    pub fn memory_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// Number of scripts kept.
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether no script is kept.
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// The script with this digest.
    pub fn get(&self, sha: &Sha) -> Option<Script> {
        self.scripts.get(sha).cloned()
    }

    /// Compiles a script and keeps it; `loaded`: until [`Engine`] goes, otherwise among the newest.
    ///
    /// # Errors
    /// It does not compile, or there are too many, as an error reply.
    pub fn compile(&mut self, sha: Sha, body: &[u8], loaded: bool) -> Result<Script, String> {
        if let Some(known) = self.scripts.get_mut(&sha) {
            known.loaded |= loaded;
            return Ok(known.clone());
        }
        let (declared, start) = shebang(body)?;
        let chunk = self
            .lua
            .load(&body[start..])
            .set_name("@user_script")
            .set_mode(ChunkMode::Text)
            .set_environment(self.sandbox.environment());
        let function = chunk.into_function().map_err(|error| {
            let reason = sandbox::syntax_message(&error);
            format!("ERR Error compiling script (new function): {reason}")
        })?;
        self.make_place(loaded)?;
        self.serial += 1;
        let script = Script { function, declared, loaded, serial: self.serial };
        self.scripts.insert(sha, script.clone());
        Ok(script)
    }

    fn make_place(&mut self, loaded: bool) -> Result<(), String> {
        let same = || self.scripts.iter().filter(|(_, script)| script.loaded == loaded);
        let count = same().count();
        if loaded && count >= LOADED_MAX {
            return Err("ERR too many scripts are loaded; see SCRIPT FLUSH".to_owned());
        }
        if !loaded && count >= EVALUATED_MAX {
            let oldest = same().min_by_key(|(_, script)| script.serial).map(|(sha, _)| *sha);
            oldest.map(|sha| self.scripts.remove(&sha));
        }
        Ok(())
    }

    /// Runs a script for at most so many microseconds, with random numbers from a seed.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(
        &self,
        (script, sha): (&Script, &Sha),
        (keys, argv): (Args<'_>, Args<'_>),
        (time_us, seed): (u64, i32),
        host: &mut dyn Host,
    ) -> Result<Returned, Failure> {
        self.settings.reset();
        self.random.seed(seed);
        self.watch.start(time_us);
        self.proto.set(Proto::Resp2);
        let call = redis::Call::new(&self.watch, &self.proto, host);
        let outcome = self.lua.scope(|scope| {
            let raising = |lua: &Lua, args: MultiValue| call.run(lua, &args, true);
            let returning = |lua: &Lua, args: MultiValue| call.run(lua, &args, false);
            let redis = &self.sandbox.redis;
            redis.raw_set("call", scope.create_function(raising)?)?;
            redis.raw_set("pcall", scope.create_function(returning)?)?;
            let globals = &self.sandbox.globals;
            globals.raw_set("KEYS", self.strings(keys)?)?;
            globals.raw_set("ARGV", self.strings(argv)?)?;
            self.sandbox.protected_call(&script.function)
        });
        let proto = self.proto.get();
        self.watch.finish(&self.lua);
        self.sandbox.clean();
        self.tidy();
        match outcome {
            _ if self.watch.was_aborted() => Err(Failure::Aborted),
            _ if self.watch.was_killed() => Err(Failure::Killed),
            Ok((true, value)) => Ok(Returned { value, proto }),
            Ok((false, error)) => Err(Failure::Error(self.explain(&error, sha))),
            Err(error) => Err(Failure::Error(self.explain(&Value::Error(Box::new(error)), sha))),
        }
    }

    /// Collects garbage if there is much: Lua 5.1 does not do so by itself when memory runs out.
    fn tidy(&self) {
        if self.lua.used_memory() > self.memory_limit.get() / 2
            && let Err(error) = self.lua.gc_collect()
        {
            tracing::error!(%error, "the garbage of scripts could not be collected");
        }
    }

    fn strings(&self, args: Args<'_>) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(args.len(), 0)?;
        for arg in args.iter() {
            table.raw_push(self.lua.create_string(arg)?)?;
        }
        Ok(table)
    }

    /// The error reply for what a script failed with.
    fn explain(&self, error: &Value, sha: &Sha) -> String {
        let noted = self.sandbox.failure.borrow_mut().take();
        let Some(Complaint { text, line }) = noted else {
            // Memory ran out: Lua has no room to call the handler that notes failures.
            let text = sandbox::message(error);
            return format!("ERR {text} script: {}", crate::process::hex(sha));
        };
        match line {
            Some(line) => {
                format!("{text} script: {}, on @user_script:{line}.", crate::process::hex(sha))
            }
            None => text,
        }
    }
}

/// Reads the first line of a script. Returns what it declares and where Lua begins.
fn shebang(body: &[u8]) -> Result<(Declared, usize), String> {
    if !body.starts_with(b"#!") {
        return Ok((Declared::default(), 0));
    }
    let end = body.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or("ERR Invalid script shebang")?;
    let line = String::from_utf8_lossy(&body[2..end]).into_owned();
    let mut words = line.split_ascii_whitespace();
    let engine = words.next().unwrap_or_default();
    if engine != "lua" {
        return Err(format!("ERR Unexpected engine in script shebang: #!{engine}"));
    }
    let mut declared = Declared { present: true, no_writes: false };
    for word in words {
        let Some(flags) = word.strip_prefix("flags=") else {
            return Err(format!("ERR Unknown lua shebang option: {word}"));
        };
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            match flag {
                "no-writes" => declared.no_writes = true,
                "allow-oom" | "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                _ => return Err(format!("ERR Unexpected flag in script shebang: {flag}")),
            }
        }
    }
    Ok((declared, end))
}

/// The arguments of a command that a script calls, and room for its reply; kept for their memory.
#[derive(Default)]
struct Scratch {
    args: OwnedArgs,
    reply: Vec<u8>,
}

/// A cell with scratch space that callbacks share.
type SharedScratch = RefCell<Scratch>;
