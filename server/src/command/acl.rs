//! ACL, as far as one user can have it: who that is, and what commands there are.
//!
//! Owns: how the only user is described.
//! Never knows: passwords; see `requirepass`.
//! Invariant: nothing here changes who may do what.

use super::lookup::{all, resolve};
use super::parse::{error, integer, is};
use super::table::flag::{ADMIN, DANGEROUS, LOADING, NOSCRIPT, STALE};
use super::{Command, Context, Group, Outcome, Stop};
use crate::resp::Args;

const fn sub(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Server, "6.0.0", summary, run)
        .flags(NOSCRIPT | LOADING | STALE)
}

const OPERATOR: u32 = ADMIN | DANGEROUS | NOSCRIPT | LOADING | STALE;

pub(super) static COMMANDS: &[Command] =
    &[sub("acl", -2, "About the only user, default.", super::container).subcommands(SUBCOMMANDS)];

static SUBCOMMANDS: &[Command] = &[
    sub("whoami", 2, "Returns the name of the user.", |cx, _| {
        cx.reply.bulk(b"default");
        Ok(())
    }),
    sub("users", 2, "Lists the names of users.", |cx, _| {
        cx.reply.array(1);
        cx.reply.bulk(b"default");
        Ok(())
    })
    .flags(OPERATOR),
    sub("list", 2, "Describes users; passwords are not shown.", |cx, _| {
        let line = format!("user default on{} sanitize-payload ~* &* +@all", no_password(cx));
        cx.reply.array(1);
        cx.reply.bulk(line.as_bytes());
        Ok(())
    })
    .flags(OPERATOR),
    sub("getuser", 3, "Describes a user; passwords are not shown.", getuser).flags(OPERATOR),
    sub("cat", -2, "Lists categories of commands, or the commands of one.", cat),
    sub("genpass", -2, "Returns random hexadecimal digits.", genpass),
    sub("dryrun", -4, "Tells whether a user may run a command.", dryrun).flags(OPERATOR),
    sub("log", -2, "Lists refused commands: none.", log).flags(OPERATOR),
    sub("setuser", -3, "Refused: there is one user.", refused).flags(OPERATOR),
    sub("deluser", -3, "Refused: there is one user.", deluser).flags(OPERATOR),
    sub("load", 2, "Refused: there is one user.", refused).flags(OPERATOR),
    sub("save", 2, "Refused: there is one user.", refused).flags(OPERATOR),
];

fn no_password(cx: &Context<'_>) -> &'static str {
    if cx.state.config.requirepass.is_empty() { " nopass" } else { "" }
}

fn getuser(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if &args[2] != b"default" {
        cx.reply.null();
        return Ok(());
    }
    let free = !no_password(cx).is_empty();
    let reply = &mut cx.reply;
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(1 + usize::from(free));
    reply.bulk(b"on");
    if free {
        reply.bulk(b"nopass");
    }
    reply.bulk(b"passwords");
    reply.array(0);
    for (field, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
    Ok(())
}

/// Categories in the order of Redis.
const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

fn cat(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let Some(wanted) = args.get(2) else {
        cx.reply.array(CATEGORIES.len());
        for name in CATEGORIES {
            cx.reply.bulk(name.as_bytes());
        }
        return Ok(());
    };
    let Some(category) = CATEGORIES.iter().find(|name| is(wanted, name)) else {
        let wanted = String::from_utf8_lossy(&wanted[..wanted.len().min(128)]);
        return Err(error(format!("ERR Unknown category '{wanted}'")));
    };
    let belongs = |command: &Command| {
        command.categories().any(|name| name.strip_prefix('@') == Some(*category))
    };
    let mut names = Vec::new();
    for command in all() {
        if belongs(command) {
            names.push(command.name.to_owned());
        }
        let subcommands = command.subcommands.iter().filter(|sub| belongs(sub));
        names.extend(subcommands.map(|sub| format!("{}|{}", command.name, sub.name)));
    }
    cx.reply.array(names.len());
    for name in &names {
        cx.reply.bulk(name.as_bytes());
    }
    Ok(())
}

fn genpass(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    const RANGE: Stop = Stop::error(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive \
         number up to 4096",
    );
    let bits = match args.get(2) {
        None => 256,
        Some(bits) => integer(bits)?,
    };
    let bits = usize::try_from(bits).ok().filter(|bits| (1..=4096).contains(bits)).ok_or(RANGE)?;
    let digits = bits.div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    getrandom::fill(&mut bytes)
        .map_err(|_| Stop::error("ERR the operating system has no randomness"))?;
    cx.reply.bulk(&crate::process::hex(&bytes).as_bytes()[..digits]);
    Ok(())
}

fn dryrun(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let quote = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned();
    if &args[2] != b"default" {
        return Err(error(format!("ERR User '{}' not found", quote(&args[2]))));
    }
    if super::describe::find(&args[3]).is_none() {
        return Err(error(format!("ERR Command '{}' not found", quote(&args[3]))));
    }
    resolve(args.from(3))?;
    cx.reply.ok();
    Ok(())
}

fn log(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match args.get(2) {
        Some(word) if is(word, "reset") => cx.reply.ok(),
        Some(count) => {
            integer(count)?;
            cx.reply.array(0);
        }
        None => cx.reply.array(0),
    }
    Ok(())
}

const ONE_USER: Stop =
    Stop::error("ERR there is one user, default; its password is the setting requirepass");

fn refused(_cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    Err(ONE_USER)
}

fn deluser(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.iter().skip(2).any(|name| name == b"default") {
        return Err(Stop::error("ERR The 'default' user cannot be removed"));
    }
    cx.reply.integer(0);
    Ok(())
}
