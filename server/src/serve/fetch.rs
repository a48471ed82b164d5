//! Large values on their way out: one chunk after the other, when the one before has left.
//!
//! Owns: reading the chunks that outputs ask for.
//! Never knows: sockets, what the replies are.
//! Invariant: of a value that is being sent at most one chunk is copied to the output; a value keeps
//! its chunks as long as somebody is being sent it, whatever becomes of its key.

use emberlog_engine::{Chunked, LoadError, Lookup, Ticket, Value};

use super::Server;
use super::client::{Client, ClientKey, Closing};
use super::suspend::{client_of, ticket};

/// Marks the tickets of loads for outputs: a client's command may load at the same time.
const FETCH: u64 = 1 << 63;

/// Whether an answer is for an output.
pub(super) fn is_fetch(ticket: Ticket) -> bool {
    ticket.0 & FETCH != 0
}

fn fetch_ticket(key: ClientKey) -> Ticket {
    Ticket(ticket(key).0 | FETCH)
}

impl Server {
    /// Lets go of values that an output needs no longer.
    pub(super) fn end_fetches(&mut self, ended: Vec<Chunked>) {
        for chunked in ended {
            if let Some(shard) = &mut self.shard {
                shard.unpin_chunks(&chunked);
            }
        }
    }

    /// As [`Server::end_fetches`], for the values in a reply that was taken back.
    pub(super) fn drop_fetches(&mut self, client: &mut Client) {
        for (_, fetch) in std::mem::take(&mut client.session.fetches) {
            if let Some(shard) = &mut self.shard {
                shard.unpin_chunks(&fetch.chunked);
            }
        }
    }

    /// Whether outputs have asked for chunks since this was last called.
    pub fn take_wants_chunks(&mut self) -> bool {
        std::mem::take(&mut self.wants_chunks)
    }

    /// Gives the output of the client in slot `index` the next part of the large value that it needs to go on,
    /// if it needs one; if that is on the disk, it is read.
    pub(super) fn feed(&mut self, index: usize) {
        let now = self.now;
        let (Some(client), Some(shard)) = (self.clients.at(index), &mut self.shard) else { return };
        let (Some(fetch), false) = (client.connection.output.hungry(), client.fetching) else {
            return;
        };
        let chunk_bytes = u64::from(fetch.chunked.chunk_bytes);
        #[expect(clippy::cast_possible_truncation, reason = "a chunk's length and number are u32")]
        let (number, from) =
            ((fetch.next / chunk_bytes) as u32, (fetch.next % chunk_bytes) as usize);
        let mut name = [0; 12];
        let key = shard.chunk_key(&fetch.chunked, number, &mut name);
        let bytes = match shard.lookup(&key, now) {
            Lookup::Found(found) => found.value,
            Lookup::Cold if !client.fetch_failed => {
                client.fetching = true;
                self.wants_chunks = true;
                return shard.load(fetch_ticket(client.session.key), &key);
            }
            Lookup::Cold | Lookup::Absent { .. } | Lookup::Lost => Value::default(),
        };
        let left = usize::try_from(fetch.end - fetch.next).unwrap_or(usize::MAX);
        let whole = fetch.chunked.chunk_len(number) <= bytes.len();
        let Some(bytes) = bytes.get(from..).filter(|bytes| whole && !bytes.is_empty()) else {
            tracing::error!(
                client = client.session.peer.addr,
                id = fetch.chunked.id,
                chunk = number,
                "a part of a large value cannot be read: closing the client that is being sent it"
            );
            client.session.close(Closing::Now);
            return;
        };
        let bytes = &bytes[..bytes.len().min(left)];
        client.connection.output.feed(bytes);
        self.moved_bytes += bytes.len();
    }

    /// A chunk that an output needs has been read.
    pub(super) fn on_fetched(&mut self, fetched: Ticket, outcome: Result<(), LoadError>) {
        let key = client_of(Ticket(fetched.0 & !FETCH));
        if let Some(client) = self.clients.get(key) {
            client.fetching = false;
            client.fetch_failed = outcome == Err(LoadError::Io);
            self.feed(key.index);
        }
        if let Some(shard) = &mut self.shard {
            shard.release(fetched);
        }
        // Written, or closed, at the end of this turn.
        if let Some(mut client) = self.clients.take(key.index) {
            if client.session.key == key {
                self.clients.note(&mut client);
            }
            self.clients.put_back(client);
        }
    }

    /// Forgets what was to be sent to a client that has gone.
    pub(super) fn forget_output(&mut self, client: &mut Client) {
        client.connection.output.clear();
        self.end_fetches(client.connection.output.take_ended());
        self.drop_fetches(client);
    }
}
