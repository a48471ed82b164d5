//! What all clients share, the store apart.
//!
//! Owns: settings, counters, subscriptions, watches, the slow log, the stage of life.
//! Never knows: sockets, clients.
//! Invariant: only one command at a time reaches it.

use emberlog_engine::UnixMillis;

use super::blocked::Queues;
use super::fields::Fields;
use super::latency::Latency;
use super::locks::Locks;
use super::pubsub::PubSub;
use super::slowlog::SlowLog;
use super::stats::Stats;
use super::watch::Watched;
use crate::config::{Config, LogLevel, PrefixStats};
use crate::script::Engine;

/// How far the server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Recovering: answers -LOADING.
    Loading,
    /// Serving.
    Ready,
    /// Asked to stop; `flush`: whether what is not durable yet is written first.
    Stopping {
        /// False for SHUTDOWN NOSAVE.
        flush: bool,
    },
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    /// Until when.
    pub until: UnixMillis,
    /// Whether reads go on.
    pub writes_only: bool,
}

/// Facts about this process that never change.
#[derive(Clone, Debug)]
pub struct Identity {
    /// 40 hexadecimal digits, new at every start.
    pub run_id: String,
    /// When the process started.
    pub started_at: UnixMillis,
    /// Path of the executable.
    pub executable: String,
    /// Path of the configuration file, empty if none.
    pub config_file: String,
    /// Name of the disk driver, once the store is open.
    pub io_driver: &'static str,
    /// Bytes of RAM of the machine.
    pub machine_bytes: u64,
}

/// A change of a setting that others must hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed {
    /// The log level.
    LogLevel(LogLevel),
    /// Seconds between keep-alive probes, for new connections.
    TcpKeepalive,
}

/// Shared state.
pub struct State {
    /// Settings.
    pub config: Config,
    /// Counters.
    pub stats: Stats,
    /// Subscriptions.
    pub pubsub: PubSub,
    /// Clients that wait for keys.
    pub blocked: Queues,
    /// Watched keys.
    pub watched: Watched,
    /// Fields of hashes that will expire, while somebody listens.
    pub fields: Fields,
    /// Slow commands.
    pub slowlog: SlowLog,
    /// Slow events.
    pub latency: Latency,
    /// The interpreter with its scripts, once one was sent.
    pub scripts: Option<Box<Engine>>,
    /// Clients whose wait for keys CLIENT UNBLOCK has ended.
    pub unblocked: Vec<super::client::ClientKey>,
    /// Locks on sessions.
    pub locks: Locks,
    /// What the policies of prefixes have done, in their order.
    pub prefixes: Vec<PrefixStats>,
    /// CLIENT PAUSE.
    pub pause: Option<Pause>,
    /// Stage of life.
    pub stage: Stage,
    /// Facts about the process.
    pub identity: Identity,
    /// Randomness that needs no secrecy.
    pub random: fastrand::Rng,
    /// Serial number of the newest client.
    pub last_client_id: u64,
    /// Clients that see every command.
    pub monitors: Vec<super::client::ClientKey>,
    /// Messages for the client whose command is running; they follow its reply.
    pub own_messages: Vec<u8>,
    /// When the last SAVE or BGSAVE was.
    pub saved_at: UnixMillis,
    /// Resident set of the process, in bytes, as of the last second.
    pub rss_bytes: u64,
    /// Its maximum.
    pub rss_peak_bytes: u64,
    /// Settings that changed since the event loop last looked.
    pub changed: Vec<Changed>,
}

impl State {
    /// State of a server that has just started.
    pub fn new(config: Config, identity: Identity, seed: u64) -> State {
        let prefixes = vec![PrefixStats::default(); config.prefixes.len()];
        State {
            config,
            stats: Stats::default(),
            pubsub: PubSub::default(),
            blocked: Queues::default(),
            watched: Watched::default(),
            fields: Fields::default(),
            slowlog: SlowLog::default(),
            latency: Latency::default(),
            scripts: None,
            unblocked: Vec::new(),
            locks: Locks::default(),
            prefixes,
            pause: None,
            stage: Stage::Loading,
            saved_at: identity.started_at,
            identity,
            random: fastrand::Rng::with_seed(seed),
            last_client_id: 0,
            monitors: Vec::new(),
            own_messages: Vec::new(),
            rss_bytes: 0,
            rss_peak_bytes: 0,
            changed: Vec::new(),
        }
    }

    /// Bytes of RAM that the process may use: `maxmemory`, or a quarter of the machine's.
    pub fn memory_budget(&self) -> u64 {
        match self.config.maxmemory {
            0 => (self.identity.machine_bytes / 4).max(64 << 20),
            bytes => bytes,
        }
    }
}
