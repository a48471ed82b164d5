//! Set commands on one set: members in, members out, members at random.
//!
//! Owns: editing a set value, which is one record, as a whole.
//! Never knows: the layout (see `value::set`).
//! Invariant: a set without members does not exist.

use emberlog_engine::{Found, Key};

use super::collection::{self, bulks, pick, positive, ranged, rewrite, shrink, shuffle};
use super::table::flag::{DENYOOM, FAST, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, scan, text};
use crate::glob;
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;
use crate::value::set::{Set, encode};

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Set, since, summary, handler).keys(Keys::ONE)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("sadd", -3, "1.0.0", "Adds members to a set.", sadd).flags(WRITE | DENYOOM | FAST),
    entry("srem", -3, "1.0.0", "Removes members from a set.", srem).flags(WRITE | FAST),
    entry("smembers", 2, "1.0.0", "Returns all members of a set.", smembers)
        .flags(READONLY | TIMED),
    entry("sismember", 3, "1.0.0", "Tells whether something is a member of a set.", sismember)
        .flags(READONLY | FAST),
    entry("smismember", -3, "6.2.0", "Tells which of several are members of a set.", smismember)
        .flags(READONLY | FAST),
    entry("scard", 2, "1.0.0", "Returns the number of members of a set.", scard)
        .flags(READONLY | FAST),
    entry("spop", -2, "1.0.0", "Removes and returns members of a set at random.", spop)
        .flags(WRITE | FAST),
    entry("srandmember", -2, "1.0.0", "Returns members of a set at random.", srandmember)
        .flags(READONLY | TIMED),
    entry("smove", 4, "1.0.0", "Moves a member from one set to another.", smove)
        .flags(WRITE | FAST)
        .keys(Keys::Range { first: 1, last: 2, step: 1 }),
    entry("sscan", -3, "2.8.0", "Lists the members of a set.", sscan).flags(READONLY | TIMED),
];

/// The set in `found`, or the empty one.
pub(super) fn view(found: Option<&Found>) -> Result<Set<'_>, Stop> {
    found.map_or(Ok(Set::EMPTY), |found| Set::parse(&found.value).map_err(|_| text::MALFORMED))
}

/// The set at the first argument.
fn find<'a>(cx: &mut Context<'_>, args: Args<'a>) -> Result<(Key<'a>, Option<Found>), Stop> {
    let key = cx.key(args.at(1))?;
    let found = cx.find_kind(&key, Kind::Set)?;
    Ok((key, found))
}

fn read(cx: &mut Context<'_>, args: Args<'_>) -> Result<Option<Found>, Stop> {
    let (_, found) = find(cx, args)?;
    cx.count_read(found.is_some());
    Ok(found)
}

/// The members of both, in order.
pub(super) fn union<'a>(set: &Set<'a>, more: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut merged = Vec::with_capacity(set.len() + more.len());
    let mut more = more.iter().copied().peekable();
    for member in set.members() {
        while let Some(other) = more.next_if(|other| *other < member) {
            merged.push(other);
        }
        more.next_if_eq(&member);
        merged.push(member);
    }
    merged.extend(more);
    merged
}

/// The value of `members`, none if there are none.
pub(super) fn encoded(members: &[&[u8]]) -> Option<Vec<u8>> {
    (!members.is_empty()).then(|| encode(members))
}

/// Arguments from `first` on, in order and once each.
fn members_of(args: Args<'_>, first: usize) -> Vec<&[u8]> {
    let mut members: Vec<&[u8]> = args.iter().skip(first).collect();
    members.sort_unstable();
    members.dedup();
    members
}

fn sadd(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let set = view(found.as_ref())?;
    let merged = union(&set, &members_of(args, 2));
    let new = merged.len() - set.len();
    if new > 0 {
        rewrite(cx, &key, Kind::Set, &encode(&merged), found.as_ref())?;
        cx.notify(notify::SET, "sadd", &args[1]);
    }
    cx.reply.size(new);
    Ok(())
}

fn srem(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, found) = find(cx, args)?;
    let set = view(found.as_ref())?;
    let gone = members_of(args, 2);
    let left: Vec<&[u8]> = set.members().filter(|m| gone.binary_search(m).is_err()).collect();
    let removed = set.len() - left.len();
    if removed > 0 {
        shrink(cx, &key, Kind::Set, encoded(&left).as_deref(), found.as_ref(), "srem")?;
    }
    cx.reply.size(removed);
    Ok(())
}

fn smembers(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    let set = view(found.as_ref())?;
    cx.reply.set(set.len());
    bulks(cx, set.members());
    Ok(())
}

fn sismember(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    let is = view(found.as_ref())?.contains(&args[2]);
    cx.reply.integer(i64::from(is));
    Ok(())
}

fn smismember(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    let set = view(found.as_ref())?;
    let members: Vec<&[u8]> = set.members().collect();
    cx.reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        cx.reply.integer(i64::from(members.binary_search(&member).is_ok()));
    }
    Ok(())
}

fn scard(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = read(cx, args)?;
    cx.reply.size(view(found.as_ref())?.len());
    Ok(())
}

fn spop(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(text::SYNTAX);
    }
    let count = args.get(2).map(positive).transpose()?;
    let (key, found) = find(cx, args)?;
    let set = view(found.as_ref())?;
    if set.is_empty() && count.is_none() {
        cx.reply.null();
        return Ok(());
    }
    let taken = count.unwrap_or(1).min(set.len());
    let mut members: Vec<&[u8]> = set.members().collect();
    shuffle(cx, &mut members, taken);
    let mut left = members.split_off(taken);
    left.sort_unstable();
    if taken > 0 {
        shrink(cx, &key, Kind::Set, encoded(&left).as_deref(), found.as_ref(), "spop")?;
    }
    if count.is_some() {
        cx.reply.set(taken);
    }
    bulks(cx, members.iter().copied());
    Ok(())
}

fn srandmember(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = match args.get(2) {
        None => None,
        Some(_) if args.len() > 3 => return Err(text::SYNTAX),
        Some(count) => Some(ranged(count, -i64::MAX, i64::MAX, None)?),
    };
    let found = read(cx, args)?;
    let members: Vec<&[u8]> = view(found.as_ref())?.members().collect();
    let Some(count) = count else {
        match pick(cx, members, 1, 0)?.first() {
            Some(member) => cx.reply.bulk(member),
            None => cx.reply.null(),
        }
        return Ok(());
    };
    let longest = members.iter().map(|member| member.len()).max().unwrap_or(0);
    let picked = pick(cx, members, count, longest)?;
    cx.reply.array(picked.len());
    bulks(cx, picked.iter().copied());
    Ok(())
}

fn smove(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (from, to) = (cx.key(&args[1])?, cx.key(&args[2])?);
    let (source, target) = (cx.find(&from)?, cx.find(&to)?);
    let is_set = |found: &Found| found.value_type == Kind::Set.tag();
    // As in Redis, the target is looked at only if there is a source.
    let wrong = [&source, &target].into_iter().flatten().any(|found| !is_set(found));
    if source.is_some() && wrong {
        return Err(text::WRONG_TYPE);
    }
    let Some(source) = source.filter(|_| !wrong) else {
        cx.reply.integer(0);
        return Ok(());
    };
    let (set, others) = (view(Some(&source))?, view(target.as_ref())?);
    let member = args.at(3);
    if from == to || !set.contains(member) {
        cx.reply.integer(i64::from(set.contains(member)));
        return Ok(());
    }
    let left: Vec<&[u8]> = set.members().filter(|other| *other != member).collect();
    let merged = union(&others, &[member]);
    let (left, value) = (encoded(&left), encode(&merged));
    cx.room(left.as_ref().map_or(0, Vec::len) + value.len())?;
    cx.together(|cx| {
        shrink(cx, &from, Kind::Set, left.as_deref(), Some(&source), "srem")?;
        if merged.len() > others.len() {
            rewrite(cx, &to, Kind::Set, &value, target.as_ref())?;
            cx.notify(notify::SET, "sadd", &args[2]);
        }
        Ok(())
    })?;
    cx.reply.integer(1);
    Ok(())
}

fn sscan(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    scan::cursor(&args[2])?;
    let found = read(cx, args)?;
    let mut pattern: &[u8] = b"*";
    if found.is_some() {
        pattern = collection::scan_pattern(args.from(3))?;
    }
    let members: Vec<_> =
        view(found.as_ref())?.members().filter(|member| glob::matches(pattern, member)).collect();
    cx.reply.array(2);
    cx.reply.bulk(b"0");
    cx.reply.array(members.len());
    bulks(cx, members.iter().copied());
    Ok(())
}
