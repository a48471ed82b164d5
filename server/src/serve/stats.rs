//! What the server has done, for INFO.
//!
//! Owns: plain counters.
//! Never knows: how they are shown.
//! Invariant: counters only rise until CONFIG RESETSTAT.

use super::latency::Histogram;
use crate::command;

/// Counters of one command.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandStats {
    /// Times it ran.
    pub calls: u64,
    /// Time it took, in microseconds; only measured for commands that are not fast.
    pub usec: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it answered an error.
    pub failed: u64,
    /// How long it took, if that is measured.
    pub histogram: Histogram,
}

/// Counters of the server.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused because of maxclients or protected mode.
    pub rejected_connections: u64,
    /// Commands run.
    pub commands: u64,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Errors answered.
    pub errors: u64,
    /// Clients closed because their output was not read.
    pub output_limit_disconnections: u64,
    /// Clients closed because of their input.
    pub protocol_errors: u64,
    /// Clients closed because they were idle or half open.
    pub timeouts: u64,
    /// Wrong passwords.
    pub auth_failures: u64,
    /// Writes refused because a session had ended for good.
    pub revoked_writes: u64,
    /// Commands that waited for a value to be loaded.
    pub cold_commands: u64,
    /// Commands that waited for room in the log.
    pub room_waits: u64,
    /// The longest turn of the event loop, from the end of its poll, in microseconds: how long
    /// everybody else had to wait.
    pub turn_us_max: u64,
    /// What that turn spent its time on.
    pub turn_longest: Spent,
    /// Turns longer than 5 ms.
    pub turns_over_5ms: u64,
    /// By position in the command table.
    pub by_command: Vec<CommandStats>,
    /// Errors by code, as INFO errorstats shows.
    pub by_error: std::collections::BTreeMap<String, u64>,
}

/// Parts of a turn of the event loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Reading, and commands that have just arrived.
    Commands,
    /// The store's completions and jobs, and commands that waited for it.
    Store,
    /// Commands that waited for something else.
    Resumed,
    /// Writing replies.
    Output,
    /// What is done once a second.
    Sweep,
}

/// Microseconds that a turn spent, by [`Part`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spent {
    us: [u64; 5],
    at_us: u64,
}

impl Spent {
    /// A turn that begins at `now_us`.
    pub fn new(now_us: u64) -> Spent {
        Spent { us: [0; 5], at_us: now_us }
    }

    /// What was done since the last mark belongs to `part`.
    pub fn mark(&mut self, part: Part, now_us: u64) {
        self.us[part as usize] += now_us.saturating_sub(self.at_us);
        self.at_us = now_us;
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [commands, store, resumed, output, sweep] = self.us;
        write!(
            f,
            "commands={commands},store={store},resumed={resumed},output={output},sweep={sweep}"
        )
    }
}

/// Most error codes counted apart; clients can make up codes only through scripts.
const ERROR_CODES_MAX: usize = 128;

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            connections: 0,
            rejected_connections: 0,
            commands: 0,
            input_bytes: 0,
            output_bytes: 0,
            hits: 0,
            misses: 0,
            errors: 0,
            output_limit_disconnections: 0,
            protocol_errors: 0,
            timeouts: 0,
            auth_failures: 0,
            revoked_writes: 0,
            cold_commands: 0,
            room_waits: 0,
            turn_us_max: 0,
            turn_longest: Spent::default(),
            turns_over_5ms: 0,
            by_command: vec![CommandStats::default(); command::count()],
            by_error: std::collections::BTreeMap::new(),
        }
    }
}

impl Stats {
    /// Notes how long a turn of the event loop took.
    pub fn turn(&mut self, spent: Spent) {
        let micros = spent.us.iter().sum();
        if micros > self.turn_us_max {
            self.turn_us_max = micros;
            self.turn_longest = spent;
        }
        self.turns_over_5ms += u64::from(micros > 5000);
    }

    /// Counts an error with this text.
    pub fn error(&mut self, text: &str) {
        self.errors += 1;
        let code = text.split(' ').next().unwrap_or("ERR");
        if let Some(count) = self.by_error.get_mut(code) {
            *count += 1;
        } else if self.by_error.len() < ERROR_CODES_MAX {
            self.by_error.insert(code.to_owned(), 1);
        }
    }
}
