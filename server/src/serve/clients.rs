//! All connected clients.
//!
//! Owns: the slots, and the lists of clients that need attention at the end of a turn.
//! Never knows: sockets, commands.
//! Invariant: the client whose command is running is out of its slot, so a command can reach every
//! client but its own through here and its own through its session.

use emberlog_engine::Lsn;
use slab::Slab;

use super::client::{Client, ClientKey, Closing};
use crate::connection::BufferPool;
use crate::output::Hold;

/// Slots of clients.
#[derive(Default)]
pub struct Clients {
    slots: Slab<Option<Box<Client>>>,
    /// Clients with output that may be ready to leave.
    pub flush: Vec<usize>,
    /// Clients whose output waits for an acknowledgement.
    pub held: Vec<usize>,
    /// Spare buffers.
    pub pool: BufferPool,
}

impl Clients {
    /// Slot that the next client will get.
    pub fn next_index(&self) -> usize {
        self.slots.vacant_key()
    }

    /// Adds a client.
    pub fn insert(&mut self, client: Box<Client>) -> usize {
        self.slots.insert(Some(client))
    }

    /// Forgets a client.
    pub fn remove(&mut self, index: usize) -> Option<Box<Client>> {
        self.slots.try_remove(index).flatten()
    }

    /// Number of clients, the running one included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes a client out of its slot to run its commands.
    pub fn take(&mut self, index: usize) -> Option<Box<Client>> {
        self.slots.get_mut(index)?.take()
    }

    /// Puts a client back that [`Clients::take`] took.
    pub fn put_back(&mut self, client: Box<Client>) {
        let index = client.session.key.index;
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(client);
        }
    }

    /// The client in slot `index`, unless it is running.
    pub fn at(&mut self, index: usize) -> Option<&mut Client> {
        self.slots.get_mut(index)?.as_deref_mut()
    }

    /// The client in slot `index`, to look at, unless it is running.
    pub fn peek(&self, index: usize) -> Option<&Client> {
        self.slots.get(index)?.as_deref()
    }

    /// The client called `key`, unless it is running or gone.
    pub fn get(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.at(key.index).filter(|client| client.session.key == key)
    }

    /// All clients but the running one.
    pub fn others(&self) -> impl Iterator<Item = &Client> {
        self.slots.iter().filter_map(|(_, slot)| slot.as_deref())
    }

    /// All clients but the running one.
    pub fn others_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.slots.iter_mut().filter_map(|(_, slot)| slot.as_deref_mut())
    }

    /// Appends `message` to the output of another client, behind `barrier`.
    pub fn deliver(&mut self, key: ClientKey, message: &[u8], barrier: Lsn, acked: Lsn) {
        let hold = Hold { barrier, durable: false };
        self.deliver_held(key, message, (barrier > acked).then_some(hold));
    }

    /// Appends `message` to the output of another client, held back as `hold` says.
    pub fn deliver_held(&mut self, key: ClientKey, message: &[u8], hold: Option<Hold>) {
        let Some(client) = self.slots.get_mut(key.index).and_then(|slot| slot.as_deref_mut())
        else {
            return;
        };
        if client.session.key != key || client.session.closing == Closing::Now {
            return;
        }
        let output = &mut client.connection.output;
        let start = output.position();
        output.buffer(&mut self.pool).extend_from_slice(message);
        if let Some(hold) = hold {
            output.hold(start, hold);
        }
        note(client, &mut self.flush, &mut self.held);
    }

    /// Closes another client.
    pub fn close(&mut self, key: ClientKey, closing: Closing) {
        let Some(client) = self.slots.get_mut(key.index).and_then(|slot| slot.as_deref_mut())
        else {
            return;
        };
        if client.session.key == key {
            client.session.close(closing);
            note(client, &mut self.flush, &mut self.held);
        }
    }

    /// Remembers that `client` has output to flush or to release.
    pub fn note(&mut self, client: &mut Client) {
        note(client, &mut self.flush, &mut self.held);
    }
}

fn note(client: &mut Client, flush: &mut Vec<usize>, held: &mut Vec<usize>) {
    let index = client.session.key.index;
    if !client.flushing {
        client.flushing = true;
        flush.push(index);
    }
    if client.connection.output.is_held() && !client.holding {
        client.holding = true;
        held.push(index);
    }
}
