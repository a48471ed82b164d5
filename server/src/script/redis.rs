//! The library `redis`, as far as it needs the running command; the rest is in the sandbox.
//!
//! Owns: the way from a call in Lua to a command and back.
//! Never knows: what any command does.
//! Invariant: an error of a command is a table for `pcall` and a Lua error for `call`; one that the
//! host stopped at returns to the script as neither.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Lua, MultiValue, Value};

use super::SharedScratch;
use super::limits::Watch;
use super::{convert, number};
use crate::resp::{Args, OwnedArgs, Proto};

/// The host stops the script; it alone knows why.
#[derive(Debug)]
pub struct Abort;

/// What scripts run on.
pub trait Host {
    /// Runs a command and appends its reply in version `proto` to `reply`.
    ///
    /// # Errors
    /// The script must not go on.
    fn call(&mut self, args: Args<'_>, proto: Proto, reply: &mut Vec<u8>) -> Result<(), Abort>;
}

/// What a script failed with, for its error reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Complaint {
    pub(super) text: String,
    /// The line of the script.
    pub(super) line: Option<usize>,
}

/// An error reply on its way through Lua.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// The error reply `text` as a Lua error.
pub(super) fn raise<R>(text: impl Into<String>) -> mlua::Result<R> {
    Err(mlua::Error::external(Raised(text.into())))
}

/// `redis.call` and `redis.pcall` of one run.
pub(super) struct Call<'h> {
    watch: &'h Rc<Watch>,
    host: RefCell<&'h mut dyn Host>,
    proto: &'h Cell<Proto>,
    scratch: SharedScratch,
}

impl<'h> Call<'h> {
    pub(super) fn new(
        watch: &'h Rc<Watch>,
        proto: &'h Cell<Proto>,
        host: &'h mut dyn Host,
    ) -> Call<'h> {
        Call { watch, host: RefCell::new(host), proto, scratch: SharedScratch::default() }
    }

    pub(super) fn run(&self, lua: &Lua, values: &MultiValue, raising: bool) -> mlua::Result<Value> {
        if self.watch.is_stopped() {
            return self.watch.stop(lua);
        }
        let mut scratch = self.scratch.borrow_mut();
        let scratch = &mut *scratch;
        if let Err(complaint) = gather(values, &mut scratch.args) {
            if raising {
                return raise(complaint);
            }
            return convert::error(lua, complaint.as_bytes());
        }
        scratch.reply.clear();
        let args = scratch.args.view();
        let answered = self.host.borrow_mut().call(args, self.proto.get(), &mut scratch.reply);
        if let Err(Abort) = answered {
            self.watch.abort();
            return self.watch.stop(lua);
        }
        if raising && let Some(error) = scratch.reply.strip_prefix(b"-") {
            return raise(String::from_utf8_lossy(error.trim_ascii_end()));
        }
        convert::read(lua, &scratch.reply)
    }
}

/// `redis.setresp`.
pub(super) fn setresp(proto: &Cell<Proto>, values: &MultiValue) -> mlua::Result<()> {
    if values.len() != 1 {
        return raise("ERR redis.setresp() requires one argument.");
    }
    proto.set(match values.front() {
        Some(Value::Integer(2)) => Proto::Resp2,
        Some(Value::Integer(3)) => Proto::Resp3,
        _ => return raise("ERR RESP version must be 2 or 3."),
    });
    Ok(())
}

/// Collects the arguments of a command.
fn gather(values: &MultiValue, args: &mut OwnedArgs) -> Result<(), &'static str> {
    args.clear();
    if values.is_empty() {
        return Err("ERR Please specify at least one argument for this redis lib call");
    }
    for value in values {
        match value {
            Value::String(text) => args.push(&text.as_bytes()),
            Value::Integer(number) => {
                if number.unsigned_abs() < 1 << 53 {
                    args.push(itoa::Buffer::new().format(*number).as_bytes());
                } else {
                    args.push(number::argument(*number as f64).as_bytes());
                }
            }
            Value::Number(number) => args.push(number::argument(*number).as_bytes()),
            _ => return Err("ERR Lua redis lib command arguments must be strings or integers"),
        }
    }
    Ok(())
}

/// The arguments of `redis.acl_check_cmd`.
pub(super) fn command_of(values: &MultiValue) -> mlua::Result<OwnedArgs> {
    let mut args = OwnedArgs::default();
    match gather(values, &mut args) {
        Ok(()) => Ok(args),
        Err(complaint) => raise(complaint),
    }
}
