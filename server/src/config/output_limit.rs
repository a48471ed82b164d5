//! `client-output-buffer-limit`: how far a reader may lag behind.
//!
//! Owns: the three classes of clients and their limits.
//! Never knows: a client.
//! Invariant: no class is ever unlimited by default.

use super::kinds::{parse_bytes, parse_number};

/// Kinds of clients with limits of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientClass {
    /// Everyone else.
    Normal,
    /// Followers of the log.
    Replica,
    /// Subscribers.
    Pubsub,
}

/// Limits of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputLimit {
    /// Closed at once above this many bytes; 0 = unlimited.
    pub hard_bytes: u64,
    /// Closed when above this many bytes for `soft_seconds`; 0 = unlimited.
    pub soft_bytes: u64,
    /// How long the soft limit is tolerated.
    pub soft_seconds: u64,
}

/// Limits of all classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputLimits([OutputLimit; 3]);

const NAMES: [(&str, ClientClass); 3] = [
    ("normal", ClientClass::Normal),
    ("replica", ClientClass::Replica),
    ("pubsub", ClientClass::Pubsub),
];

impl Default for OutputLimits {
    fn default() -> OutputLimits {
        let limit = |hard: u64, soft: u64| OutputLimit {
            hard_bytes: hard << 20,
            soft_bytes: soft << 20,
            soft_seconds: 60,
        };
        OutputLimits([limit(512, 128), limit(256, 64), limit(32, 8)])
    }
}

impl OutputLimits {
    /// The limits of `class`.
    pub fn of(&self, class: ClientClass) -> OutputLimit {
        self.0[class as usize]
    }

    /// Reads groups of `<class> <hard> <soft> <seconds>`; classes not named keep their limits.
    pub(super) fn parse(mut self, text: &str) -> Result<OutputLimits, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if words.is_empty() || !words.len().is_multiple_of(4) {
            return Err("write groups of: <normal|replica|pubsub> <hard> <soft> <seconds>".into());
        }
        for group in words.chunks_exact(4) {
            let class = if group[0].eq_ignore_ascii_case("slave") { "replica" } else { group[0] };
            let class = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(class));
            let Some((_, class)) = class else {
                return Err(format!("'{}' is not one of normal, replica, pubsub", group[0]));
            };
            self.0[*class as usize] = OutputLimit {
                hard_bytes: parse_bytes(group[1])?,
                soft_bytes: parse_bytes(group[2])?,
                soft_seconds: parse_number(group[3], 0, 1 << 32)?,
            };
        }
        Ok(self)
    }

    pub(super) fn format(&self) -> String {
        let groups: Vec<String> = NAMES
            .iter()
            .map(|(name, class)| {
                let limit = self.of(*class);
                // Clients know the second class by its older name.
                let name = if *name == "replica" { "slave" } else { name };
                format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
            })
            .collect();
        groups.join(" ")
    }
}
