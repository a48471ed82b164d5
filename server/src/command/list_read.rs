//! List commands that read.
//!
//! Owns: nothing but these handlers.
//! Never knows: the layout (see `value::list`).
//! Invariant: none of them changes anything.

use emberlog_engine::Found;

use super::collection::{bulks, ranged, span};
use super::list::{find, peek, position, view};
use super::parse::{integer, is};
use super::table::flag::{FAST, READONLY, TIMED};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::resp::Args;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::List, since, summary, handler)
        .keys(Keys::ONE)
        .flags(READONLY | TIMED)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("llen", 2, "1.0.0", "Returns the number of elements of a list.", llen)
        .flags(READONLY | FAST),
    entry("lrange", 4, "1.0.0", "Returns a range of a list.", lrange),
    entry("lindex", 3, "1.0.0", "Returns an element of a list.", lindex),
    entry("lpos", -3, "6.0.6", "Returns where elements equal to a value are.", lpos),
];

fn read(cx: &mut Context<'_>, args: Args<'_>) -> Result<Option<Found>, Stop> {
    let (_, found) = find(cx, args)?;
    cx.count_read(found.is_some());
    Ok(found)
}

fn llen(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    cx.reply.size(peek(found.as_ref())?.len());
    Ok(())
}

fn lrange(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let found = read(cx, args)?;
    let list = view(found.as_ref())?;
    let range = span(start, stop, list.len()).unwrap_or(0..0);
    cx.reply.array(range.len());
    bulks(cx, list.items().skip(range.start).take(range.len()));
    Ok(())
}

fn lindex(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    if found.is_none() {
        cx.reply.null();
        return Ok(());
    }
    let index = integer(&args[2])?;
    let list = view(found.as_ref())?;
    match position(index, list.len()).and_then(|at| list.items().nth(at)) {
        Some(item) => cx.reply.bulk(item),
        None => cx.reply.null(),
    }
    Ok(())
}

/// Options of LPOS.
struct Find {
    /// Which of the matches is the first wanted, negative ones from the end.
    rank: i64,
    /// How many are wanted; none: one, and not as an array.
    count: Option<usize>,
    /// How many elements are compared at most.
    most: usize,
}

impl Find {
    fn parse(args: Args<'_>) -> Result<Find, Stop> {
        let number = |arg, text| {
            let number = ranged(arg, 0, i64::MAX, Some(text))?;
            Ok(usize::try_from(number).ok().filter(|n| *n > 0).unwrap_or(usize::MAX))
        };
        let mut find = Find { rank: 1, count: None, most: usize::MAX };
        for at in (0..args.len()).step_by(2) {
            let value = args.get(at + 1).ok_or(text::SYNTAX)?;
            match &args[at] {
                word if is(word, "rank") => {
                    find.rank = ranged(value, -i64::MAX, i64::MAX, None)?;
                    if find.rank == 0 {
                        return Err(Stop::error(
                            "ERR RANK can't be zero: use 1 to start from the first match, 2 from \
                             the second ... or use negative to start from the end of the list",
                        ));
                    }
                }
                word if is(word, "count") => {
                    find.count = Some(number(value, "ERR COUNT can't be negative")?);
                }
                word if is(word, "maxlen") => {
                    find.most = number(value, "ERR MAXLEN can't be negative")?;
                }
                _ => return Err(text::SYNTAX),
            }
        }
        Ok(find)
    }

    /// Where `element` is among `items`.
    fn among(&self, items: &[&[u8]], element: &[u8]) -> Vec<usize> {
        let skip = usize::try_from(self.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let wanted = self.count.unwrap_or(1);
        let matches = |at: &usize| items[*at] == element;
        let all = 0..items.len();
        if self.rank > 0 {
            all.take(self.most).filter(matches).skip(skip).take(wanted).collect()
        } else {
            all.rev().take(self.most).filter(matches).skip(skip).take(wanted).collect()
        }
    }
}

fn lpos(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let wanted = Find::parse(args.from(3))?;
    let found = read(cx, args)?;
    let items: Vec<&[u8]> = view(found.as_ref())?.items().collect();
    let places = wanted.among(&items, &args[2]);
    if wanted.count.is_some() {
        cx.reply.array(places.len());
        for at in places {
            cx.reply.size(at);
        }
    } else if let Some(at) = places.first() {
        cx.reply.size(*at);
    } else {
        cx.reply.null();
    }
    Ok(())
}
