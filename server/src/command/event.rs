//! Messages to subscribers.
//!
//! Owns: their shape, and their delivery to other clients and to the running one.
//! Never knows: who subscribes (see `serve::pubsub`).
//! Invariant: a message about data waits for the same acknowledgement as the reply that caused it.

use emberlog_engine::Shard;

use super::Context;
use crate::notify;
use crate::output::Hold;
use crate::resp::{Proto, Reply};
use crate::serve::client::ClientKey;
use crate::serve::expired::is_session;

/// A message on its way to one client.
pub struct Message {
    to: ClientKey,
    /// The pattern by which the client hears it.
    pattern: Option<Vec<u8>>,
    channel: Vec<u8>,
    text: Vec<u8>,
}

impl Context<'_> {
    /// Publishes a keyspace event, if anyone asked for its class.
    pub fn notify(&mut self, class: u32, event: &str, key: &[u8]) {
        if self.state.config.notify_keyspace_events & class != 0 {
            self.notify_in(self.session.db, class, event, key);
        }
    }

    /// As [`Context::notify`], for another database.
    pub fn notify_in(&mut self, db: u16, class: u32, event: &str, key: &[u8]) {
        let wanted = self.state.config.notify_keyspace_events;
        if wanted & class == 0 {
            return;
        }
        for (channel, message) in notify::messages(wanted, class, db, event, key) {
            self.publish(&channel, &message);
        }
    }

    /// Sends `message` to everyone who listens to `channel`. Returns how many that are.
    pub fn publish(&mut self, channel: &[u8], message: &[u8]) -> usize {
        if self.state.pubsub.is_silent() {
            return 0;
        }
        let listeners: Vec<(ClientKey, Option<Vec<u8>>)> = self
            .state
            .pubsub
            .listeners(channel)
            .into_iter()
            .map(|(key, pattern)| (key, pattern.map(<[u8]>::to_vec)))
            .collect();
        if let Some(overlay) = &mut self.overlay {
            overlay.tell(channel, message);
            return listeners.len();
        }
        let count = listeners.len();
        for (to, pattern) in listeners {
            let message =
                Message { to, pattern, channel: channel.to_vec(), text: message.to_vec() };
            if self.atomic {
                // What it waits for is known only when the transaction is complete.
                self.messages.push(message);
            } else {
                self.deliver(&message);
            }
        }
        count
    }

    /// Sends what a transaction has kept back.
    pub fn send_messages(&mut self) {
        for message in std::mem::take(&mut self.messages) {
            self.deliver(&message);
        }
    }

    /// Publishes the keys that looking others up has found expired, before anything else is told of
    /// them.
    pub(super) fn tell_expired(&mut self) {
        // Whatever becomes of the running script, they have expired.
        let overlay = self.overlay.take();
        while let Some(expired) = self.shard.as_deref_mut().and_then(Shard::poll_expired) {
            let db = expired.namespace.0;
            if !self.state.watched.is_empty() {
                self.touch_watched(db, &expired.key);
            }
            self.barrier = self.barrier.max(expired.barrier);
            self.notify_in(db, notify::EXPIRED, "expired", &expired.key);
            if is_session(&expired) {
                self.session_event_in(db, "expired", &expired.key);
            }
        }
        self.overlay = overlay;
    }

    fn deliver(&mut self, message: &Message) {
        let Message { to, pattern, channel, text } = message;
        let (to, pattern) = (*to, pattern.as_deref());
        let own = to == self.session.key;
        let proto = if own {
            self.session.proto
        } else {
            match self.clients.get(to) {
                Some(client) => client.session.proto,
                None => return,
            }
        };
        let bytes = encode(proto, pattern, channel, text);
        if own {
            self.state.own_messages.extend_from_slice(&bytes);
        } else {
            let enough = |shard: &Shard| {
                if self.durable { shard.durable_lsn() } else { shard.acked_lsn() }
            };
            let enough = self.shard.as_deref().map_or(self.barrier, enough);
            let hold = Hold { barrier: self.barrier, durable: self.durable };
            self.clients.deliver_held(to, &bytes, (self.barrier > enough).then_some(hold));
        }
    }
}

pub(crate) fn encode(
    proto: Proto,
    pattern: Option<&[u8]>,
    channel: &[u8],
    message: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(channel.len() + message.len() + 64);
    let mut reply = Reply::new(&mut bytes, proto);
    if let Some(pattern) = pattern {
        reply.push(4);
        reply.bulk(b"pmessage");
        reply.bulk(pattern);
    } else {
        reply.push(3);
        reply.bulk(b"message");
    }
    reply.bulk(channel);
    reply.bulk(message);
    bytes
}
