//! The command reference as a page, `docs/COMMANDS.md`.
//!
//! Owns: its layout.
//! Never knows: anything that is not in the table.
//! Invariant: the page in the repository is what [`reference()`] writes; a test compares them.

use std::fmt::Write;

use super::lookup::all;
use super::{Command, Group, Keys};

const GROUPS: [Group; 14] = [
    Group::String,
    Group::Bitmap,
    Group::HyperLogLog,
    Group::Hash,
    Group::Set,
    Group::SortedSet,
    Group::Geo,
    Group::List,
    Group::Generic,
    Group::Transactions,
    Group::Pubsub,
    Group::Scripting,
    Group::Connection,
    Group::Server,
];

/// Writes the page.
pub fn reference() -> String {
    let mut page = String::from(
        "# Commands\n\n\
         Written by `cargo run -p emberlog-server --example commands` from the command table;\n\
         a test keeps it so. *Arity* counts the name; negative means at least so many. *Since* is the\n\
         version of Redis that had it first. *Keys* are positions of arguments; negative ones count\n\
         from the end. Commands behave as in Redis 7.0 unless their line or\n\
         [COMPATIBILITY.md](COMPATIBILITY.md) says otherwise.\n",
    );
    for group in GROUPS {
        let title = group.name();
        let _ = write!(
            page,
            "\n## {title}\n\n| command | arity | since | keys | flags | what it does |\n|---|--:|---|---|---|---|\n"
        );
        for command in all().filter(|command| command.group == group) {
            row(&mut page, command, "");
            for sub in command.subcommands {
                row(&mut page, sub, command.name);
            }
        }
    }
    page
}

fn row(page: &mut String, command: &Command, container: &str) {
    let name = format!("{container} {}", command.name).trim().to_ascii_uppercase();
    let flags: Vec<&str> = command.flags.names().collect();
    let _ = writeln!(
        page,
        "| `{name}` | {} | {} | {} | {} | {} |",
        command.arity,
        command.since,
        positions(command.keys),
        flags.join(" "),
        command.summary
    );
}

/// Where the keys are, for people.
fn positions(keys: Keys) -> String {
    match keys {
        Keys::None => String::new(),
        Keys::Range { first, last, .. } if usize::try_from(last) == Ok(first) => first.to_string(),
        Keys::Range { first, last, step: 1 } => format!("{first} to {last}"),
        Keys::Range { first, last, step } => format!("{first} to {last}, every {step}"),
        Keys::Counted { at } => format!("as many as {at} says, from {}", at + 1),
        Keys::TargetAndCounted => "1, and as many as 2 says, from 3".to_owned(),
        Keys::Storing { words, .. } => {
            format!(
                "1, and what follows {}",
                words.join(" or ").to_uppercase().replace(" OR ", " or ")
            )
        }
    }
}
