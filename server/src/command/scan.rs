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

/// Keys that one step asks for: some of them fit into a turn of the event loop.
const STEP: usize = 500;
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

/// Answers with the keys that were kept: as the running script has changed them, without those that it has
/// deleted and with those that it has made and that are wanted.
fn answer(cx: &mut Context<'_>, wanted: impl Fn(&[u8], u8) -> bool) {
    let Some(mut gathered) = take_gathered(cx) else { return };
    cx.observe(gathered.barrier);
    let kept = &mut gathered.kept;
    if kept.pieces().len() > 1 && !cx.queued && cx.overlay.is_none() {
        cx.reply.array(kept.len());
        cx.session.reply_pieces = kept.take_pieces();
        return;
    }
    let mut shown: Vec<&[u8]> = match &cx.overlay {
        None => kept.keys().collect(),
        Some(overlay) => {
            let db = cx.session.db;
            let keys = kept.keys().filter(|key| !matches!(overlay.get(db, key), Written::Absent));
            let made = overlay.made(db).filter(|(key, kind)| wanted(key, *kind));
            keys.chain(made.map(|(key, _)| key)).collect()
        }
    };
    // A few are easier to read in order.
    if kept.pieces().len() <= 1 {
        shown.sort_unstable();
    }
    cx.reply.array(shown.len());
    for key in shown {
        cx.reply.bulk(key);
    }
    // A transaction runs this once to see whether it needs more keys, and then again.
    cx.session.gathered.push(gathered);
}

fn take_gathered(cx: &mut Context<'_>) -> Option<Gathered> {
    let at = cx.session.gathered.iter().position(|gathered| gathered.slot == cx.slot)?;
    Some(cx.session.gathered.swap_remove(at))
}

fn scan(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let cursor = cursor(&args[1])?;
    let options = Options::parse(args.from(2))?;
    cx.shard()?;
    let count = usize::try_from(options.count.min(SCAN_MAX)).unwrap_or(1);
    let of_kind = |kind: u8| match options.kind {
        None => true,
        Some(name) => Kind::of_tag(kind).is_some_and(|kind| is(name, kind.name())),
    };
    let wanted = |key: &[u8], kind: u8| of_kind(kind) && glob::matches(options.pattern, key);
    let Some(gathered) = gathered(cx) else {
        return Err(ask(cx, What::Scan { cursor, count: count.min(STEP) }));
    };
    if gathered.keep(|key| wanted(&key.bytes, key.value_type)) {
        let (seen, answers) = gathered.seen;
        // An answer may be short, or empty.
        if gathered.next != 0 && seen < count && answers < count.div_ceil(STEP) {
            let (cursor, count) = (gathered.next, (count - seen).min(STEP));
            return Err(ask(cx, What::Scan { cursor, count }));
        }
    }
    let next = gathered.next;
    cx.reply.array(2);
    cx.reply.bulk(next.to_string().as_bytes());
    // What a script has made comes at the end.
    answer(cx, |key, kind| next == 0 && wanted(key, kind));
    Ok(())
}

fn keys(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    cx.shard()?;
    let Some(gathered) = gathered(cx) else {
        return Err(ask(cx, What::Scan { cursor: 0, count: STEP }));
    };
    // A scan may list a key twice while the store changes; what is kept is there once.
    if gathered.keep(|key| glob::matches(&args[1], &key.bytes)) && gathered.next != 0 {
        let cursor = gathered.next;
        return Err(ask(cx, What::Scan { cursor, count: STEP }));
    }
    answer(cx, |key, _| glob::matches(&args[1], key));
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
