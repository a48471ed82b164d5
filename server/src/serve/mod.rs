//! The server without its sockets: clients in, commands run, replies and closings out.
//!
//! Stations of a request: `net` reads into [`Server::space`] -> [`Server::process`] parses and
//! dispatches -> `command` runs it on the shard -> its reply waits in the client's output for its
//! barrier -> `net` writes [`Server::output`].
//!
//! Owns: the clients, the shared state, the store's place, waiting and resuming.
//! Never knows: sockets, clocks, files.
//! Invariant: everything happens on one thread, one command at a time.

pub mod assemble;
pub mod blocked;
pub mod client;
pub mod clients;
mod dispatch;
pub(crate) mod expired;
pub mod fetch;
pub mod fields;
pub mod gather;
pub mod intake;
pub mod latency;
pub mod locks;
mod process;
pub mod pubsub;
pub mod slowlog;
pub mod state;
pub mod stats;
mod suspend;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod watch;

use std::collections::VecDeque;

use emberlog_engine::{Lsn, Shard, UnixMillis};

use client::{Client, ClientKey, Closing, Peer, Session, Wait};
use clients::Clients;
use state::{Stage, State};

use crate::config::Config;
use crate::connection::Connection;

/// Unsent output above which a client's next commands wait, and its socket is not read.
const OUTPUT_MARK_BYTES: usize = 1 << 20;

/// All of the server but its sockets.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about the server")]
pub struct Server {
    /// What clients share.
    pub state: State,
    /// The clients.
    pub clients: Clients,
    /// The store, once it is open.
    pub shard: Option<Shard>,
    /// The time, as of this turn of the event loop.
    now: UnixMillis,
    /// Microseconds of a clock that never goes back.
    clock_us: fn() -> u64,
    /// Clients that wait for room in the log.
    waiting_for_room: VecDeque<ClientKey>,
    /// Clients that wait for a moment or an LSN.
    waiting_until: Vec<ClientKey>,
    /// Clients that CLIENT PAUSE holds.
    paused: Vec<ClientKey>,
    /// Clients that go on in the next turn.
    next_turn: Vec<ClientKey>,
    /// Slots of clients whose wait is over.
    resumed: Vec<usize>,
    /// Newest acknowledged LSN seen.
    acked: Lsn,
    /// Whether the shard reports keys that expire.
    listens: bool,
    /// Newest LSN seen on stable storage.
    durable: Lsn,
    /// Whether the store's failure has been told to everyone who waited.
    poison_told: bool,
    /// Whether clients that waited for keys are being served, which is not done within itself.
    serving_blocked: bool,
    /// Whether outputs have asked for chunks since the store last was.
    wants_chunks: bool,
    /// Bytes of input and of replies since the resident set was last looked at.
    moved_bytes: usize,
}

/// Why a connection is refused, as an error reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal(pub &'static str);

impl Server {
    /// A server without clients whose store is still being opened. `clock_us` times commands.
    pub fn new(state: State, clock_us: fn() -> u64, now: UnixMillis) -> Server {
        Server {
            state,
            clients: Clients::default(),
            shard: None,
            now,
            clock_us,
            waiting_for_room: VecDeque::new(),
            waiting_until: Vec::new(),
            paused: Vec::new(),
            next_turn: Vec::new(),
            resumed: Vec::new(),
            acked: Lsn::NONE,
            listens: false,
            durable: Lsn::NONE,
            poison_told: false,
            serving_blocked: false,
            wants_chunks: false,
            moved_bytes: 0,
        }
    }

    /// Tells the time of this turn. It never goes back.
    pub fn set_now(&mut self, now: UnixMillis) {
        self.now = self.now.max(now);
    }

    /// The time of this turn.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// Serves from `shard` from now on.
    pub fn open(&mut self, shard: Shard) {
        (self.acked, self.durable) = (shard.acked_lsn(), shard.durable_lsn());
        self.shard = Some(shard);
        self.listens = false;
        if self.state.stage == Stage::Loading {
            self.state.stage = Stage::Ready;
        }
    }

    /// Whether a connection from `local` (this machine) may be accepted.
    ///
    /// # Errors
    /// The error to tell it before closing.
    pub fn admit(&mut self, local: bool) -> Result<(), Refusal> {
        let config: &Config = &self.state.config;
        let refusal = if self.clients.len() >= config.maxclients as usize {
            Refusal("-ERR max number of clients reached\r\n")
        } else if !local && config.protected_mode && config.requirepass.is_empty() {
            Refusal(
                "-DENIED Emberlog is running in protected mode because no password is set, and \
                 accepts connections from this machine only. Set a password with --requirepass, \
                 or, if the network is trusted, start with --protected-mode no.\r\n",
            )
        } else {
            return Ok(());
        };
        self.state.stats.rejected_connections += 1;
        Err(refusal)
    }

    /// Adds a client. Returns its slot.
    pub fn connect(&mut self, peer: Peer) -> usize {
        self.state.stats.connections += 1;
        self.state.last_client_id += 1;
        let key = ClientKey { index: self.clients.next_index(), id: self.state.last_client_id };
        let authenticated = self.state.config.requirepass.is_empty();
        self.clients.insert(Box::new(Client {
            session: Session::new(key, peer, authenticated, self.now),
            connection: Connection::default(),
            wait: Wait::Nothing,
            pinned: false,
            over_soft_since: None,
            received_at: self.now,
            drained: true,
            flushing: false,
            holding: false,
            fetching: false,
            fetch_failed: false,
        }))
    }

    /// Forgets the client in slot `index` and everything it subscribed to, watched or waited for.
    pub fn disconnect(&mut self, index: usize) {
        let Some(mut client) = self.clients.remove(index) else { return };
        self.forget_output(&mut client);
        let Client { mut session, pinned, .. } = *client;
        session.drop_assembly(self.shard.as_mut());
        session.drop_intake(self.shard.as_mut());
        if let Some(wait) = &session.lock_wait {
            self.state.locks.leave(wait.db, &wait.sid, session.key, self.now);
        }
        for watched in &session.transaction.watched {
            self.state.watched.remove(watched.db, &watched.key, session.key);
        }
        for name in &session.channels {
            self.state.pubsub.unsubscribe(pubsub::Kind::Channel, name, session.key);
        }
        for name in &session.patterns {
            self.state.pubsub.unsubscribe(pubsub::Kind::Pattern, name, session.key);
        }
        if let Some(blocked) = &session.blocked {
            self.state.blocked.remove(session.key, blocked);
        }
        self.state.monitors.retain(|monitor| *monitor != session.key);
        if pinned && let Some(shard) = &mut self.shard {
            shard.release(suspend::ticket(session.key));
        }
    }

    /// Whether bytes from the client in slot `index` can be taken now.
    pub fn wants_input(&mut self, index: usize) -> bool {
        self.clients.at(index).is_some_and(|client| {
            client.wait == Wait::Nothing
                && client.session.closing == Closing::No
                && client.connection.output.pending() < OUTPUT_MARK_BYTES
        })
    }

    /// Where the next bytes of the client in slot `index` go.
    pub fn space(&mut self, index: usize) -> Option<&mut [u8]> {
        // Split by hand: the client and the pool are both part of `clients`.
        let mut pool = std::mem::take(&mut self.clients.pool);
        if let Some(client) = self.clients.at(index) {
            let connection = &mut client.connection;
            connection.input.space(connection.missing, &mut pool);
        }
        self.clients.pool = pool;
        self.clients.at(index).map(|client| client.connection.input.tail())
    }

    /// Counts `bytes` bytes that were read into [`Server::space`].
    pub fn received(&mut self, index: usize, bytes: usize) {
        let now = self.now;
        self.state.stats.input_bytes += bytes as u64;
        self.moved_bytes += bytes;
        if let Some(client) = self.clients.at(index) {
            client.connection.input.received(bytes);
            client.received_at = now;
        }
    }

    /// The client in slot `index` sends nothing more: it is closed once its commands are answered.
    pub fn end_of_input(&mut self, index: usize) {
        if let Some(client) = self.clients.at(index) {
            client.session.close(Closing::AfterCommands);
        }
    }

    /// The bytes that may be sent to the client in slot `index`.
    pub fn output(&mut self, index: usize) -> &[u8] {
        self.clients.at(index).map_or(&[], |client| client.connection.output.ready())
    }

    /// Counts `bytes` bytes of [`Server::output`] as sent. Returns whether the client has commands
    /// that waited for its output to shrink.
    pub fn sent(&mut self, index: usize, bytes: usize) -> bool {
        self.state.stats.output_bytes += bytes as u64;
        let mut pool = std::mem::take(&mut self.clients.pool);
        let (mut stalled, mut ended) = (false, Vec::new());
        if let Some(client) = self.clients.at(index) {
            let output = &mut client.connection.output;
            let before = output.pending();
            output.sent(bytes, &mut pool);
            stalled = before >= OUTPUT_MARK_BYTES && output.pending() < OUTPUT_MARK_BYTES;
            ended = output.take_ended();
        }
        self.clients.pool = pool;
        self.end_fetches(ended);
        self.feed(index);
        stalled
    }

    /// Whether the connection of the client in slot `index` is to be closed now.
    pub fn is_finished(&mut self, index: usize) -> bool {
        self.clients.at(index).is_some_and(|client| match client.session.closing {
            Closing::No => false,
            Closing::AfterCommands => client.drained && client.connection.output.pending() == 0,
            Closing::AfterReplies => client.connection.output.pending() == 0,
            Closing::Now => true,
        })
    }

    /// Stops taking commands from all clients: those begun are finished, later ones never run.
    pub fn stop_reading(&mut self) {
        for client in self.clients.others_mut() {
            client.session.close(Closing::AfterReplies);
        }
        let all: Vec<usize> =
            self.clients.others().map(|client| client.session.key.index).collect();
        self.clients.flush.extend(all);
    }

    /// Whether a client still waits for a reply that will come.
    pub fn owes_replies(&self) -> bool {
        self.clients.others().any(|client| client.connection.output.pending() > 0)
    }

    /// Bytes of input and of replies since [`Server::observe_rss`]: by about as much, or a small
    /// multiple, the process may have grown.
    pub fn moved_bytes(&self) -> usize {
        self.moved_bytes
    }

    /// Tells how much RAM the process takes. Not to be called amid a command.
    pub fn observe_rss(&mut self, bytes: u64) {
        self.moved_bytes = 0;
        self.state.rss_bytes = bytes;
        self.state.rss_peak_bytes = self.state.rss_peak_bytes.max(bytes);
        if let Some(shard) = &mut self.shard {
            shard.observe_rss(bytes);
        }
    }
}
