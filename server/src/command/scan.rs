//! Commands that list keys: SCAN, KEYS, RANDOMKEY.
//!
//! Owns: their options and replies.
//! Never knows: how the shard walks its keys.
//! Invariant: they ask for keys, wait, and run again with the answer; others are served meanwhile.

use super::overlay::Written;
use super::parse::{integer, is};
use super::table::flag::{DANGEROUS, GATHERS, READONLY, TIMED};
use super::{Command, Context, Group, Outcome, Stop, text};
use crate::glob;
use crate::resp::Args;
use crate::serve::gather::{Gathered, Request, What};
use crate::value::Kind;

pub(super) static COMMANDS: &[Command] = &[
    entry("scan", -2, "2.8.0", "Lists keys, some at a time.", scan).flags(READONLY | GATHERS),
    entry("keys", 2, "1.0.0", "Lists all keys that match a pattern.", keys)
        .flags(READONLY | GATHERS | DANGEROUS | TIMED),
    entry("randomkey", 1, "1.0.0", "Returns a key at random.", random).flags(READONLY | GATHERS),
];

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Generic, since, summary, handler)
}

/// Keys that one step of KEYS asks for.
const KEYS_STEP: usize = 1_000;
/// Most keys that one SCAN lists; its COUNT is a hint.
const SCAN_MAX: i64 = 100_000;

/// The answers to the running command.
fn gathered<'a>(cx: &'a mut Context<'_>) -> Option<&'a mut Gathered> {
    let slot = cx.slot;
    cx.session.gathered.iter_mut().find(|gathered| gathered.slot == slot)
}

/// The request of the running command for `what`.
fn ask(cx: &Context<'_>, what: What) -> Stop {
    Stop::Gather(Request { db: cx.session.db, slot: cx.slot, what })
}

/// Options of SCAN.
pub(super) struct Options<'a> {
    pub(super) pattern: &'a [u8],
    pub(super) count: i64,
    pub(super) kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    pub(super) fn parse(args: Args<'a>) -> Result<Options<'a>, Stop> {
        let mut options = Options { pattern: b"*", count: 10, kind: None };
        for position in (0..args.len()).step_by(2) {
            let value = args.get(position + 1).ok_or(text::SYNTAX)?;
            match args.at(position) {
                word if is(word, "match") => options.pattern = value,
                word if is(word, "count") => {
                    options.count = integer(value)?;
                    if options.count < 1 {
                        return Err(text::SYNTAX);
                    }
                }
                word if is(word, "type") => options.kind = Some(value),
                _ => return Err(text::SYNTAX),
            }
        }
        Ok(options)
    }
}

/// Reads a cursor, with a sign if it has one, as Redis does: nothing at all is 0.
pub(super) fn cursor(arg: &[u8]) -> Result<u64, Stop> {
    let (negative, digits) = match arg {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let plain = digits.iter().all(u8::is_ascii_digit);
    let cursor: Option<u64> = match std::str::from_utf8(digits) {
        Ok("") if arg.is_empty() => Some(0),
        Ok(digits) if plain => digits.parse().ok(),
        _ => None,
    };
    let cursor = cursor.ok_or(Stop::error("ERR invalid cursor"))?;
    Ok(if negative { cursor.wrapping_neg() } else { cursor })
}

/// The keys that were listed, as the running script has changed them: without those that it has
/// deleted, and with those that it has made and that are wanted.
fn as_written(
    cx: &Context<'_>,
    mut keys: Vec<Vec<u8>>,
    wanted: impl Fn(&[u8], u8) -> bool,
) -> Vec<Vec<u8>> {
    if let Some(overlay) = &cx.overlay {
        let db = cx.session.db;
        keys.retain(|key| !matches!(overlay.get(db, key), Written::Absent));
        let made = overlay.made(db).filter(|(key, kind)| wanted(key, *kind));
        keys.extend(made.map(|(key, _)| key.to_vec()));
    }
    keys
}

fn scan(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let cursor = cursor(&args[1])?;
    let options = Options::parse(args.from(2))?;
    cx.shard()?;
    let count = usize::try_from(options.count.min(SCAN_MAX)).unwrap_or(1);
    let Some(Gathered { fresh: Some(fresh), .. }) = gathered(cx) else {
        return Err(ask(cx, What::Scan { cursor, count }));
    };
    let wanted = |kind: u8| match options.kind {
        None => true,
        Some(name) => Kind::of_tag(kind).is_some_and(|kind| is(name, kind.name())),
    };
    let matching: Vec<_> = fresh
        .keys
        .iter()
        .filter(|key| wanted(key.value_type) && glob::matches(options.pattern, &key.bytes))
        .map(|key| key.bytes.to_vec())
        .collect();
    let (next, barrier) = (fresh.next.to_string(), fresh.barrier);
    let matching = match next.as_str() {
        "0" => as_written(cx, matching, |key, kind| {
            wanted(kind) && glob::matches(options.pattern, key)
        }),
        _ => as_written(cx, matching, |_, _| false),
    };
    cx.observe(barrier);
    cx.reply.array(2);
    cx.reply.bulk(next.as_bytes());
    cx.reply.array(matching.len());
    for key in &matching {
        cx.reply.bulk(key);
    }
    Ok(())
}

fn keys(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    cx.shard()?;
    let Some(gathered) = gathered(cx) else {
        return Err(ask(cx, What::Scan { cursor: 0, count: KEYS_STEP }));
    };
    if let Some(fresh) = gathered.fresh.take() {
        let matching = fresh.keys.iter().filter(|key| glob::matches(&args[1], &key.bytes));
        gathered.kept.extend(matching.map(|key| key.bytes.to_vec()));
        gathered.barrier = gathered.barrier.max(fresh.barrier);
        gathered.done = fresh.next == 0;
        if !gathered.done {
            let cursor = fresh.next;
            return Err(ask(cx, What::Scan { cursor, count: KEYS_STEP }));
        }
        // A scan may list a key twice while the store changes; KEYS does not.
        gathered.kept.sort_unstable();
        gathered.kept.dedup();
    }
    let (kept, barrier) = (std::mem::take(&mut gathered.kept), gathered.barrier);
    cx.observe(barrier);
    let shown = as_written(cx, kept.clone(), |key, _| glob::matches(&args[1], key));
    cx.reply.array(shown.len());
    for key in &shown {
        cx.reply.bulk(key);
    }
    // A transaction runs this once to see whether it needs more keys, and then again.
    if let Some(gathered) = self::gathered(cx) {
        gathered.kept = kept;
    }
    Ok(())
}

fn random(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    cx.shard()?;
    let Some(Gathered { fresh: Some(fresh), .. }) = gathered(cx) else {
        return Err(ask(cx, What::Random));
    };
    let (first, barrier) = (fresh.keys.first().map(|key| key.bytes.clone()), fresh.barrier);
    cx.observe(barrier);
    match first {
        Some(key) => cx.reply.bulk(&key),
        None => cx.reply.null(),
    }
    Ok(())
}
