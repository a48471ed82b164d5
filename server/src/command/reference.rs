//! The command reference as a page, `docs/COMMANDS.md`.
//!
//! Owns: its layout.
//! Never knows: anything that is not in the table.
//! Invariant: the page in the repository is what [`reference()`] writes; a test compares them.

use std::fmt::Write;

use super::lookup::all;
use super::{Command, Group};

const GROUPS: [Group; 11] = [
    Group::String,
    Group::Hash,
    Group::Set,
    Group::SortedSet,
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
         a test keeps it so. *Arity* counts the name; negative means at least so many. Commands\n\
         behave as in Redis 7.2 unless their line says otherwise.\n",
    );
    for group in GROUPS {
        let title = group.name();
        let _ = write!(
            page,
            "\n## {title}\n\n| command | arity | flags | what it does |\n|---|--:|---|---|\n"
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
        "| `{name}` | {} | {} | {} |",
        command.arity,
        flags.join(" "),
        command.summary
    );
}
