//! The table of settings.
//!
//! Owns: name, help, parsing and display of every key, and whether it can change while running.
//! Never knows: what a change has to trigger (see `command::config`).
//! Invariant: names are unique and as operators of Redis know them.

use super::kinds::{
    format_ack, format_driver, format_level, format_switch, parse_ack, parse_bytes, parse_driver,
    parse_level, parse_mode, parse_number, parse_switch,
};
use super::{Config, ConfigError};
use crate::notify::{format_classes, parse_classes};

/// One setting.
pub struct Key {
    /// Name, as flag (`--name`), in TOML and in CONFIG GET/SET.
    pub name: &'static str,
    /// Whether CONFIG SET may change it.
    pub live: bool,
    /// One line for `--help`.
    pub help: &'static str,
    parse: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> String,
}

impl Key {
    /// The value in `config`, as CONFIG GET answers.
    pub fn show(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

/// All settings.
pub fn keys() -> &'static [Key] {
    KEYS
}

/// The setting called `name`; underscores count as hyphens, case does not matter.
pub fn find(name: &str) -> Option<&'static Key> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    KEYS.iter().find(|key| key.name == name)
}

/// Sets one key.
///
/// # Errors
/// An unknown key, with the nearest that exists, or a value that cannot be.
pub fn set(config: &mut Config, name: &str, value: &str) -> Result<(), ConfigError> {
    let fail = |problem: String| ConfigError { key: name.to_owned(), problem };
    let key = find(name).ok_or_else(|| fail(unknown(name)))?;
    (key.parse)(config, value).map_err(fail)
}

fn unknown(name: &str) -> String {
    let near = KEYS
        .iter()
        .map(|key| (strsim::jaro_winkler(key.name, &name.to_ascii_lowercase()), key.name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((score, near)) if score > 0.8 => {
            format!("is not a setting of emberlog; did you mean {near}?")
        }
        _ => "is not a setting of emberlog; emberlog --help lists them".to_owned(),
    }
}

/// Accepts only what emberlog does anyway, for settings of Redis that launchers pass.
fn fixed(value: &str, accepted: &[&str], why: &str) -> Result<(), String> {
    if accepted.iter().any(|a| a.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    Err(format!("'{value}' is not possible: {why}"))
}

macro_rules! key {
    ($name:literal, $live:literal, $help:literal, $parse:expr, $show:expr) => {
        Key { name: $name, live: $live, help: $help, parse: $parse, show: $show }
    };
}

const LOG_IS_STORE: &str = "the log is the store; see --ack for when a write is acknowledged";

#[rustfmt::skip]
static KEYS: &[Key] = &[
    key!("bind", false, "Addresses to listen on, separated by blanks [127.0.0.1 -::1]",
        |c, v| { c.bind = v.split_ascii_whitespace().map(str::to_owned).collect(); Ok(()) },
        |c| c.bind.join(" ")),
    key!("port", false, "TCP port, 0 for none [6379]",
        |c, v| parse_number(v, 0, u16::MAX).map(|n| c.port = n), |c| c.port.to_string()),
    key!("tcp-backlog", false, "Connections that may wait to be accepted [511]",
        |c, v| parse_number(v, 1, u16::MAX).map(|n| c.tcp_backlog = n), |c| c.tcp_backlog.to_string()),
    key!("unixsocket", false, "Path of a unix socket to listen on [none]",
        |c, v| { c.unixsocket = (!v.is_empty()).then(|| v.into()); Ok(()) },
        |c| c.unixsocket.as_ref().map(|p| p.display().to_string()).unwrap_or_default()),
    key!("unixsocketperm", false, "Permission bits of the unix socket, octal [700]",
        |c, v| parse_mode(v).map(|n| c.unixsocketperm = n), |c| format!("{:o}", c.unixsocketperm)),
    key!("dir", false, "Folder of the store [emberlog-data]",
        |c, v| if v.is_empty() { Err("is empty; name a folder".into()) } else { c.dir = v.into(); Ok(()) },
        |c| c.dir.display().to_string()),
    key!("requirepass", true, "Password that clients must give [none]",
        |c, v| { v.clone_into(&mut c.requirepass); Ok(()) }, |c| c.requirepass.clone()),
    key!("maxmemory", true, "Most RAM of the process, 0 for a quarter of the machine's [0]",
        |c, v| parse_bytes(v).and_then(|n| if n == 0 || n >= 64 << 20 { c.maxmemory = n; Ok(()) }
            else { Err(format!("'{v}' is too little; write at least 64mb")) }),
        |c| c.maxmemory.to_string()),
    key!("maxmemory-policy", false, "Always noeviction: values leave RAM for the disk, not the store",
        |_, v| fixed(v, &["noeviction"], "values that do not fit in RAM stay on disk; use noeviction"),
        |_| "noeviction".into()),
    key!("maxclients", true, "Most clients at a time [10000]",
        |c, v| parse_number(v, 1, 1_000_000).map(|n| c.maxclients = n), |c| c.maxclients.to_string()),
    key!("loglevel", true, "debug, verbose, notice, warning or nothing [notice]",
        |c, v| parse_level(v).map(|l| c.loglevel = l), |c| format_level(c.loglevel)),
    key!("logfile", false, "File to log to [standard output]",
        |c, v| { v.clone_into(&mut c.logfile); Ok(()) }, |c| c.logfile.clone()),
    key!("timeout", true, "Seconds after which an idle client is closed, 0 for never [0]",
        |c, v| parse_number(v, 0, i32::MAX as u32).map(|n| c.timeout = n), |c| c.timeout.to_string()),
    key!("half-open-timeout", true, "Seconds a client may take to authenticate, or to go on with a command it has begun [60]",
        |c, v| parse_number(v, 0, i32::MAX as u32).map(|n| c.half_open_timeout = n), |c| c.half_open_timeout.to_string()),
    key!("tcp-keepalive", true, "Seconds between TCP keep-alive probes, 0 for none [300]",
        |c, v| parse_number(v, 0, 32_767).map(|n| c.tcp_keepalive = n), |c| c.tcp_keepalive.to_string()),
    key!("databases", false, "Number of databases [16]",
        |c, v| parse_number(v, 1, 1_024).map(|n| c.databases = n), |c| c.databases.to_string()),
    key!("protected-mode", true, "Refuse other machines while there is no password [yes]",
        |c, v| parse_switch(v).map(|on| c.protected_mode = on), |c| format_switch(c.protected_mode)),
    key!("ack", true, "When a write is acknowledged: durable, interval[:ms] or memory [durable]",
        |c, v| parse_ack(v).map(|ack| c.ack = ack), |c| format_ack(c.ack)),
    key!("compression", true, "Whether values are compressed when they are written [yes]",
        |c, v| parse_switch(v).map(|on| c.compression = on), |c| format_switch(c.compression)),
    key!("disk-limit", false, "Most bytes of segment files, 0 for 80 % of what is free [0]",
        |c, v| parse_bytes(v).map(|n| c.disk_limit = n), |c| c.disk_limit.to_string()),
    key!("rebuild-may-resurrect", false, "Start although both checkpoints are damaged; deleted keys may come back [no]",
        |c, v| parse_switch(v).map(|on| c.rebuild_may_resurrect = on), |c| format_switch(c.rebuild_may_resurrect)),
    key!("segment-size", false, "Advanced: bytes of one segment file of a new store, 0 to fit disk-limit [0]",
        |c, v| parse_bytes(v).and_then(|n| match u32::try_from(n) {
            Ok(0) => { c.segment_size = 0; Ok(()) }
            Ok(n) if n.is_power_of_two() && (16 << 10..=64 << 20).contains(&n) => { c.segment_size = n; Ok(()) }
            _ => Err(format!("'{v}' is not a power of two from 16kb to 64mb")) }),
        |c| c.segment_size.to_string()),
    key!("io-driver", false, "How the disk is driven: auto, uring or threads [auto]",
        |c, v| parse_driver(v).map(|d| c.io_driver = d), |c| format_driver(c.io_driver)),
    key!("proto-max-bulk-len", true, "Longest string and longest argument of a command [512mb]",
        |c, v| size_within(v, 1 << 20, 1 << 30).map(|n| c.proto_max_bulk_len = n), |c| c.proto_max_bulk_len.to_string()),
    key!("client-query-buffer-limit", true, "Most bytes of unprocessed input of a client [256mb]",
        |c, v| size_within(v, 1 << 20, 2 << 30).map(|n| c.client_query_buffer_limit = n), |c| c.client_query_buffer_limit.to_string()),
    key!("client-output-buffer-limit", true, "Groups of: normal|replica|pubsub <hard> <soft> <seconds>",
        |c, v| c.client_output_buffer_limit.parse(v).map(|l| c.client_output_buffer_limit = l),
        |c| c.client_output_buffer_limit.format()),
    key!("slowlog-log-slower-than", true, "Microseconds from which a command is in the slow log [10000]",
        |c, v| parse_number(v, -1, i64::MAX).map(|n| c.slowlog_log_slower_than = n), |c| c.slowlog_log_slower_than.to_string()),
    key!("slowlog-max-len", true, "Commands that the slow log holds [128]",
        |c, v| parse_number(v, 0, 100_000).map(|n| c.slowlog_max_len = n), |c| c.slowlog_max_len.to_string()),
    key!("latency-monitor-threshold", true, "Milliseconds from which LATENCY keeps an event, 0 for none [0]",
        |c, v| parse_number(v, 0, 3_600_000).map(|n| c.latency_monitor_threshold = n), |c| c.latency_monitor_threshold.to_string()),
    key!("notify-keyspace-events", true, "Keyspace events to publish, in the letters of Redis [none]",
        |c, v| parse_classes(v).map(|n| c.notify_keyspace_events = n), |c| format_classes(c.notify_keyspace_events)),
    key!("revoked-ttl", true, "Seconds for which an ended session without an absolute deadline is remembered [86400]",
        |c, v| parse_number(v, 1, u32::MAX).map(|n| c.revoked_ttl = n), |c| c.revoked_ttl.to_string()),
    key!("enable-debug-command", false, "Whether DEBUG is available [no]",
        |c, v| parse_switch(v).map(|on| c.enable_debug_command = on), |c| format_switch(c.enable_debug_command)),
    key!("lua", true, "Whether scripts (EVAL) are run [yes]",
        |c, v| parse_switch(v).map(|on| c.lua = on), |c| format_switch(c.lua)),
    key!("lua-time-limit", true, "Milliseconds after which a script is stopped without effect [5000]",
        |c, v| parse_number(v, 1, 3_600_000).map(|n| c.lua_time_limit = n), |c| c.lua_time_limit.to_string()),
    key!("busy-reply-threshold", true, "The same as lua-time-limit",
        |c, v| parse_number(v, 1, 3_600_000).map(|n| c.lua_time_limit = n), |c| c.lua_time_limit.to_string()),
    key!("lua-memory-limit", true, "Most RAM of the interpreter of scripts [64mb]",
        |c, v| size_within(v, 1 << 20, 1 << 30).map(|n| c.lua_memory_limit = n), |c| c.lua_memory_limit.to_string()),
    key!("save", true, "Accepted for launchers of Redis: the log is always kept",
        |_, _| Ok(()), |_| String::new()),
    key!("appendonly", false, "Accepted for launchers of Redis: the log is always kept",
        |_, v| fixed(v, &["yes", "no"], LOG_IS_STORE), |_| "yes".into()),
    key!("appendfsync", false, "Accepted for launchers of Redis: see --ack",
        |_, v| fixed(v, &["always", "everysec", "no"], LOG_IS_STORE),
        |c| match c.ack { emberlog_engine::Ack::Durable => "always", emberlog_engine::Ack::Interval { .. } => "everysec",
            emberlog_engine::Ack::Memory => "no" }.into()),
    key!("dbfilename", false, "Accepted for launchers of Redis: the store is a folder, see --dir",
        |_, _| Ok(()), |_| String::new()),
    key!("daemonize", false, "Accepted for launchers of Redis: always no",
        |_, v| fixed(v, &["no"], "emberlog stays in the foreground; start it by your service manager"), |_| "no".into()),
    key!("replica-read-only", false, "Accepted for launchers of Redis: always yes",
        |_, v| fixed(v, &["yes"], "replicas are read-only"), |_| "yes".into()),
    key!("slave-read-only", false, "Older name of replica-read-only",
        |_, v| fixed(v, &["yes"], "replicas are read-only"), |_| "yes".into()),
];

fn size_within(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match parse_bytes(text)?.try_into() {
        Ok(bytes) if (least..=most).contains(&bytes) => Ok(bytes),
        _ => Err(format!(
            "'{text}' is not within {} to {}",
            super::format_bytes(least as u64),
            super::format_bytes(most as u64)
        )),
    }
}
