//! Keys that have expired: whether anybody listens, and telling those who do.
//!
//! Owns: switching the shard's reports on and off, the messages outside of commands.
//! Never knows: how expiry is carried out.
//! Invariant: a message waits for the acknowledgement that the shard names, so that nobody hears of an
//! expiry that a crash could take back; nothing is read from disk while nobody listens.

use emberlog_engine::Expired;

use super::Server;
use super::state::State;
use crate::command::event::encode;
use crate::command::session_channels;
use crate::notify;
use crate::value::Kind;

/// Whether what expired was a session: by its type, or, if that is on the disk only, by its owner.
pub(crate) fn is_session(expired: &Expired) -> bool {
    expired.value_type.map_or(expired.has_owner, |tag| tag == Kind::Session.tag())
}

impl State {
    /// Whether anybody would hear of a key that expires.
    pub fn hears_of_expiry(&self) -> bool {
        let wanted = self.config.notify_keyspace_events;
        let notified = wanted & notify::EXPIRED != 0
            && wanted & (notify::KEYSPACE | notify::KEYEVENT) != 0
            && self.pubsub.hears_of_keys();
        notified || self.pubsub.hears_of_sessions()
    }
}

impl Server {
    /// Has the shard report keys that expire exactly while somebody listens.
    pub(super) fn listen_for_expiry(&mut self) {
        if !self.state.fields.is_empty() && !self.state.hears_of_fields() {
            self.state.fields.forget_all(None);
        }
        let wanted = self.state.hears_of_expiry();
        if self.listens != wanted
            && let Some(shard) = &mut self.shard
        {
            shard.report_expired(wanted);
            self.listens = wanted;
        }
    }

    /// Tells everybody who listens, and everybody who watches the key, that it has expired.
    pub(super) fn on_expired(&mut self, expired: &Expired) {
        let db = expired.namespace.0;
        for watcher in self.state.watched.of(db, &expired.key) {
            if let Some(client) = self.clients.get(*watcher) {
                client.session.transaction.dirty = true;
            }
        }
        let wanted = self.state.config.notify_keyspace_events;
        let acked = self.shard.as_ref().map_or(expired.barrier, emberlog_engine::Shard::acked_lsn);
        let mut messages: Vec<_> =
            notify::messages(wanted, notify::EXPIRED, db, "expired", &expired.key).collect();
        if is_session(expired) {
            let (by_session, by_reason) = session_channels(db, "expired", &expired.key);
            messages.push((by_session, b"expired".to_vec()));
            messages.push((by_reason.into_bytes(), expired.key.to_vec()));
        }
        for (channel, message) in messages {
            for (listener, pattern) in self.state.pubsub.listeners(&channel) {
                let Some(client) = self.clients.get(listener) else { continue };
                let bytes = encode(client.session.proto, pattern, &channel, &message);
                self.clients.deliver(listener, &bytes, expired.barrier, acked);
            }
        }
    }
}
