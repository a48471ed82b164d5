//! What MONITOR shows.
//!
//! Owns: the shape of a line.
//! Never knows: when a command is shown, and whether at all.
//! Invariant: whatever the arguments are, a line is one line.

use std::fmt::Write;

use emberlog_engine::Lsn;

use super::table::flag::{ADMIN, NO_AUTH, SKIP_MONITOR};
use super::{Command, Context};
use crate::resp::Args;

/// Longest argument that is shown in full.
const ARG_MAX: usize = 1024;

impl Context<'_> {
    /// Shows a command to the clients that see every command; one of a script says so.
    pub fn show(&mut self, command: &Command, args: Args<'_>, in_script: bool) {
        if self.state.monitors.is_empty() || command.flags.has(SKIP_MONITOR | NO_AUTH | ADMIN) {
            return;
        }
        let from = if in_script { "lua" } else { self.session.peer.addr.as_str() };
        let line = self.line(args, from);
        match &mut self.overlay {
            Some(overlay) => overlay.show(line),
            None => self.tell_monitors(&line),
        }
    }

    fn line(&self, args: Args<'_>, from: &str) -> String {
        let (seconds, micros) = (self.now.0 / 1000, self.now.0 % 1000 * 1000);
        let mut line = format!("+{seconds}.{micros:06} [{} {from}]", self.session.db);
        for arg in args.iter() {
            let shown = &arg[..arg.len().min(ARG_MAX)];
            let shown = shown.escape_ascii().to_string().replace("\\'", "'");
            let _ = write!(line, " \"{shown}\"");
        }
        line.push_str("\r\n");
        line
    }

    pub(super) fn tell_monitors(&mut self, line: &str) {
        for monitor in self.state.monitors.clone() {
            if monitor == self.session.key {
                self.state.own_messages.extend_from_slice(line.as_bytes());
            } else {
                self.clients.deliver(monitor, line.as_bytes(), Lsn::NONE, Lsn::NONE);
            }
        }
    }
}
