//! One client: its connection and everything a command may read or change about it.
//!
//! Owns: [`Client`], [`Session`], [`Wait`].
//! Never knows: sockets.
//! Invariant: while `wait` is not `Nothing`, the current command stays at the front of the input
//! and no later one is looked at, so replies keep their order.

use std::collections::BTreeSet;
use std::sync::Arc;

use emberlog_engine::{Lsn, UnixMillis};

use super::assemble::Assembly;
use super::blocked::Blocked;
use super::gather::Gathered;
use super::intake::Intake;
use crate::command::Command;
use crate::connection::Connection;
use crate::output::Fetch;
use crate::resp::{OwnedArgs, Proto};

/// Names a client for as long as it is connected; never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientKey {
    /// Its slot.
    pub index: usize,
    /// Its serial number, as CLIENT ID answers.
    pub id: u64,
}

/// Where a client comes from.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address and port, or the path of the socket.
    pub addr: String,
    /// The address and port it connected to.
    pub laddr: String,
    /// Whether it is on this machine.
    pub local: bool,
    /// Whether it came by the unix socket.
    pub unix: bool,
    /// File descriptor, for CLIENT LIST.
    pub fd: i32,
}

/// What a client waits for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Wait {
    /// Nothing: it is runnable.
    #[default]
    Nothing,
    /// Values of its command's keys are being loaded.
    Loads {
        /// Answers still to come.
        left: usize,
        /// Keys, with their databases, whose load has not been asked for yet.
        rest: Vec<(u16, Box<[u8]>)>,
    },
    /// Keys are being listed for command `slot` of its queue, or for its command.
    Gather {
        /// Position in the queue of MULTI.
        slot: usize,
    },
    /// The log has no room at the moment.
    Room,
    /// A moment, or an LSN on stable storage.
    Until(Until),
    /// One of the keys of its `session.blocked` to be written.
    Keys,
    /// CLIENT PAUSE.
    Pause,
    /// The next turn, so that others come between.
    Turn,
}

/// What WAIT, WAITAOF and SAVE wait for: whichever comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Until {
    /// This LSN is on stable storage.
    pub durable: Option<Lsn>,
    /// This moment has come.
    pub deadline: Option<UnixMillis>,
}

/// When a client is to be closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Closing {
    /// It stays.
    #[default]
    No,
    /// It sends nothing more: once its commands are answered.
    AfterCommands,
    /// Once the replies so far have left.
    AfterReplies,
    /// Now.
    Now,
}

/// Answers that CLIENT REPLY keeps back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReplyMode {
    /// None.
    #[default]
    On,
    /// All.
    Off,
    /// The next one's, from the next command on.
    SkipNext,
    /// This one's.
    Skip,
}

/// A command queued by MULTI.
pub struct Queued {
    /// Which.
    pub command: &'static Command,
    /// Position of its counters.
    pub id: usize,
    /// Its arguments.
    pub args: OwnedArgs,
}

/// A key that WATCH looks after.
pub struct WatchedKey {
    /// Its database.
    pub db: u16,
    /// The key.
    pub key: Arc<[u8]>,
    /// Whether it existed when WATCH was called.
    pub existed: bool,
    /// When it was to expire, at that time.
    pub expires_at: Option<UnixMillis>,
}

/// State of MULTI and WATCH.
#[derive(Default)]
pub struct Transaction {
    /// Whether MULTI has been called.
    pub open: bool,
    /// Whether a queued command was refused, so that EXEC must abort.
    pub refused: bool,
    /// Whether a watched key has changed.
    pub dirty: bool,
    /// The queue.
    pub queue: Vec<Queued>,
    /// Bytes of the queue's arguments.
    pub queue_bytes: usize,
    /// The watched keys.
    pub watched: Vec<WatchedKey>,
}

/// What is kept of a script that has to run again.
#[derive(Default)]
pub struct Progress {
    /// Keys that it needs in RAM, with their databases.
    pub wanted: Vec<(u16, Box<[u8]>)>,
    /// Time that its runs have taken so far, in microseconds.
    pub spent_us: u64,
    /// What its random numbers begin with, the same for all its runs.
    pub seed: Option<i32>,
}

/// What commands see of their client.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a client")]
pub struct Session {
    /// Its name among the clients.
    pub key: ClientKey,
    /// Where it comes from.
    pub peer: Peer,
    /// Selected database.
    pub db: u16,
    /// Protocol version.
    pub proto: Proto,
    /// Whether it has given the password, or none is needed.
    pub authenticated: bool,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// Whether it sees every command.
    pub monitor: bool,
    /// Name of its last command.
    pub last_command: &'static str,
    /// Name of the command that contains it, empty if none does.
    pub last_container: &'static str,
    /// When it connected.
    pub created_at: UnixMillis,
    /// When it last sent a command.
    pub active_at: UnixMillis,
    /// MULTI and WATCH.
    pub transaction: Transaction,
    /// Channels it subscribes to.
    pub channels: BTreeSet<Vec<u8>>,
    /// Patterns it subscribes to.
    pub patterns: BTreeSet<Vec<u8>>,
    /// Listed keys that its current command asked for.
    pub gathered: Vec<Gathered>,
    /// Pieces of its command's reply that follow what is in the output.
    pub reply_pieces: Vec<Vec<u8>>,
    /// Large values in its command's reply, each at its byte of the output's buffer.
    pub fetches: Vec<(usize, Fetch)>,
    /// An argument of its current command that is too long to be kept.
    pub intake: Option<Intake>,
    /// The value that is being put together for its current command.
    pub assembly: Option<Box<Assembly>>,
    /// How often one was begun for it.
    pub assemblies: u32,
    /// What keys its current command waits for, also while it is tried again.
    pub blocked: Option<Blocked>,
    /// How far the script that is its current command has come.
    pub script: Progress,
    /// Whether its current command has finished waiting for an [`Until`], or for keys in vain.
    pub waited: bool,
    /// Whether CLIENT UNBLOCK has ended its wait with an error.
    pub unblocked: bool,
    /// Keys, with their databases, that its current command needs beyond those it names.
    pub also_load: Vec<(u16, Box<[u8]>)>,
    /// Whether the device failed to read a value for its current command.
    pub load_failed: bool,
    /// Whether its connection is to be closed.
    pub closing: Closing,
    /// LSN of its last write, for WAITAOF.
    pub last_lsn: Lsn,
    /// The lock that its current command waits for.
    pub lock_wait: Option<crate::command::LockWait>,
}

impl Session {
    /// A session that has just begun.
    pub fn new(key: ClientKey, peer: Peer, authenticated: bool, now: UnixMillis) -> Session {
        Session {
            key,
            peer,
            db: 0,
            proto: Proto::Resp2,
            authenticated,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            no_evict: false,
            no_touch: false,
            reply_mode: ReplyMode::On,
            monitor: false,
            last_command: "NULL",
            last_container: "",
            created_at: now,
            active_at: now,
            transaction: Transaction::default(),
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            gathered: Vec::new(),
            reply_pieces: Vec::new(),
            fetches: Vec::new(),
            intake: None,
            assembly: None,
            assemblies: 0,
            blocked: None,
            script: Progress::default(),
            waited: false,
            unblocked: false,
            also_load: Vec::new(),
            load_failed: false,
            closing: Closing::No,
            last_lsn: Lsn::NONE,
            lock_wait: None,
        }
    }

    /// Subscriptions of both kinds.
    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Asks for the connection to be closed, at the latest as `closing` says.
    pub fn close(&mut self, closing: Closing) {
        self.closing = self.closing.max(closing);
    }
}

/// A client.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a client")]
pub struct Client {
    /// What commands see.
    pub session: Session,
    /// Its bytes.
    pub connection: Connection,
    /// What it waits for.
    pub wait: Wait,
    /// Whether values are held in RAM for its current command.
    pub pinned: bool,
    /// Since when its output has been above the soft limit.
    pub over_soft_since: Option<UnixMillis>,
    /// When bytes last arrived.
    pub received_at: UnixMillis,
    /// Whether there is no whole command in its input.
    pub drained: bool,
    /// Whether it is already in the list of clients to flush.
    pub flushing: bool,
    /// Whether it is already in the list of clients that wait for an acknowledgement.
    pub holding: bool,
    /// Whether a chunk that its output needs is being read.
    pub fetching: bool,
    /// Whether the device has failed to read one.
    pub fetch_failed: bool,
}
