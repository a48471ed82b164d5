//! COMMAND: the command table for clients.
//!
//! Owns: the shapes of COMMAND's replies.
//! Never knows: anything that is not in the table.
//! Invariant: everything shown is derived from the table, so it cannot disagree with it.

use super::lookup::{all, count, resolve};
use super::parse::is;
use super::table::flag::{LOADING, STALE, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::glob;
use crate::resp::Args;

const fn sub(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Server, "2.8.13", summary, run).flags(LOADING | STALE)
}

pub(super) static COMMANDS: &[Command] =
    &[Command::new("command", -1, Group::Server, "2.8.13", "Describes all commands.", |cx, _| {
        cx.reply.array(count());
        all().for_each(|command| info_of(cx, command, None));
        Ok(())
    })
    .flags(LOADING | STALE)
    .subcommands(SUBCOMMANDS)];

static SUBCOMMANDS: &[Command] = &[
    sub("count", 2, "Returns the number of commands.", |cx, _| {
        cx.reply.size(count());
        Ok(())
    }),
    sub("info", -2, "Describes commands.", info),
    sub("docs", -2, "Documents commands.", docs),
    sub("list", -2, "Lists the names of commands.", list),
    sub("getkeys", -3, "Returns the keys of a command.", getkeys),
    sub("getkeysandflags", -3, "Returns the keys of a command and their use.", getkeysandflags),
];

/// HELP of every command with subcommands.
pub(super) static HELP: Command = sub("help", 2, "Prints this help.", |cx, args| {
    let Some(command) = find(&args[0]) else { return Err(text::SYNTAX) };
    let name = command.name.to_ascii_uppercase();
    let subcommands = || command.subcommands.iter().chain(std::iter::once(&HELP));
    cx.reply.array(1 + 2 * subcommands().count());
    cx.reply.simple(&format!("{name} <subcommand> [<arg> ...]. Subcommands are:"));
    for sub in subcommands() {
        cx.reply.simple(&sub.name.to_ascii_uppercase());
        cx.reply.simple(&format!("    {}", sub.summary));
    }
    Ok(())
});

pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    all().find(|command| is(name, command.name))
}

fn info(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 2 {
        cx.reply.array(count());
        all().for_each(|command| info_of(cx, command, None));
        return Ok(());
    }
    cx.reply.array(args.len() - 2);
    for name in args.iter().skip(2) {
        let (container, sub) = match name.iter().position(|byte| *byte == b'|') {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        };
        let command = find(container);
        match (command, sub) {
            (Some(command), None) => info_of(cx, command, None),
            (Some(command), Some(sub)) => {
                match command.subcommands.iter().find(|other| is(sub, other.name)) {
                    Some(sub) => info_of(cx, sub, Some(command.name)),
                    None => cx.reply.null(),
                }
            }
            (None, _) => cx.reply.null(),
        }
    }
    Ok(())
}

fn full_name(command: &Command, container: Option<&str>) -> String {
    container.map_or(command.name.to_owned(), |container| format!("{container}|{}", command.name))
}

fn info_of(cx: &mut Context<'_>, command: &Command, container: Option<&str>) {
    let (first, last, step) = command.keys.legacy();
    let movable = matches!(
        command.keys,
        Keys::Counted { .. } | Keys::TargetAndCounted | Keys::Storing { .. }
    );
    let reply = &mut cx.reply;
    reply.array(10);
    reply.bulk(full_name(command, container).as_bytes());
    reply.integer(i64::from(command.arity));
    reply.set(command.flags.names().count() + usize::from(movable));
    command.flags.names().for_each(|name| reply.simple(name));
    if movable {
        reply.simple("movablekeys");
    }
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    reply.set(command.categories().count());
    command.categories().for_each(|name| reply.simple(name));
    // Tips.
    reply.set(0);
    key_specs(cx, command);
    cx.reply.array(command.subcommands.len());
    for sub in command.subcommands {
        info_of(cx, sub, Some(command.name));
    }
}

fn key_specs(cx: &mut Context<'_>, command: &Command) {
    let reply = &mut cx.reply;
    if command.keys == Keys::None {
        return reply.set(0);
    }
    reply.set(1);
    reply.map(3);
    reply.bulk(b"flags");
    let access = access(command);
    reply.set(access.len());
    for name in access {
        reply.simple(name);
    }
    let (kind, fields, begin) = match command.keys {
        Keys::Counted { at } => {
            let numbers = [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)];
            ("keynum", numbers, at)
        }
        Keys::Storing { .. } => ("range", [("lastkey", 0), ("keystep", 1), ("limit", 0)], 1),
        Keys::TargetAndCounted => {
            let numbers = [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)];
            ("keynum", numbers, 2)
        }
        Keys::Range { first, last, step } => {
            // Relative to the first key, unless counted from the end.
            let first_key = isize::try_from(first).unwrap_or(0);
            let last = if last < 0 { last } else { last - first_key };
            let step = isize::try_from(step).unwrap_or(1);
            ("range", [("lastkey", last), ("keystep", step), ("limit", 0)], first)
        }
        Keys::None => return,
    };
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.size(begin);
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields.len());
    for (name, number) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(i64::try_from(number).unwrap_or(0));
    }
}

fn docs(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let wanted = |command: &&Command| {
        args.len() == 2 || args.iter().skip(2).any(|name| is(name, command.name))
    };
    cx.reply.map(all().filter(|command| wanted(command)).count());
    for command in all().filter(|command| wanted(command)) {
        docs_of(cx, command, None);
    }
    Ok(())
}

fn docs_of(cx: &mut Context<'_>, command: &Command, container: Option<&str>) {
    let reply = &mut cx.reply;
    reply.bulk(full_name(command, container).as_bytes());
    let has_subcommands = !command.subcommands.is_empty();
    reply.map(3 + usize::from(has_subcommands));
    for (field, value) in
        [("summary", command.summary), ("since", command.since), ("group", command.group.name())]
    {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if has_subcommands {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        command.subcommands.iter().for_each(|sub| docs_of(cx, sub, Some(command.name)));
    }
}

/// Which commands COMMAND LIST names.
enum Filter<'a> {
    Pattern(&'a [u8]),
    Category(&'a [u8]),
    /// Those of a module, which there are none of.
    Module,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Filter<'a>, Stop> {
        match (args.get(2), args.get(3), args.get(4)) {
            (None, _, _) => Ok(Filter::Pattern(b"*")),
            (Some(filter), Some(by), Some(what)) if args.len() == 5 && is(filter, "filterby") => {
                match by {
                    by if is(by, "pattern") => Ok(Filter::Pattern(what)),
                    by if is(by, "aclcat") => Ok(Filter::Category(what)),
                    by if is(by, "module") => Ok(Filter::Module),
                    _ => Err(text::SYNTAX),
                }
            }
            _ => Err(text::SYNTAX),
        }
    }

    fn takes(&self, command: &Command, name: &str) -> bool {
        match self {
            Filter::Pattern(pattern) => glob::matches(pattern, name.as_bytes()),
            Filter::Category(wanted) => command
                .categories()
                .any(|category| category.strip_prefix('@').is_some_and(|c| is(wanted, c))),
            Filter::Module => false,
        }
    }
}

fn list(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let filter = Filter::parse(args)?;
    let mut names: Vec<String> = Vec::new();
    for command in all() {
        names.extend(filter.takes(command, command.name).then(|| command.name.to_owned()));
        for sub in command.subcommands {
            let name = full_name(sub, Some(command.name));
            names.extend(filter.takes(sub, &name).then_some(name));
        }
    }
    cx.reply.array(names.len());
    for name in &names {
        cx.reply.bulk(name.as_bytes());
    }
    Ok(())
}

/// The keys of the command that follows.
fn keys_of(args: Args<'_>) -> Result<(&'static Command, Vec<&[u8]>), Stop> {
    let request = args.from(2);
    let resolved = resolve(request).map_err(|_| Stop::error("ERR Invalid command specified"))?;
    let keys: Vec<&[u8]> = resolved.command.keys.of(request).collect();
    if keys.is_empty() {
        return Err(Stop::error("ERR The command has no key arguments"));
    }
    Ok((resolved.command, keys))
}

fn getkeys(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (_, keys) = keys_of(args)?;
    cx.reply.array(keys.len());
    for key in keys {
        cx.reply.bulk(key);
    }
    Ok(())
}

/// How a command uses its keys.
fn access(command: &Command) -> [&'static str; 2] {
    if command.flags.has(WRITE) { ["RW", "update"] } else { ["RO", "access"] }
}

fn getkeysandflags(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (command, keys) = keys_of(args)?;
    cx.reply.array(keys.len());
    for key in keys {
        cx.reply.array(2);
        cx.reply.bulk(key);
        cx.reply.set(2);
        for name in access(command) {
            cx.reply.simple(name);
        }
    }
    Ok(())
}
