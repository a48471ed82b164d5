//! Every setting of the server: one table for flags, the TOML file and CONFIG GET/SET.
//!
//! Owns: [`Config`], its defaults and the relations between its values.
//! Never knows: who asks for a change.
//! Invariant: a [`Config`] only ever changes through the table, so every value is validated and
//! every error names the key and the fix.

mod file;
mod kinds;
mod output_limit;
mod prefix;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use emberlog_engine::{Ack, driver::DriverChoice};
pub use file::apply_file;
pub use kinds::{format_bytes, parse_bytes};
pub use output_limit::{ClientClass, OutputLimit, OutputLimits};
pub use prefix::{Prefix, PrefixStats};
pub use table::{Key, find, keys, set};

use crate::serve::intake::KEPT_MAX;

/// How much the server says. Redis' names for the levels of `tracing`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Much.
    Verbose,
    /// What an operator wants to read.
    Notice,
    /// Only what needs attention.
    Warning,
    /// Nothing.
    Nothing,
}

/// All settings.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Config {
    /// Addresses to listen on; a leading `-` means that it may be unavailable.
    pub bind: Vec<String>,
    /// TCP port; 0 = no TCP.
    pub port: u16,
    /// Queue of connections that wait to be accepted.
    pub tcp_backlog: u16,
    /// Path of the unix socket, if any.
    pub unixsocket: Option<PathBuf>,
    /// Its permission bits.
    pub unixsocketperm: u32,
    /// Folder of the store.
    pub dir: PathBuf,
    /// Password of the default user; empty = none.
    pub requirepass: String,
    /// Most RAM, in bytes; 0 = a quarter of the machine's.
    pub maxmemory: u64,
    /// Most clients at a time.
    pub maxclients: u32,
    /// How much is logged.
    pub loglevel: LogLevel,
    /// File to log to; empty = standard output.
    pub logfile: String,
    /// Seconds after which an idle client is closed; 0 = never.
    pub timeout: u32,
    /// Seconds after which an unauthenticated client, or one in the middle of a command that
    /// makes no progress, is closed; 0 = never.
    pub half_open_timeout: u32,
    /// Seconds between TCP keep-alive probes; 0 = none.
    pub tcp_keepalive: u32,
    /// Number of databases.
    pub databases: u16,
    /// Refuse other machines while there is no password.
    pub protected_mode: bool,
    /// Whether values are compressed.
    pub compression: bool,
    /// When a write is acknowledged.
    pub ack: Ack,
    /// Most bytes of segment files; 0 = 80 % of what is free.
    pub disk_limit: u64,
    /// Bytes of one segment file of a new store; 0 = what fits the disk limit.
    pub segment_size: u32,
    /// Start even if deleted keys may come back because both checkpoints are damaged.
    pub rebuild_may_resurrect: bool,
    /// How the disk is driven.
    pub io_driver: DriverChoice,
    /// Longest argument, in bytes.
    pub proto_max_bulk_len: usize,
    /// Most bytes of unprocessed input of a client.
    pub client_query_buffer_limit: usize,
    /// Most bytes of unsent output of a client.
    pub client_output_buffer_limit: OutputLimits,
    /// Commands at least this slow are remembered, in microseconds; negative = none.
    pub slowlog_log_slower_than: i64,
    /// Slow commands remembered.
    pub slowlog_max_len: usize,
    /// Events at least this slow are kept for LATENCY, in milliseconds; 0 = none.
    pub latency_monitor_threshold: u64,
    /// Keyspace events to publish, in Redis' letters.
    pub notify_keyspace_events: u32,
    /// Whether DEBUG is available.
    pub enable_debug_command: bool,
    /// Whether scripts are run.
    pub lua: bool,
    /// Milliseconds after which a script is stopped without effect.
    pub lua_time_limit: u32,
    /// Most RAM of the interpreter of scripts, in bytes.
    pub lua_memory_limit: usize,
    /// Seconds for which an ended session without an absolute deadline is remembered.
    pub revoked_ttl: u32,
    /// Policies for keys that begin alike, the longest prefix first. Only from the file.
    pub prefixes: Vec<Prefix>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bind: vec!["127.0.0.1".to_owned(), "-::1".to_owned()],
            port: 6379,
            tcp_backlog: 511,
            unixsocket: None,
            unixsocketperm: 0o700,
            dir: PathBuf::from("emberlog-data"),
            requirepass: String::new(),
            maxmemory: 0,
            maxclients: 10_000,
            loglevel: LogLevel::Notice,
            logfile: String::new(),
            timeout: 0,
            half_open_timeout: 60,
            tcp_keepalive: 300,
            databases: 16,
            protected_mode: true,
            compression: true,
            ack: Ack::Durable,
            disk_limit: 0,
            segment_size: 0,
            rebuild_may_resurrect: false,
            io_driver: DriverChoice::Auto,
            proto_max_bulk_len: 512 << 20,
            client_query_buffer_limit: 256 << 20,
            client_output_buffer_limit: OutputLimits::default(),
            slowlog_log_slower_than: 10_000,
            slowlog_max_len: 128,
            latency_monitor_threshold: 0,
            notify_keyspace_events: 0,
            enable_debug_command: false,
            lua: true,
            lua_time_limit: 5_000,
            lua_memory_limit: 64 << 20,
            revoked_ttl: 86_400,
            prefixes: Vec::new(),
        }
    }
}

/// A setting that cannot be, naming the key, the problem and the fix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The key as the operator wrote it.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Checks the relations between values.
    ///
    /// # Errors
    /// The first pair that cannot work together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |key: &str, problem: &str| {
            Err(ConfigError { key: key.to_owned(), problem: problem.to_owned() })
        };
        if self.port == 0 && self.unixsocket.is_none() {
            return fail("port", "0 leaves nothing to listen on; set a port or unixsocket");
        }
        // Longer arguments are not collected in the buffer.
        if self.client_query_buffer_limit < self.proto_max_bulk_len.min(KEPT_MAX) {
            return fail(
                "client-query-buffer-limit",
                "is below proto-max-bulk-len; raise it to at least that, or to 64mb",
            );
        }
        Ok(())
    }
}
