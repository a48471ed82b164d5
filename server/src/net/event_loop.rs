//! The event loop: one thread, one turn after another.
//!
//! A turn: 1 poll · 2 read, parse, execute · 3 completions and events of the store, and the clients
//! that waited for them · 4 start the disk's work · 5 release replies · 6 write.
//!
//! Owns: the poll, the sockets by slot, the order of a turn, stopping.
//! Never knows: the protocol, commands, records.
//! Invariant: a turn never blocks but in its poll.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use emberlog_engine::UnixMillis;
use emberlog_engine::driver::{self, ResidentSet};
use mio::event::Event;
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::socket::Socket;
use super::stop::Stopping;
use super::store::StoreSide;
use super::{DISK, FIRST_CLIENT, Listeners, OPENED, Opening, SIGNAL};
use crate::serve::Server;
use crate::serve::state::Changed;
use crate::serve::stats::{Part, Spent};
use crate::serve::sweep::AfterFlush;

/// Events taken in one poll.
const EVENTS_MAX: usize = 1024;
/// Milliseconds between two sweeps over all clients.
const SWEEP_MS: u64 = 1000;
/// Clients whose commands are run together.
const ARRIVED_MAX: usize = 16;
/// Bytes from and for clients after which the resident set is looked at: at the budget, that much can
/// have come to it. Looking costs a microsecond, a thousandth of what it takes to move them.
const LOOK_BYTES: usize = 1 << 20;
/// Milliseconds after which it is looked at anyway while there is work: for what no client sends.
const LOOK_MS: u64 = 20;
/// Most bytes written to one client in a turn: half a millisecond.
const WRITE_MAX: usize = 1 << 20;
/// Rounds in which clients that waited run within one turn.
const ROUNDS_MAX: usize = 4;

/// The event loop and everything it drives.
pub struct EventLoop {
    pub(super) poll: Poll,
    pub(super) server: Server,
    pub(super) listeners: Listeners,
    pub(super) unix_path: String,
    /// By slot.
    pub(super) sockets: Vec<Option<Socket>>,
    pub(super) signals: UnixStream,
    pub(super) opening: Option<Opening>,
    pub(super) store: Option<StoreSide>,
    /// Slots of clients that have more to do without another event.
    pub(super) again: Vec<usize>,
    /// Slots of clients from which bytes have just arrived, and whether they filled the buffer.
    arrived: Vec<(usize, bool)>,
    swept_at: UnixMillis,
    resident: ResidentSet,
    looked_at: UnixMillis,
    pub(super) stopping: Stopping,
    set_level: fn(crate::config::LogLevel),
}

impl EventLoop {
    /// A loop over `listeners` and `server`, to be told of signals by a byte from `signals`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(
        server: Server,
        mut listeners: Listeners,
        signals: StdUnixStream,
        set_level: fn(crate::config::LogLevel),
    ) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        listeners.register(poll.registry())?;
        signals.set_nonblocking(true)?;
        let mut signals = UnixStream::from_std(signals);
        poll.registry().register(&mut signals, SIGNAL, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), OPENED)?;
        let opening = Opening::start(&server.state.config, server.state.memory_budget(), waker)?;
        Ok(EventLoop {
            poll,
            swept_at: server.now(),
            resident: ResidentSet::open(),
            looked_at: server.now(),
            server,
            unix_path: listeners.unix_path(),
            listeners,
            sockets: Vec::new(),
            signals,
            opening: Some(opening),
            store: None,
            again: Vec::new(),
            arrived: Vec::new(),
            stopping: Stopping::No,
            set_level,
        })
    }

    /// Runs until the server has stopped in good order.
    ///
    /// # Errors
    /// The store cannot be opened, in words for the operator, or polling fails.
    pub fn run(mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.turn(&mut events)? {}
        self.listeners.close();
        Ok(())
    }

    /// One turn. Returns whether there is another one.
    fn turn(&mut self, events: &mut Events) -> Result<bool, String> {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(format!("polling for events failed: {error}"));
            }
            _ => {}
        }
        let mut spent = Spent::new(driver::monotonic_us());
        self.server.set_now(driver::now());
        for index in std::mem::take(&mut self.again) {
            self.process(index);
            self.read(index);
        }
        for event in events.iter() {
            self.on_event(event)?;
        }
        self.run_arrived();
        spent.mark(Part::Commands, driver::monotonic_us());
        self.run_store();
        spent.mark(Part::Store, driver::monotonic_us());
        self.server.settle();
        self.run_resumed();
        spent.mark(Part::Resumed, driver::monotonic_us());
        self.flush();
        if let (true, Some(store)) = (self.server.take_wants_chunks(), &mut self.store) {
            store.give(&mut self.server);
        }
        // What was answered without the disk would wait for the next wake-up.
        self.server.take_events();
        spent.mark(Part::Output, driver::monotonic_us());
        if self.server.now().since(self.looked_at) >= LOOK_MS {
            self.look(0);
        }
        if self.server.now().since(self.swept_at) >= SWEEP_MS {
            self.sweep();
        }
        spent.mark(Part::Sweep, driver::monotonic_us());
        self.server.state.stats.turn(spent);
        Ok(self.advance_stopping())
    }

    /// How long the next poll may wait.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.again.is_empty()
            || self.server.has_resumed()
            || !self.server.clients.flush.is_empty()
        {
            return Some(Duration::ZERO);
        }
        let mut next = self.server.next_moment();
        let mut consider = |at: UnixMillis| next = Some(next.map_or(at, |next| next.min(at)));
        if let Some(store) = &self.store {
            consider(store.wake_at());
        }
        if !self.server.clients.is_empty() || self.stopping != Stopping::No {
            consider(self.swept_at.plus(SWEEP_MS));
        }
        next.map(|at| Duration::from_millis(at.since(self.server.now())))
    }

    fn on_event(&mut self, event: &Event) -> Result<(), String> {
        match event.token() {
            SIGNAL => self.on_signal(),
            // The store is asked in every turn.
            DISK => {}
            OPENED => self.on_opened()?,
            Token(number) if number < FIRST_CLIENT => self.accept(number),
            Token(number) => self.on_client(number - FIRST_CLIENT, event),
        }
        Ok(())
    }

    fn on_client(&mut self, index: usize, event: &Event) {
        let Some(Some(socket)) = self.sockets.get_mut(index) else { return };
        if event.is_error() || (event.is_read_closed() && event.is_write_closed()) {
            socket.ended = true;
        }
        if event.is_writable() && !socket.writable {
            socket.writable = true;
            self.server.clients.flush.push(index);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            socket.readable = true;
            socket.ended |= event.is_read_closed();
            match self.fill(index) {
                Some(full) => self.arrived.push((index, full)),
                None => self.close_if_gone(index),
            }
            if self.arrived.len() == ARRIVED_MAX {
                self.run_arrived();
            }
        }
    }

    /// Closes a client that waits for keys and has closed its side: nobody would take the element.
    fn close_if_gone(&mut self, index: usize) {
        let ended = matches!(self.sockets.get(index), Some(Some(socket)) if socket.ended);
        if ended && self.server.is_blocked(index) {
            self.close(index);
        }
    }

    /// Reads what there is from a client, and runs it.
    fn read(&mut self, index: usize) {
        while let Some(full) = self.fill(index) {
            self.process(index);
            if full {
                // The others first.
                return self.again.push(index);
            }
        }
    }

    /// Runs what has arrived from a client, and sees to it that the process stays within its memory.
    fn process(&mut self, index: usize) {
        self.server.process(index);
        self.look(LOOK_BYTES);
    }

    /// Looks at the resident set if at least so many bytes have moved: values leave RAM if it is above the
    /// budget.
    fn look(&mut self, moved_bytes: usize) {
        if self.server.moved_bytes() < moved_bytes {
            return;
        }
        self.looked_at = self.server.now();
        self.server.observe_rss(self.resident.bytes());
    }

    /// Reads once from a client that can take input. Returns whether its buffer was filled; `None`
    /// if nothing has arrived.
    fn fill(&mut self, index: usize) -> Option<bool> {
        while self.server.wants_input(index) {
            let Some(Some(socket)) = self.sockets.get_mut(index) else { return None };
            if !socket.readable {
                return None;
            }
            let space = self.server.space(index)?;
            let room = space.len();
            match socket.read(space) {
                Ok(0) => {
                    socket.readable = false;
                    self.server.end_of_input(index);
                    return Some(false);
                }
                Ok(count) => {
                    // Drained, unless the end is still to come.
                    socket.readable = count == room || socket.ended;
                    self.server.received(index, count);
                    return Some(count == room);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    socket.readable = false;
                    return Some(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.close(index),
            }
        }
        None
    }

    /// Runs what has arrived from several clients: together, so that their cache misses overlap.
    fn run_arrived(&mut self) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.server.warm(&arrived);
        for (index, full) in arrived.drain(..) {
            self.process(index);
            if full {
                self.again.push(index);
            } else {
                self.read(index);
            }
            self.close_if_gone(index);
        }
        self.arrived = arrived;
    }

    pub(super) fn close(&mut self, index: usize) {
        // Closing the descriptor also ends its registration.
        if let Some(socket) = self.sockets.get_mut(index) {
            *socket = None;
        }
        self.server.disconnect(index);
    }

    /// Lets the store work, and the clients go on that waited for it.
    fn run_store(&mut self) {
        let Some(mut store) = self.store.take() else { return };
        let room = store.take(&mut self.server);
        if room {
            self.server.retry_for_room();
        }
        for _ in 0..ROUNDS_MAX {
            self.server.take_events();
            if !self.server.has_resumed() {
                break;
            }
            self.run_resumed();
        }
        store.give(&mut self.server);
        self.store = Some(store);
    }

    fn run_resumed(&mut self) {
        for index in self.server.take_resumed() {
            self.process(index);
            self.read(index);
            self.close_if_gone(index);
        }
    }

    /// Writes what may leave.
    fn flush(&mut self) {
        let mut waiting = std::mem::take(&mut self.server.clients.flush);
        let mut unsent = Vec::new();
        for index in waiting.drain(..) {
            if self.write(index) {
                unsent.push(index);
            }
            self.look(LOOK_BYTES);
            if self.server.after_flush(index) == AfterFlush::Close {
                self.close(index);
            }
        }
        // Keeps the allocation, unless writing has found more to flush.
        if self.server.clients.flush.is_empty() {
            self.server.clients.flush = waiting;
        }
        self.server.clients.flush.append(&mut unsent);
    }

    /// Writes what a client's socket takes, up to a turn's share. Returns whether it would take more.
    fn write(&mut self, index: usize) -> bool {
        let Some(Some(socket)) = self.sockets.get_mut(index) else { return false };
        let mut left = WRITE_MAX;
        while socket.writable {
            let ready = self.server.output(index);
            if ready.is_empty() {
                return false;
            }
            let ready = &ready[..ready.len().min(left)];
            if ready.is_empty() {
                return true;
            }
            match socket.write(ready) {
                Ok(count) => {
                    left -= count;
                    // A short write has filled the socket.
                    socket.writable = count == ready.len();
                    if self.server.sent(index, count) {
                        self.again.push(index);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.close(index);
                    return false;
                }
            }
        }
        false
    }

    fn sweep(&mut self) {
        self.swept_at = self.server.now();
        self.server.sweep();
        self.look(0);
        for number in 0..self.listeners.len() {
            self.accept(number);
        }
        for changed in std::mem::take(&mut self.server.state.changed) {
            match changed {
                Changed::LogLevel(level) => (self.set_level)(level),
                Changed::TcpKeepalive => {
                    let seconds = self.server.state.config.tcp_keepalive;
                    self.sockets.iter().flatten().for_each(|socket| socket.tune(seconds));
                }
            }
        }
    }
}
