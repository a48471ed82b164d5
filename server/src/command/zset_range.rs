//! Sorted set commands on ranges: ZRANGE and its relatives, counting, removing.
//!
//! Owns: their options.
//! Never knows: the layout (see `value::zset`), what bounds mean (see `zset_bounds`).
//! Invariant: all arguments are checked before the key is looked at.

use super::collection::{replace, shrink};
use super::parse::is;
use super::table::flag::{DENYOOM, FAST, READONLY, TIMED, WRITE};
use super::zset::{encoded, find, read, view};
use super::zset_bounds::{Bounds, By, Limit, walk_lex};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::resp::{Args, Proto};
use crate::value::Kind;
use crate::value::zset::Entry;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::SortedSet, since, summary, handler)
        .keys(Keys::ONE)
        .flags(READONLY | TIMED)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("zrange", -4, "1.2.0", "Returns a range of a sorted set.", |cx, args| {
        show(cx, args, None, None)
    }),
    entry("zrevrange", -4, "1.2.0", "As ZRANGE by rank, in reverse order.", |cx, args| {
        show(cx, args, Some(By::Rank), Some(true))
    }),
    entry("zrangebyscore", -4, "1.0.5", "As ZRANGE by score.", |cx, args| {
        show(cx, args, Some(By::Score), Some(false))
    }),
    entry("zrevrangebyscore", -4, "2.2.0", "As ZRANGE by score, in reverse order.", |cx, args| {
        show(cx, args, Some(By::Score), Some(true))
    }),
    entry("zrangebylex", -4, "2.8.9", "As ZRANGE by member.", |cx, args| {
        show(cx, args, Some(By::Lex), Some(false))
    }),
    entry("zrevrangebylex", -4, "2.8.9", "As ZRANGE by member, in reverse order.", |cx, args| {
        show(cx, args, Some(By::Lex), Some(true))
    }),
    entry("zrangestore", -5, "6.2.0", "Stores a range of a sorted set.", zrangestore)
        .keys(Keys::Range { first: 1, last: 2, step: 1 })
        .flags(WRITE | DENYOOM | TIMED),
    entry("zcount", 4, "2.0.0", "Counts the members in a range of scores.", |cx, args| {
        count(cx, args, By::Score)
    })
    .flags(READONLY | FAST),
    entry("zlexcount", 4, "2.8.9", "Counts the members in a range of members.", |cx, args| {
        count(cx, args, By::Lex)
    })
    .flags(READONLY | FAST),
    entry("zremrangebyrank", 4, "2.0.0", "Removes a range by rank.", |cx, args| {
        remove(cx, args, By::Rank, "zremrangebyrank")
    })
    .flags(WRITE | TIMED),
    entry("zremrangebyscore", 4, "1.2.0", "Removes a range by score.", |cx, args| {
        remove(cx, args, By::Score, "zremrangebyscore")
    })
    .flags(WRITE | TIMED),
    entry("zremrangebylex", 4, "2.8.9", "Removes a range by member.", |cx, args| {
        remove(cx, args, By::Lex, "zremrangebylex")
    })
    .flags(WRITE | TIMED),
];

/// What a command of the ZRANGE family asks for.
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    limit: Limit,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads `min max [options]`. `by` and `reverse` are given where the command's name says so.
    fn parse(
        args: Args<'a>,
        by: Option<By>,
        reverse: Option<bool>,
        stores: bool,
    ) -> Result<Query<'a>, Stop> {
        let (mut chosen, mut backwards, mut limit, mut with_scores) =
            (by, reverse, Limit::NONE, false);
        let mut at = 2;
        while let Some(word) = args.get(at) {
            at += 1;
            match word {
                word if !stores && is(word, "withscores") => with_scores = true,
                word if is(word, "limit") && args.len() > at + 1 => {
                    limit = Limit::parse(&args[at], &args[at + 1])?;
                    at += 2;
                }
                word if backwards.is_none() && is(word, "rev") => backwards = Some(true),
                word if chosen.is_none() && is(word, "bylex") => chosen = Some(By::Lex),
                word if chosen.is_none() && is(word, "byscore") => chosen = Some(By::Score),
                _ => return Err(text::SYNTAX),
            }
        }
        let (by, reverse) = (chosen.unwrap_or(By::Rank), backwards.unwrap_or(false));
        if limit.count != -1 && by == By::Rank {
            return Err(Stop::error(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(Stop::error(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        // In reverse, the higher bound comes first.
        let swapped = reverse && by != By::Rank;
        let (min, max) = if swapped { (1, 0) } else { (0, 1) };
        let bounds = Bounds::parse(by, args.at(min), args.at(max))?;
        let limit = if by == By::Rank { Limit::NONE } else { limit };
        Ok(Query { bounds, reverse, limit, with_scores })
    }

    /// The selected entries in the order asked for.
    fn select<'b>(&self, entries: &[Entry<'b>]) -> Vec<Entry<'b>> {
        if let Bounds::Lex(min, max) = self.bounds {
            return walk_lex(entries, (min, max), self.reverse, self.limit);
        }
        let mut selected = entries[self.bounds.within(entries, self.reverse)].to_vec();
        if self.reverse {
            selected.reverse();
        }
        self.limit.of(selected)
    }
}

/// Writes members, with scores if asked for: pairs in RESP3, one after the other in RESP2.
pub(super) fn reply_entries(cx: &mut Context<'_>, entries: &[Entry<'_>], with_scores: bool) {
    let nested = with_scores && cx.reply.proto() == Proto::Resp3;
    cx.reply.array(entries.len() * if with_scores && !nested { 2 } else { 1 });
    for (score, member) in entries {
        if nested {
            cx.reply.array(2);
        }
        cx.reply.bulk(member);
        if with_scores {
            cx.reply.double(*score);
        }
    }
}

fn show(cx: &mut Context<'_>, args: Args<'_>, by: Option<By>, reverse: Option<bool>) -> Outcome {
    let query = Query::parse(args.from(2), by, reverse, false)?;
    let found = read(cx, args)?;
    let entries: Vec<Entry<'_>> = view(found.as_ref())?.entries().collect();
    reply_entries(cx, &query.select(&entries), query.with_scores);
    Ok(())
}

fn zrangestore(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let query = Query::parse(args.from(3), None, None, true)?;
    let target = cx.key(&args[1])?;
    let found = read(cx, args.from(1))?;
    let entries: Vec<Entry<'_>> = view(found.as_ref())?.entries().collect();
    let mut selected = query.select(&entries);
    if query.reverse {
        selected.reverse();
    }
    replace(cx, &target, Kind::ZSet, encoded(&selected).as_deref(), "zrangestore")?;
    cx.reply.size(selected.len());
    Ok(())
}

fn count(cx: &mut Context<'_>, args: Args<'_>, by: By) -> Outcome {
    let bounds = Bounds::parse(by, args.at(2), args.at(3))?;
    let found = read(cx, args)?;
    let entries: Vec<Entry<'_>> = view(found.as_ref())?.entries().collect();
    cx.reply.size(bounds.within(&entries, false).len());
    Ok(())
}

fn remove(cx: &mut Context<'_>, args: Args<'_>, by: By, event: &str) -> Outcome {
    let bounds = Bounds::parse(by, args.at(2), args.at(3))?;
    let (key, found) = find(cx, args)?;
    let mut entries: Vec<Entry<'_>> = view(found.as_ref())?.entries().collect();
    let removed = entries.drain(bounds.within(&entries, false)).len();
    if removed > 0 {
        shrink(cx, &key, Kind::ZSet, encoded(&entries).as_deref(), found.as_ref(), event)?;
    }
    cx.reply.size(removed);
    Ok(())
}
