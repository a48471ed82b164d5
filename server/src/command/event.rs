//! Messages to subscribers.
//!
//! Owns: their shape, and their delivery to other clients and to the running one.
//! Never knows: who subscribes (see `serve::pubsub`).
//! Invariant: a message about data waits for the same acknowledgement as the reply that caused it.

use emberlog_engine::Shard;

use super::Context;
use crate::notify;
use crate::resp::{Proto, Reply};
use crate::serve::client::ClientKey;

impl Context<'_> {
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
        for (key, pattern) in &listeners {
            self.deliver(*key, pattern.as_deref(), channel, message);
        }
        listeners.len()
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
        }
        self.overlay = overlay;
    }

    fn deliver(&mut self, to: ClientKey, pattern: Option<&[u8]>, channel: &[u8], message: &[u8]) {
        let own = to == self.session.key;
        let proto = if own {
            self.session.proto
        } else {
            match self.clients.get(to) {
                Some(client) => client.session.proto,
                None => return,
            }
        };
        let bytes = encode(proto, pattern, channel, message);
        if own {
            self.state.own_messages.extend_from_slice(&bytes);
        } else {
            let acked = self.shard.as_deref().map_or(self.barrier, Shard::acked_lsn);
            self.clients.deliver(to, &bytes, self.barrier, acked);
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
