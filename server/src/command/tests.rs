//! The command table against itself and against the documentation.

use std::collections::BTreeSet;

use super::*;
use crate::resp::OwnedArgs;

fn args(line: &str) -> OwnedArgs {
    let mut args = OwnedArgs::default();
    line.split(' ').for_each(|word| args.push(word.as_bytes()));
    args
}

#[test]
fn names_are_unique_lower_case_and_found_in_any_case() {
    let mut names = BTreeSet::new();
    for (id, command) in all().enumerate() {
        assert_eq!(command.name, command.name.to_ascii_lowercase());
        assert!(names.insert(command.name), "{} twice", command.name);
        let width = usize::from(command.arity.unsigned_abs()).max(1);
        let sub = command.subcommands.first().map_or("x", |sub| sub.name);
        let mut line = command.name.to_ascii_uppercase();
        let wanted =
            command.subcommands.first().map_or(width, |sub| usize::from(sub.arity.unsigned_abs()));
        (1..wanted).for_each(|n| line = format!("{line} {}", if n == 1 { sub } else { "x" }));
        let args = args(&line);
        let resolved = resolve(args.view()).unwrap_or_else(|stop| panic!("{line}: {stop:?}"));
        assert_eq!(resolved.id, id);
    }
    assert_eq!(names.len(), count());
}

#[test]
fn entries_make_sense() {
    let check = |command: &Command| {
        let name = command.name;
        let flags = command.flags;
        assert!(command.arity != 0, "{name}");
        assert!(command.summary.ends_with('.'), "{name}: {}", command.summary);
        assert!(!(flags.has(flag::WRITE) && flags.has(flag::READONLY)), "{name}");
        assert!(!flags.has(flag::DENYOOM) || flags.has(flag::WRITE), "{name}");
        if let Keys::Range { first, step, .. } = command.keys {
            let reads_or_writes = flags.has(flag::WRITE | flag::READONLY) || name == "watch";
            assert!(reads_or_writes, "{name} has keys");
            assert!(step > 0 && first < usize::from(command.arity.unsigned_abs()), "{name}");
        }
    };
    for command in all() {
        check(command);
        command.subcommands.iter().for_each(check);
        if !command.subcommands.is_empty() && command.name != "command" {
            assert_eq!(command.arity, -2, "{}", command.name);
        }
    }
}

#[test]
fn the_page_in_the_repository_is_the_table() {
    let page = include_str!("../../../docs/COMMANDS.md");
    assert!(
        page == reference(),
        "run: cargo run -p emberlog-server --example commands > docs/COMMANDS.md"
    );
}
