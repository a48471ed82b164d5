//! Commands that replace a string: SET and its relatives, MSET.
//!
//! Owns: SET's options, and the rule that setting the same bytes again is a touch.
//! Never knows: how values are stored.
//! Invariant: a value is compared byte by byte before a touch stands in for a write.

use emberlog_engine::{Found, Key, UnixMillis};

use super::large::too_large_here;
use super::parse::{Clock, integer, invalid_expire, is, wrong_arity};
use super::table::flag::{DENYOOM, FAST, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;

const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::String, since, summary, handler)
        .keys(Keys::ONE)
        .flags(WRITE | DENYOOM)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("set", -3, "1.0.0", "Sets a string, with conditions and expiry as options.", set),
    entry("setnx", 3, "1.0.0", "Sets a string if the key does not exist.", setnx)
        .flags(WRITE | DENYOOM | FAST),
    entry("setex", 4, "2.0.0", "Sets a string and its expiry in seconds.", setex),
    entry("psetex", 4, "2.6.0", "Sets a string and its expiry in milliseconds.", setex),
    entry("mset", -3, "1.0.1", "Sets several strings as one.", mset)
        .keys(PAIRS)
        .flags(WRITE | DENYOOM | TIMED),
    entry("msetnx", -3, "1.0.1", "Sets several strings as one if no key exists.", msetnx)
        .keys(PAIRS)
        .flags(WRITE | DENYOOM | TIMED),
];

/// Makes `key` the string `value`. A value that is already there byte for byte is not written
/// again: only its expiry is, which for a session that slides is a cheap touch.
pub(super) fn store(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    old: Option<&Found>,
    value: &[u8],
    expires_at: Option<UnixMillis>,
) -> Result<(), Stop> {
    if cx.took_in() {
        return cx.put_taken(key, expires_at);
    }
    let same = old.filter(|old| {
        old.value_type == Kind::String.tag() && old.chunked.is_none() && old.value.as_ref() == value
    });
    if same.is_some() {
        cx.count_prefix(key, |stats| stats.identical_sets += 1);
    }
    match same {
        Some(old) if old.expires_at == expires_at => {
            cx.unchanged(key);
            Ok(())
        }
        Some(_) => cx.expire(key, expires_at).map(|_| ()),
        None => cx.put(key, Kind::String, value, expires_at),
    }
}

/// Options of SET.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent words of the command")]
struct Options<'a> {
    absent_only: bool,
    present_only: bool,
    get: bool,
    keep_expiry: bool,
    expiry: Option<(Clock, &'a [u8])>,
    comparison: Option<Comparison<'a>>,
}

/// IFEQ and IFNE: what the old value has to be, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Comparison<'a> {
    Equal(&'a [u8]),
    Different(&'a [u8]),
}

impl<'a> Comparison<'a> {
    /// The comparison that `word` names.
    pub(super) fn named(word: &[u8], value: &'a [u8]) -> Option<Comparison<'a>> {
        match word {
            word if is(word, "ifeq") => Some(Comparison::Equal(value)),
            word if is(word, "ifne") => Some(Comparison::Different(value)),
            _ => None,
        }
    }

    /// Whether it holds. No value equals nothing and differs from everything.
    ///
    /// # Errors
    /// The old value is not a string, or large and of the same length.
    pub(super) fn holds(self, old: Option<&Found>) -> Result<bool, Stop> {
        if old.is_some_and(|old| old.value_type != Kind::String.tag()) {
            return Err(text::WRONG_TYPE);
        }
        let (Comparison::Equal(value) | Comparison::Different(value)) = self;
        if let Some(chunked) = old.and_then(|old| old.chunked)
            && chunked.len == value.len() as u64
        {
            return Err(too_large_here(chunked.len));
        }
        let same = |value: &[u8]| {
            old.is_some_and(|old| old.chunked.is_none() && old.value.as_ref() == value)
        };
        Ok(match self {
            Comparison::Equal(value) => same(value),
            Comparison::Different(value) => !same(value),
        })
    }
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, Stop> {
        let mut options = Options::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if is(word, "nx") {
                options.absent_only = true;
            } else if is(word, "xx") {
                options.present_only = true;
            } else if is(word, "get") {
                options.get = true;
            } else if is(word, "keepttl") {
                options.keep_expiry = true;
            } else if is(word, "ifeq") || is(word, "ifne") {
                let value = words.next().ok_or(text::SYNTAX)?;
                if options.comparison.is_some() {
                    return Err(text::SYNTAX);
                }
                options.comparison = Comparison::named(word, value);
            } else {
                let clock = Clock::named(word).ok_or(text::SYNTAX)?;
                let amount = words.next().ok_or(text::SYNTAX)?;
                if options.expiry.replace((clock, amount)).is_some() {
                    return Err(text::SYNTAX);
                }
            }
        }
        let conditions = [options.absent_only, options.present_only, options.comparison.is_some()];
        let contradiction = conditions.iter().filter(|given| **given).count() > 1
            || options.keep_expiry && options.expiry.is_some();
        if contradiction { Err(text::SYNTAX) } else { Ok(options) }
    }
}

fn set(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let options = Options::parse(args.from(3))?;
    let mut expires_at = match options.expiry {
        Some((clock, amount)) => Some(clock.positive(amount, cx.now, "set")?),
        None => None,
    };
    let key = cx.key(&args[1])?;
    let old = if options.get { cx.find_any_string(&key)? } else { cx.find_to_replace(&key)? };
    let compared = options.comparison.map_or(Ok(true), |wanted| wanted.holds(old.as_ref()))?;
    let refused =
        !compared || options.absent_only && old.is_some() || options.present_only && old.is_none();
    if options.get {
        // Before the value goes: what is large is kept until it has been sent.
        cx.reply_string(old.as_ref())?;
    }
    if !refused {
        if options.keep_expiry {
            expires_at = old.as_ref().and_then(super::expiry::expiry_of);
        }
        store(cx, &key, old.as_ref(), &args[2], expires_at)?;
        cx.notify(notify::STRING, "set", &args[1]);
        if options.expiry.is_some() {
            cx.notify(notify::GENERIC, "expire", &args[1]);
        }
    }
    match options.get {
        true => {}
        false if refused => cx.reply.null(),
        false => cx.reply.ok(),
    }
    Ok(())
}

fn setnx(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let old = cx.find_to_replace(&key)?;
    if old.is_none() {
        store(cx, &key, None, &args[2], None)?;
        cx.notify(notify::STRING, "set", &args[1]);
    }
    cx.reply.integer(i64::from(old.is_none()));
    Ok(())
}

/// SETEX and PSETEX.
fn setex(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let seconds = args[0].len() == "setex".len();
    let (clock, name) = if seconds { (Clock::EX, "setex") } else { (Clock::PX, "psetex") };
    let amount = integer(&args[2])?;
    if amount <= 0 {
        return Err(invalid_expire(name));
    }
    let expires_at = clock.positive(&args[2], cx.now, name)?;
    let key = cx.key(&args[1])?;
    let old = cx.find_to_replace(&key)?;
    store(cx, &key, old.as_ref(), &args[3], Some(expires_at))?;
    cx.notify(notify::STRING, "set", &args[1]);
    cx.notify(notify::GENERIC, "expire", &args[1]);
    cx.reply.ok();
    Ok(())
}

fn check_pairs(args: Args<'_>, name: &str) -> Result<(), Stop> {
    if args.len().is_multiple_of(2) {
        return Err(wrong_arity(name));
    }
    Ok(())
}

/// A key of MSET, what it holds, and what it is to hold.
type Pair<'a> = (Key<'a>, Option<Found>, &'a [u8]);

/// Keys of MSET, all looked up.
fn pairs<'a>(cx: &mut Context<'_>, args: Args<'a>) -> Result<Vec<Pair<'a>>, Stop> {
    let mut pairs = Vec::with_capacity(args.len() / 2);
    for position in (1..args.len()).step_by(2) {
        let key = cx.key(args.at(position))?;
        let old = cx.find_to_replace(&key)?;
        cx.may_put(&key, Kind::String, args.at(position + 1).len())?;
        pairs.push((key, old, args.at(position + 1)));
    }
    Ok(pairs)
}

fn write_all(cx: &mut Context<'_>, pairs: &[Pair<'_>]) -> Result<(), Stop> {
    cx.together(|cx| {
        for (key, _, value) in pairs {
            // A key may be named twice, so what was looked up may be old by now.
            cx.put(key, Kind::String, value, None)?;
            cx.notify(notify::STRING, "set", key.bytes());
        }
        Ok(())
    })
}

fn mset(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    check_pairs(args, "mset")?;
    let pairs = pairs(cx, args)?;
    write_all(cx, &pairs)?;
    cx.reply.ok();
    Ok(())
}

fn msetnx(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    check_pairs(args, "msetnx")?;
    let pairs = pairs(cx, args)?;
    let free = pairs.iter().all(|(_, old, _)| old.is_none());
    if free {
        write_all(cx, &pairs)?;
    }
    cx.reply.integer(i64::from(free));
    Ok(())
}
