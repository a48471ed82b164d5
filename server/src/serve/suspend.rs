//! Waiting: for values, listed keys, room, moments and acknowledgements; and going on after it.
//!
//! Owns: who waits for what.
//! Never knows: what any command does, only where its keys are.
//! Invariant: a client that waits has its command at the front of its input and runs it again from
//! scratch; a client is in exactly the list that its `wait` says.

use emberlog_engine::{Event, LoadError, Lookup, Lsn, Namespace, Shard, Ticket, UnixMillis};

use super::Server;
use super::client::{Client, ClientKey, Closing, Queued, Until, Wait};
use super::fetch;
use super::gather::{Fresh, Gathered, Request, What};
use crate::command::{Stop, resolve, selected_by};
use crate::resp::Args;

/// Told to clients whose reply can never be acknowledged.
pub(super) const NOT_ACKNOWLEDGED: &str =
    "IOERR the device failed to sync: what this reply depends on may not survive a restart";

/// Loads that one client has under way at most: each takes a buffer.
const LOADS_MAX: usize = 64;

/// Low bits of a ticket that hold a client's slot; maxclients stays below.
const SLOT_BITS: u32 = 20;

/// Names a client to the shard.
pub(super) fn ticket(key: ClientKey) -> Ticket {
    Ticket(key.id << SLOT_BITS | key.index as u64)
}

pub(super) fn client_of(ticket: Ticket) -> ClientKey {
    let index = (ticket.0 & ((1 << SLOT_BITS) - 1)) as usize;
    ClientKey { index, id: ticket.0 >> SLOT_BITS }
}

impl Server {
    /// Makes the client wait as `stop` says.
    pub(super) fn suspend(&mut self, client: &mut Client, stop: &Stop) {
        let key = client.session.key;
        match stop {
            Stop::Cold => {
                let cold = self.cold_keys(client);
                self.load_keys(client, cold);
            }
            Stop::Load(keys) => self.load_keys(client, keys.clone()),
            Stop::Gather(request) => self.gather(client, *request),
            Stop::Room => {
                self.state.stats.room_waits += 1;
                client.wait = Wait::Room;
                self.waiting_for_room.push_back(key);
            }
            Stop::Until(until) => {
                client.wait = Wait::Until(*until);
                self.waiting_until.push(key);
            }
            Stop::Block(blocked) => self.block(client, blocked),
            Stop::Pause => {
                client.wait = Wait::Pause;
                self.paused.push(key);
            }
            Stop::Assemble(plan) => self.begin_assembly(client, (**plan).clone()),
            // Errors are replies.
            Stop::Error(_) => {}
        }
    }

    fn cold_keys(&mut self, client: &mut Client) -> Vec<(u16, Box<[u8]>)> {
        let Some(shard) = &mut self.shard else { return Vec::new() };
        let args = client.connection.parser.args(client.connection.input.unread());
        let (db, queue) = (client.session.db, &client.session.transaction.queue);
        let mut cold = cold_keys(shard, args, db, queue, self.now);
        for (db, name) in std::mem::take(&mut client.session.script.wanted) {
            let key = shard.key(Namespace(db), &name);
            if matches!(shard.lookup(&key, self.now), Lookup::Cold)
                && !cold.iter().any(|(d, n)| *d == db && *n == name)
            {
                cold.push((db, name));
            }
        }
        cold.append(&mut client.session.also_load);
        cold.sort_unstable();
        cold.dedup();
        cold
    }

    pub(super) fn load_keys(&mut self, client: &mut Client, mut cold: Vec<(u16, Box<[u8]>)>) {
        self.state.stats.cold_commands += 1;
        let Some(shard) = &mut self.shard else { return };
        let ticket = ticket(client.session.key);
        let rest = cold.split_off(cold.len().min(LOADS_MAX));
        for (db, name) in &cold {
            shard.load(ticket, &shard.key(Namespace(*db), name));
        }
        client.pinned = true;
        client.wait = Wait::Loads { left: cold.len(), rest };
        if cold.is_empty() {
            // Resident after all: another client loaded it in between.
            client.wait = Wait::Nothing;
            self.resumed.push(client.session.key.index);
        }
    }

    fn gather(&mut self, client: &mut Client, request: Request) {
        let Some(shard) = &mut self.shard else { return };
        let ticket = ticket(client.session.key);
        let namespace = Namespace(request.db);
        match request.what {
            What::Scan { cursor, count } => {
                shard.scan(ticket, namespace, cursor, count, self.now);
            }
            What::Random => {
                shard.random(ticket, namespace, self.state.random.u64(..), self.now);
            }
        }
        client.wait = Wait::Gather { slot: request.slot };
    }

    /// Takes an event of the shard.
    pub fn on_event(&mut self, event: Event) {
        match event {
            Event::Loaded { ticket, outcome } => self.on_loaded(ticket, outcome),
            Event::Expired(expired) => self.on_expired(&expired),
            Event::Scanned { ticket, keys, next, failed, barrier } => {
                if failed > 0 {
                    tracing::warn!(failed, "keys could not be listed: their records are damaged");
                }
                self.on_scanned(ticket, Fresh { keys, next, barrier });
            }
        }
    }

    fn on_loaded(&mut self, ticket: Ticket, outcome: Result<(), LoadError>) {
        if fetch::is_fetch(ticket) {
            return self.on_fetched(ticket, outcome);
        }
        let Some(shard) = &mut self.shard else { return };
        let Some(client) = self.clients.get(client_of(ticket)) else {
            // It has gone; nobody else will let go of the value.
            shard.release(ticket);
            return;
        };
        if outcome == Err(LoadError::Io) {
            client.session.load_failed = true;
        }
        let Wait::Loads { left, rest } = &mut client.wait else { return };
        if let Some((db, name)) = rest.pop() {
            shard.load(ticket, &shard.key(Namespace(db), &name));
            return;
        }
        *left -= 1;
        if *left == 0 {
            client.wait = Wait::Nothing;
            self.resumed.push(client.session.key.index);
        }
    }

    fn on_scanned(&mut self, ticket: Ticket, fresh: Fresh) {
        let Some(client) = self.clients.get(client_of(ticket)) else { return };
        let Wait::Gather { slot } = client.wait else { return };
        let gathered = &mut client.session.gathered;
        let at = gathered.iter().position(|gathered| gathered.slot == slot).unwrap_or_else(|| {
            gathered.push(Gathered::new(slot));
            gathered.len() - 1
        });
        gathered[at].fresh = Some(fresh);
        client.wait = Wait::Nothing;
        self.resumed.push(client.session.key.index);
    }

    /// Lets clients try again that wait for room, the longest waiting first, until one has to wait
    /// on. To be called after completions.
    pub fn retry_for_room(&mut self) {
        while let Some(key) = self.waiting_for_room.pop_front() {
            let Some(client) = self.clients.get(key) else { continue };
            client.wait = Wait::Nothing;
            self.resumed.push(key.index);
            self.process(key.index);
            if self.waiting_for_room.back() == Some(&key) {
                self.waiting_for_room.pop_back();
                self.waiting_for_room.push_front(key);
                return;
            }
        }
    }

    /// Slots of clients whose wait is over; each is to be processed.
    pub fn take_resumed(&mut self) -> Vec<usize> {
        self.wake_lock_waiters();
        std::mem::take(&mut self.resumed)
    }

    /// Clients to which a lock was handed, or whose session has ended, look again.
    fn wake_lock_waiters(&mut self) {
        for key in self.state.locks.take_woken() {
            if let Some(client) = self.clients.get(key)
                && matches!(client.wait, Wait::Until(_))
            {
                self.resume(key);
            }
        }
    }

    /// Whether a client waits to be processed.
    pub fn has_resumed(&self) -> bool {
        !self.resumed.is_empty() || !self.next_turn.is_empty() || self.state.locks.has_woken()
    }

    /// Lets go of what the shard has acknowledged since, and of clients whose moment has come.
    pub fn settle(&mut self) {
        self.listen_for_expiry();
        let Some(shard) = &self.shard else { return };
        let (acked, durable, poisoned) = (shard.acked_lsn(), shard.durable_lsn(), shard.poisoned());
        if acked > self.acked || durable > self.durable {
            (self.acked, self.durable) = (acked, durable);
            self.release_held();
        }
        if poisoned && !self.poison_told {
            self.poison_told = true;
            tracing::error!(
                durable_lsn = durable.0,
                "the device failed to sync: nothing more is acknowledged until a restart"
            );
            self.fail_held();
            self.retry_for_room();
        }
        if !self.waiting_until.is_empty() {
            self.settle_until(durable, poisoned);
        }
        if !self.state.blocked.is_empty() {
            self.time_out_blocked();
        }
        if self.state.fields.next().is_some_and(|at| at <= self.now) {
            self.tell_expired_fields();
        }
        for key in std::mem::take(&mut self.state.unblocked) {
            if self.clients.get(key).is_some_and(|client| client.wait == Wait::Keys) {
                self.resume(key);
            }
        }
        for key in std::mem::take(&mut self.next_turn) {
            self.resume(key);
        }
        let over = self.state.pause.is_none_or(|pause| self.now >= pause.until);
        if over && !self.paused.is_empty() {
            self.state.pause = None;
            for key in std::mem::take(&mut self.paused) {
                self.resume(key);
            }
        }
    }

    fn resume(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get(key) {
            client.wait = Wait::Nothing;
            self.resumed.push(key.index);
        }
    }

    fn release_held(&mut self) {
        for index in std::mem::take(&mut self.clients.held) {
            let (acked, durable) = (self.acked, self.durable);
            let Some(client) = self.clients.take(index) else { continue };
            let mut client = client;
            client.holding = false;
            client.connection.output.release(acked, durable);
            self.clients.note(&mut client);
            self.clients.put_back(client);
        }
    }

    fn fail_held(&mut self) {
        let error = format!("-{NOT_ACKNOWLEDGED}\r\n");
        for index in std::mem::take(&mut self.clients.held) {
            let Some(mut client) = self.clients.take(index) else { continue };
            client.holding = false;
            client.connection.output.fail(error.as_bytes());
            self.end_fetches(client.connection.output.take_ended());
            client.session.close(Closing::AfterReplies);
            self.clients.note(&mut client);
            self.clients.put_back(client);
        }
    }

    fn settle_until(&mut self, durable: Lsn, poisoned: bool) {
        let now = self.now;
        let is_over = |until: &Until| {
            until.durable.is_some_and(|lsn| lsn <= durable || poisoned)
                || until.deadline.is_some_and(|at| at <= now)
        };
        let waiting = std::mem::take(&mut self.waiting_until);
        for key in waiting {
            let Some(client) = self.clients.get(key) else { continue };
            match &client.wait {
                Wait::Until(until) if !is_over(until) => self.waiting_until.push(key),
                Wait::Until(_) => {
                    client.session.waited = true;
                    self.resume(key);
                }
                _ => {}
            }
        }
    }

    /// The next moment at which [`Server::settle`] has something to do, if nothing else happens.
    pub fn next_moment(&mut self) -> Option<UnixMillis> {
        let mut next = self.next_timeout();
        let mut consider = |at: UnixMillis| {
            next = Some(next.map_or(at, |next: UnixMillis| next.min(at)));
        };
        if let Some(at) = self.state.fields.next() {
            consider(at);
        }
        if !self.paused.is_empty()
            && let Some(pause) = self.state.pause
        {
            consider(pause.until);
        }
        for key in &self.waiting_until {
            if let Some(Client { wait: Wait::Until(until), .. }) = self.clients.get(*key)
                && let Some(deadline) = until.deadline
            {
                consider(deadline);
            }
        }
        next
    }
}

/// The keys of a request that are not in RAM, with their databases; for EXEC, those of its queue.
fn cold_keys(
    shard: &mut Shard,
    args: Args<'_>,
    db: u16,
    queue: &[Queued],
    now: UnixMillis,
) -> Vec<(u16, Box<[u8]>)> {
    let Ok(resolved) = resolve(args) else { return Vec::new() };
    let mut cold = Vec::new();
    let mut note = |db: u16, name: &[u8]| {
        let is_cold = matches!(shard.lookup(&shard.key(Namespace(db), name), now), Lookup::Cold);
        if is_cold {
            cold.push((db, name.into()));
        }
    };
    if resolved.command.name == "exec" {
        let mut selected = db;
        for queued in queue {
            let args = queued.args.view();
            selected = selected_by(queued.command, args).unwrap_or(selected);
            queued.command.keys_in(selected, args).for_each(|(db, name)| note(db, name));
        }
    } else {
        resolved.command.keys_in(db, args).for_each(|(db, name)| note(db, name));
    }
    cold
}
