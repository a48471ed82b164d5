//! From the name in a request to the command.
//!
//! Owns: the list of families, and a hash table over all names.
//! Never knows: clients.
//! Invariant: finding a command allocates nothing and takes one probe nearly always.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{Command, Stop};
use crate::resp::Args;

/// The families; together they are the command table.
static FAMILIES: &[&[Command]] = &[
    super::string::COMMANDS,
    super::string_set::COMMANDS,
    super::counter::COMMANDS,
    super::bits::COMMANDS,
    super::bitfield::COMMANDS,
    super::lcs::COMMANDS,
    super::hyperloglog::COMMANDS,
    super::sort::COMMANDS,
    super::geo::COMMANDS,
    super::geo_search::COMMANDS,
    super::expiry::COMMANDS,
    super::keyspace::COMMANDS,
    super::copy::COMMANDS,
    super::dump::COMMANDS,
    super::scan::COMMANDS,
    super::session::COMMANDS,
    super::hash::COMMANDS,
    super::hash_read::COMMANDS,
    super::hash_expire::COMMANDS,
    super::set::COMMANDS,
    super::set_algebra::COMMANDS,
    super::zset::COMMANDS,
    super::zset_range::COMMANDS,
    super::zset_pop::COMMANDS,
    super::zset_algebra::COMMANDS,
    super::list::COMMANDS,
    super::list_read::COMMANDS,
    super::list_move::COMMANDS,
    super::transaction::COMMANDS,
    super::script::COMMANDS,
    super::pubsub::COMMANDS,
    super::connection::COMMANDS,
    super::client::COMMANDS,
    super::config::COMMANDS,
    super::describe::COMMANDS,
    super::server::COMMANDS,
    super::slow::COMMANDS,
    super::latency::COMMANDS,
    super::acl::COMMANDS,
    super::absent::COMMANDS,
    super::wait::COMMANDS,
    super::debug::COMMANDS,
];

/// All commands, in the order of their counters.
pub fn all() -> impl Iterator<Item = &'static Command> {
    FAMILIES.iter().copied().flatten()
}

/// Number of commands, subcommands apart.
pub fn count() -> usize {
    FAMILIES.iter().map(|family| family.len()).sum()
}

const SLOTS: usize = 1024;

struct Names {
    slots: Vec<Option<(usize, &'static Command)>>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut slots = vec![None; SLOTS];
    for (id, command) in all().enumerate() {
        let mut slot = slot_of(command.name.as_bytes());
        while slots[slot].is_some() {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = Some((id, command));
    }
    Names { slots }
});

/// FNV-1a over the lower-case name. Names are public, so nothing is gained by collisions.
fn slot_of(name: &[u8]) -> usize {
    let hash = name.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte | 0x20)).wrapping_mul(16_777_619)
    });
    (hash ^ (hash >> 15)) as usize % SLOTS
}

fn find(name: &[u8]) -> Option<(usize, &'static Command)> {
    let mut slot = slot_of(name);
    while let Some((id, command)) = NAMES.slots[slot] {
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some((id, command));
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// A command that was found.
#[derive(Clone, Copy, Debug)]
pub struct Resolved {
    /// Position of its counters; a subcommand has its container's.
    pub id: usize,
    /// The command or subcommand.
    pub command: &'static Command,
    /// Name of the command that it is a subcommand of, empty if it is none.
    pub container: &'static str,
}

/// Finds the command of a request and checks the number of its arguments.
///
/// # Errors
/// No such command or subcommand, or a wrong number of arguments, in Redis' words.
pub fn resolve(args: Args<'_>) -> Result<Resolved, Stop> {
    let Some((id, mut command)) = args.get(0).and_then(find) else {
        return Err(unknown(args));
    };
    let mut container = "";
    if let (false, Some(name)) = (command.subcommands.is_empty(), args.get(1)) {
        let help = std::iter::once(&super::describe::HELP);
        let mut subcommands = command.subcommands.iter().chain(help);
        let sub = subcommands.find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name));
        let Some(sub) = sub else { return Err(unknown_subcommand(command, name)) };
        container = command.name;
        command = sub;
    }
    if !command.accepts(args.len()) {
        let bar = if container.is_empty() { "" } else { "|" };
        return Err(Stop::Error(Cow::Owned(format!(
            "ERR wrong number of arguments for '{container}{bar}{}' command",
            command.name
        ))));
    }
    Ok(Resolved { id, command, container })
}

/// Longest part of a request that an error quotes.
const QUOTE_MAX: usize = 128;

fn quote(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTE_MAX)])
}

fn unknown(args: Args<'_>) -> Stop {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", quote(&args[0]));
    let limit = text.len() + QUOTE_MAX;
    for arg in args.iter().skip(1) {
        if text.len() >= limit {
            break;
        }
        text.push('\'');
        text.push_str(&quote(arg));
        text.push_str("' ");
    }
    Stop::Error(Cow::Owned(text))
}

fn unknown_subcommand(command: &Command, name: &[u8]) -> Stop {
    let container = command.name.to_ascii_uppercase();
    Stop::Error(Cow::Owned(format!(
        "ERR unknown subcommand '{}'. Try {container} HELP.",
        quote(name)
    )))
}
