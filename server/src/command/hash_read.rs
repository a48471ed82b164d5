//! Hash commands that read.
//!
//! Owns: nothing but these handlers.
//! Never knows: the layout (see `value::hash`).
//! Invariant: a reply is never longer than the output limit allows, whatever count is asked for.

use emberlog_engine::Found;

use super::collection::{pick, scan_pattern};
use super::hash::{find, view};
use super::parse::is;
use super::table::flag::{FAST, READONLY, TIMED};
use super::zset_pop::random_options;
use super::{Command, Context, Group, Keys, Outcome, Stop, scan};
use crate::glob;
use crate::resp::{Args, Proto};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Hash, since, summary, handler).keys(Keys::ONE)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("hget", 3, "2.0.0", "Returns the value of a field.", hget).flags(READONLY | FAST),
    entry("hmget", -3, "2.0.0", "Returns the values of fields.", hmget).flags(READONLY | FAST),
    entry("hgetall", 2, "2.0.0", "Returns all fields and their values.", hgetall)
        .flags(READONLY | TIMED),
    entry("hkeys", 2, "2.0.0", "Returns all fields.", |cx, args| {
        list(cx, args, |(field, _)| field)
    })
    .flags(READONLY | TIMED),
    entry("hvals", 2, "2.0.0", "Returns the values of all fields.", |cx, args| {
        list(cx, args, |(_, value)| value)
    })
    .flags(READONLY | TIMED),
    entry("hlen", 2, "2.0.0", "Returns the number of fields.", hlen).flags(READONLY | FAST),
    entry("hexists", 3, "2.0.0", "Tells whether a field exists.", hexists).flags(READONLY | FAST),
    entry("hstrlen", 3, "3.2.0", "Returns the length of the value of a field.", hstrlen)
        .flags(READONLY | FAST),
    entry("hscan", -3, "2.8.0", "Lists fields and their values.", hscan).flags(READONLY | TIMED),
    entry("hrandfield", -2, "6.2.0", "Returns fields at random.", hrandfield)
        .flags(READONLY | TIMED),
];

fn found(cx: &mut Context<'_>, args: Args<'_>) -> Result<Option<Found>, Stop> {
    let (_, found) = find(cx, args)?;
    cx.count_read(found.is_some());
    Ok(found)
}

fn reply_value(cx: &mut Context<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => cx.reply.bulk(value),
        None => cx.reply.null(),
    }
}

fn hget(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = found(cx, args)?;
    reply_value(cx, view(cx, found.as_ref())?.get(&args[2]));
    Ok(())
}

fn hmget(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = found(cx, args)?;
    let hash = view(cx, found.as_ref())?;
    cx.reply.array(args.len() - 2);
    if args.len() > 16 {
        let index: std::collections::HashMap<_, _> = hash.pairs().collect();
        args.iter().skip(2).for_each(|field| reply_value(cx, index.get(field).copied()));
    } else {
        args.iter().skip(2).for_each(|field| reply_value(cx, hash.get(field)));
    }
    Ok(())
}

fn hgetall(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = found(cx, args)?;
    let hash = view(cx, found.as_ref())?;
    cx.reply.map(hash.len());
    for (field, value) in hash.pairs() {
        cx.reply.bulk(field);
        cx.reply.bulk(value);
    }
    Ok(())
}

/// A field and its value.
type Pair<'a> = (&'a [u8], &'a [u8]);
type Pick = for<'a> fn(Pair<'a>) -> &'a [u8];

fn list(cx: &mut Context<'_>, args: Args<'_>, pick: Pick) -> Outcome {
    let found = found(cx, args)?;
    let hash = view(cx, found.as_ref())?;
    cx.reply.array(hash.len());
    hash.pairs().for_each(|pair| cx.reply.bulk(pick(pair)));
    Ok(())
}

fn hlen(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = found(cx, args)?;
    cx.reply.size(view(cx, found.as_ref())?.len());
    Ok(())
}

fn hexists(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = found(cx, args)?;
    let exists = view(cx, found.as_ref())?.get(&args[2]).is_some();
    cx.reply.integer(i64::from(exists));
    Ok(())
}

fn hstrlen(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = found(cx, args)?;
    cx.reply.size(view(cx, found.as_ref())?.get(&args[2]).map_or(0, <[u8]>::len));
    Ok(())
}

fn hscan(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    scan::cursor(&args[2])?;
    let found = found(cx, args)?;
    let (mut pattern, mut no_values): (&[u8], bool) = (b"*", false);
    if found.is_some() {
        let mut options = args.from(3);
        let last = options.len().checked_sub(1).and_then(|last| options.get(last));
        no_values = !options.len().is_multiple_of(2) && last.is_some_and(|w| is(w, "novalues"));
        if no_values {
            options = options.first(options.len() - 1);
        }
        pattern = scan_pattern(options)?;
    }
    let pairs: Vec<_> = view(cx, found.as_ref())?
        .pairs()
        .filter(|(field, _)| glob::matches(pattern, field))
        .collect();
    cx.reply.array(2);
    cx.reply.bulk(b"0");
    cx.reply.array(if no_values { pairs.len() } else { pairs.len() * 2 });
    for (field, value) in pairs {
        cx.reply.bulk(field);
        if !no_values {
            cx.reply.bulk(value);
        }
    }
    Ok(())
}

fn hrandfield(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (count, with_values) = random_options(args, "withvalues")?;
    let found = found(cx, args)?;
    let pairs: Vec<Pair<'_>> = view(cx, found.as_ref())?.pairs().collect();
    let Some(count) = count else {
        let picked = pick(cx, pairs, -1, 0)?;
        reply_value(cx, picked.first().map(|(field, _)| *field));
        return Ok(());
    };
    let longest = pairs.iter().map(|(field, value)| field.len() + value.len()).max().unwrap_or(0);
    let picked = pick(cx, pairs, count, longest)?;
    let nested = with_values && cx.reply.proto() == Proto::Resp3;
    cx.reply.array(picked.len() * if with_values && !nested { 2 } else { 1 });
    for (field, value) in picked {
        if nested {
            cx.reply.array(2);
        }
        cx.reply.bulk(field);
        if with_values {
            cx.reply.bulk(value);
        }
    }
    Ok(())
}
