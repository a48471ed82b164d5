//! The limits of a running script: time, and being stopped for good.
//!
//! Owns: the instruction hook.
//! Never knows: why a script is stopped.
//! Invariant: once stopped, a script runs on at most until the next hook of each of its coroutines,
//! whatever it catches, and its commands are refused meanwhile.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{HookTriggers, Lua, VmState};

/// Instructions between two looks at the clock: some ten microseconds.
const INSTRUCTIONS: u32 = 10_000;

/// Watches over one run at a time.
pub(super) struct Watch {
    clock_us: fn() -> u64,
    deadline: Cell<u64>,
    killed: Cell<bool>,
    aborted: Cell<bool>,
}

impl Watch {
    pub(super) fn new(clock_us: fn() -> u64) -> Watch {
        let (deadline, no) = (Cell::new(u64::MAX), || Cell::new(false));
        Watch { clock_us, deadline, killed: no(), aborted: no() }
    }

    /// Hooks into `lua` for good.
    pub(super) fn arm(self: &Rc<Watch>, lua: &Lua) -> mlua::Result<()> {
        self.hook(lua, INSTRUCTIONS)
    }

    fn hook(self: &Rc<Watch>, lua: &Lua, every: u32) -> mlua::Result<()> {
        let watch = Rc::clone(self);
        let triggers = HookTriggers::new().every_nth_instruction(every);
        lua.set_global_hook(triggers, move |lua, _| watch.look(lua))
    }

    fn look(self: &Rc<Watch>, lua: &Lua) -> mlua::Result<VmState> {
        if !self.is_stopped() {
            if (self.clock_us)() < self.deadline.get() {
                return Ok(VmState::Continue);
            }
            self.killed.set(true);
        }
        self.stop(lua)
    }

    /// Raises an error now and at every instruction from now on, so that catching it is no use.
    pub(super) fn stop<R>(self: &Rc<Watch>, lua: &Lua) -> mlua::Result<R> {
        self.hook(lua, 1)?;
        Err(mlua::Error::runtime("the script was stopped"))
    }

    /// Ends the run on behalf of the host.
    pub(super) fn abort(&self) {
        self.aborted.set(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.killed.get() || self.aborted.get()
    }

    pub(super) fn was_killed(&self) -> bool {
        self.killed.get()
    }

    pub(super) fn was_aborted(&self) -> bool {
        self.aborted.get()
    }

    /// A run begins that may take `time_us` microseconds.
    pub(super) fn start(&self, time_us: u64) {
        self.killed.set(false);
        self.aborted.set(false);
        self.deadline.set((self.clock_us)().saturating_add(time_us));
    }

    /// The run is over.
    pub(super) fn finish(self: &Rc<Watch>, lua: &Lua) {
        self.deadline.set(u64::MAX);
        if self.is_stopped() && self.arm(lua).is_err() {
            tracing::error!("the instruction hook of Lua could not be set back");
        }
    }
}
