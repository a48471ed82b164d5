//! Who listens to which channel.
//!
//! Owns: the two directories, channel to subscribers and pattern to subscribers.
//! Never knows: how a message is written or delivered.
//! Invariant: an entry without subscribers does not exist, and a client is in the directory exactly
//! for what its session lists.

use std::collections::HashMap;

use super::client::ClientKey;
use crate::glob;

/// Directory of subscriptions.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: HashMap<Vec<u8>, Vec<ClientKey>>,
    patterns: HashMap<Vec<u8>, Vec<ClientKey>>,
    /// Names in either directory that may be, or match, a channel of keyspace events.
    about_keys: usize,
    /// The same for session events.
    about_sessions: usize,
}

/// Which directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Exact names.
    Channel,
    /// Glob patterns.
    Pattern,
}

impl PubSub {
    fn directory(&mut self, kind: Kind) -> &mut HashMap<Vec<u8>, Vec<ClientKey>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }

    /// Adds a subscriber, once.
    pub fn subscribe(&mut self, kind: Kind, name: &[u8], client: ClientKey) {
        if !self.directory(kind).contains_key(name) {
            self.about_keys += usize::from(may_begin(kind, name, KEY_EVENTS));
            self.about_sessions += usize::from(may_begin(kind, name, SESSION_EVENTS));
        }
        let subscribers = self.directory(kind).entry(name.to_vec()).or_default();
        if !subscribers.contains(&client) {
            subscribers.push(client);
        }
    }

    /// Removes a subscriber.
    pub fn unsubscribe(&mut self, kind: Kind, name: &[u8], client: ClientKey) {
        let directory = self.directory(kind);
        if let Some(subscribers) = directory.get_mut(name) {
            subscribers.retain(|other| *other != client);
            if subscribers.is_empty() {
                directory.remove(name);
                self.about_keys -= usize::from(may_begin(kind, name, KEY_EVENTS));
                self.about_sessions -= usize::from(may_begin(kind, name, SESSION_EVENTS));
            }
        }
    }

    /// Whether nobody listens to anything.
    pub fn is_silent(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }

    /// Whether somebody may hear of keyspace events.
    pub fn hears_of_keys(&self) -> bool {
        self.about_keys > 0
    }

    /// Whether somebody may hear of session events.
    pub fn hears_of_sessions(&self) -> bool {
        self.about_sessions > 0
    }

    /// Everyone who hears a message on `channel`, with the pattern by which they hear it.
    pub fn listeners(&self, channel: &[u8]) -> Vec<(ClientKey, Option<&[u8]>)> {
        let exact = self.channels.get(channel).into_iter().flatten().map(|key| (*key, None));
        let by_pattern =
            self.patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel)).flat_map(
                |(pattern, keys)| keys.iter().map(|key| (*key, Some(pattern.as_slice()))),
            );
        exact.chain(by_pattern).collect()
    }

    /// Names of channels with subscribers.
    pub fn channels(&self) -> impl Iterator<Item = &[u8]> {
        self.channels.keys().map(Vec::as_slice)
    }

    /// Number of subscribers of one channel.
    pub fn subscribers(&self, channel: &[u8]) -> usize {
        self.channels.get(channel).map_or(0, Vec::len)
    }

    /// Number of patterns with subscribers.
    pub fn pattern_count(&self) -> usize {
        self.patterns.len()
    }
}

/// What channels of keyspace events and of session events begin with.
const KEY_EVENTS: &[u8] = b"__key";
const SESSION_EVENTS: &[u8] = b"__session";

/// Whether a subscription may hear of keyspace events: its channel is one, or the beginning of its
/// pattern does not rule that out.
fn may_begin(kind: Kind, name: &[u8], prefix: &[u8]) -> bool {
    let fixed = match kind {
        Kind::Channel => return name.starts_with(prefix),
        Kind::Pattern => {
            let special = |byte: &u8| b"*?[\\".contains(byte);
            name.iter().position(special).map_or(name, |at| &name[..at])
        }
    };
    fixed.starts_with(prefix) || prefix.starts_with(fixed)
}
