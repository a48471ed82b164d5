//! Session events.
//!
//! Owns: the names of their channels.
//! Never knows: who listens.
//! Invariant: an event waits for the same acknowledgement as the reply of the command behind it.

use crate::command::Context;

impl Context<'_> {
    /// Publishes that `reason` happened to the session called `sid`: on `__session@<db>__:<sid>` with
    /// the reason, and on `__sessionevent@<db>__:<reason>` with the id.
    pub(in crate::command) fn session_event(&mut self, reason: &str, sid: &[u8]) {
        self.session_event_in(self.session.db, reason, sid);
    }

    /// As [`Context::session_event`], for another database.
    pub(in crate::command) fn session_event_in(&mut self, db: u16, reason: &str, sid: &[u8]) {
        if self.state.pubsub.is_silent() {
            return;
        }
        let (by_session, by_reason) = channels(db, reason, sid);
        self.publish(&by_session, reason.as_bytes());
        self.publish(by_reason.as_bytes(), sid);
    }
}

/// The two channels of an event.
pub fn channels(db: u16, reason: &str, sid: &[u8]) -> (Vec<u8>, String) {
    let by_session = [format!("__session@{db}__:").as_bytes(), sid].concat();
    (by_session, format!("__sessionevent@{db}__:{reason}"))
}
