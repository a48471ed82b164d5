//! Clients that wait for keys, and the order in which they are served.
//!
//! Owns: the queues, one per key, first come first served; the deadlines; the keys written since.
//! Never knows: what a command waits for the key to be.
//! Invariant: a client is in the queues of exactly the keys of its `session.blocked`, and keeps its
//! place there while its command is tried again.

use std::collections::{BTreeMap, HashMap, VecDeque};

use emberlog_engine::{Lookup, Namespace, UnixMillis};

use super::Server;
use super::client::{Client, ClientKey, Wait};

/// What a client waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// Any of these keys, with their databases, without repetition.
    pub keys: Vec<(u16, Box<[u8]>)>,
    /// Until when.
    pub deadline: Option<UnixMillis>,
}

/// The queues.
#[derive(Default)]
pub struct Queues {
    by_key: HashMap<u16, HashMap<Box<[u8]>, VecDeque<ClientKey>>>,
    /// Also by number of the client, so that each has its own.
    deadlines: BTreeMap<(UnixMillis, u64), ClientKey>,
    /// Keys that were written while somebody waited for them, oldest first.
    ready: VecDeque<(u16, Box<[u8]>)>,
    /// Clients that wait.
    count: usize,
}

impl Queues {
    /// Number of clients that wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts `client` at the end of the queues of its keys.
    fn add(&mut self, client: ClientKey, blocked: &Blocked) {
        for (db, key) in &blocked.keys {
            let queues = self.by_key.entry(*db).or_default();
            queues.entry(key.clone()).or_default().push_back(client);
        }
        if let Some(deadline) = blocked.deadline {
            self.deadlines.insert((deadline, client.id), client);
        }
        self.count += 1;
    }

    /// Takes `client` out of all queues.
    pub fn remove(&mut self, client: ClientKey, blocked: &Blocked) {
        for (db, key) in &blocked.keys {
            let Some(queues) = self.by_key.get_mut(db) else { continue };
            let Some(queue) = queues.get_mut(key) else { continue };
            queue.retain(|other| *other != client);
            if queue.is_empty() {
                queues.remove(key);
            }
        }
        if let Some(deadline) = blocked.deadline {
            self.deadlines.remove(&(deadline, client.id));
        }
        self.count -= 1;
    }

    /// Notes that `key` has been written.
    pub fn written(&mut self, db: u16, key: &[u8]) {
        let waits = self.by_key.get(&db).is_some_and(|queues| queues.contains_key(key));
        if waits && !self.ready.iter().any(|(other, name)| *other == db && **name == *key) {
            self.ready.push_back((db, key.into()));
        }
    }

    fn at(&self, db: u16, key: &[u8], position: usize) -> Option<ClientKey> {
        self.by_key.get(&db)?.get(key)?.get(position).copied()
    }
}

impl Server {
    /// Makes the client wait for keys. If it is trying again, it keeps its place and its deadline.
    pub(super) fn block(&mut self, client: &mut Client, blocked: &Blocked) {
        if client.session.blocked.is_none() {
            self.state.blocked.add(client.session.key, blocked);
            client.session.blocked = Some(blocked.clone());
        }
        client.wait = Wait::Keys;
    }

    /// Lets those who wait for keys that were written try again, the longest waiting first.
    pub(super) fn serve_blocked(&mut self) {
        if self.serving_blocked {
            return;
        }
        self.serving_blocked = true;
        while let Some((db, key)) = self.state.blocked.ready.pop_front() {
            let mut position = 0;
            while let Some(waiter) = self.state.blocked.at(db, &key, position) {
                if !self.may_exist(db, &key) {
                    break;
                }
                self.try_again(waiter);
                // Served ones have left the queue.
                if self.state.blocked.at(db, &key, position) == Some(waiter) {
                    position += 1;
                }
            }
        }
        self.serving_blocked = false;
    }

    fn may_exist(&mut self, db: u16, key: &[u8]) -> bool {
        let now = self.now;
        self.shard.as_mut().is_some_and(|shard| {
            let key = shard.key(Namespace(db), key);
            !matches!(shard.lookup(&key, now), Lookup::Absent { .. })
        })
    }

    /// Runs the command of a client that waits for keys.
    fn try_again(&mut self, waiter: ClientKey) {
        let Some(client) = self.clients.get(waiter) else { return };
        if client.wait != Wait::Keys {
            return;
        }
        client.wait = Wait::Nothing;
        self.process(waiter.index);
        // Its socket has not been read while it waited.
        self.resumed.push(waiter.index);
    }

    /// Ends the waits whose time is over.
    pub(super) fn time_out_blocked(&mut self) {
        while let Some(entry) = self.state.blocked.deadlines.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let waiter = entry.remove();
            let Some(client) = self.clients.get(waiter) else { continue };
            client.session.waited = true;
            if client.wait == Wait::Keys {
                client.wait = Wait::Nothing;
                self.resumed.push(waiter.index);
            }
        }
    }

    /// The next moment at which a wait ends.
    pub(super) fn next_timeout(&self) -> Option<UnixMillis> {
        self.state.blocked.deadlines.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Whether the client in slot `index` waits for keys, so that nobody would notice if it left.
    pub fn is_blocked(&mut self, index: usize) -> bool {
        self.clients.at(index).is_some_and(|client| client.wait == Wait::Keys)
    }
}
