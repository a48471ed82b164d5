//! Strings as arrays of bits: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP.
//!
//! Owns: nothing but these handlers. Bit 0 is the highest of the first byte.
//! Never knows: how values are stored.
//! Invariant: what lies beyond the end of a string counts as zeros.

use emberlog_engine::Found;

use super::parse::{integer, is};
use super::table::flag::{DENYOOM, FAST, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::{Args, parse_i64};
use crate::value::Kind;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Bitmap, since, summary, handler)
        .keys(Keys::ONE)
        .flags(READONLY | TIMED)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("setbit", 4, "2.2.0", "Sets a bit of a string.", setbit).flags(WRITE | DENYOOM),
    entry("getbit", 3, "2.2.0", "Returns a bit of a string.", getbit).flags(READONLY | FAST),
    entry("bitcount", -2, "2.6.0", "Counts the set bits of a string.", bitcount),
    entry("bitpos", -3, "2.8.7", "Returns where the first bit of a value is.", bitpos),
    entry("bitop", -4, "2.6.0", "Combines strings bit by bit and stores the result.", bitop)
        .keys(Keys::Range { first: 2, last: -1, step: 1 })
        .flags(WRITE | DENYOOM | TIMED),
];

/// The bytes in `found`.
pub(super) fn bytes(found: Option<&Found>) -> &[u8] {
    found.map_or(&[], |found| &found.value)
}

/// A position in bits, below the longest string times 8.
pub(super) fn bit_offset(cx: &Context<'_>, arg: &[u8], width: Option<u64>) -> Result<usize, Stop> {
    let bad = Stop::error("ERR bit offset is not an integer or out of range");
    let (number, factor) = match (arg, width) {
        ([b'#', rest @ ..], Some(width)) => (rest, width),
        (arg, _) => (arg, 1),
    };
    let offset = parse_i64(number).and_then(|offset| u64::try_from(offset).ok());
    let offset = offset.and_then(|offset| offset.checked_mul(factor)).ok_or(bad.clone())?;
    let most = cx.state.config.proto_max_bulk_len as u64;
    if offset >> 3 >= most { Err(bad) } else { Ok(usize::try_from(offset).map_err(|_| bad)?) }
}

pub(super) fn bit_at(bytes: &[u8], offset: usize) -> bool {
    bytes.get(offset / 8).is_some_and(|byte| byte >> (7 - offset % 8) & 1 == 1)
}

fn setbit(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let offset = bit_offset(cx, &args[2], None)?;
    let on = match parse_i64(&args[3]) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Stop::error("ERR bit is not an integer or out of range")),
    };
    let key = cx.key(&args[1])?;
    let found = cx.find_string(&key)?;
    let old = bytes(found.as_ref());
    let was = bit_at(old, offset);
    let len = old.len().max(offset / 8 + 1);
    if len > old.len() || was != on {
        cx.room(len)?;
        let mut value = old.to_vec();
        value.resize(len, 0);
        value[offset / 8] ^= u8::from(was != on) << (7 - offset % 8);
        cx.put(&key, Kind::String, &value, found.as_ref().and_then(|found| found.expires_at))?;
        cx.notify(notify::STRING, "setbit", &args[1]);
    }
    cx.reply.integer(i64::from(was));
    Ok(())
}

fn getbit(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let offset = bit_offset(cx, &args[2], None)?;
    let key = cx.key(&args[1])?;
    let found = cx.find_string(&key)?;
    cx.count_read(found.is_some());
    cx.reply.integer(i64::from(bit_at(bytes(found.as_ref()), offset)));
    Ok(())
}

/// Bits that a command is about.
type Bits = std::ops::Range<usize>;

/// Bits of a unit of offsets, bytes unless `unit` says bits.
fn bits_of_unit(unit: Option<&[u8]>) -> Result<usize, Stop> {
    match unit {
        None => Ok(8),
        Some(word) if is(word, "bit") => Ok(1),
        Some(word) if is(word, "byte") => Ok(8),
        Some(_) => Err(text::SYNTAX),
    }
}

/// The bits of `len` bytes between two offsets of `unit_bits` bits, both included, negative ones from the
/// end; `None` if there are none.
fn bits_between(start: i64, end: i64, unit_bits: usize, len: usize) -> Option<Bits> {
    let total = i64::try_from(len * 8 / unit_bits).unwrap_or(i64::MAX);
    let absolute = |offset: i64| {
        if offset < 0 { total.saturating_add(offset).max(0) } else { offset }
    };
    let (first, last) = (absolute(start), absolute(end).min(total - 1));
    let place = |offset: i64| usize::try_from(offset).unwrap_or(0) * unit_bits;
    (first <= last).then(|| place(first)..place(last) + unit_bits)
}

fn bitcount(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_string(&key)?;
    cx.count_read(found.is_some());
    if found.is_none() {
        cx.reply.integer(0);
        return Ok(());
    }
    let value = bytes(found.as_ref());
    let bits = match (args.get(2), args.get(3), args.len()) {
        (None, _, _) => Some(0..value.len() * 8),
        (Some(start), Some(end), 4 | 5) => {
            let (start, end) = (integer(start)?, integer(end)?);
            // BITPOS, unlike this, takes offsets before the beginning for the beginning first.
            let backwards = start < 0 && end < 0 && start > end;
            bits_between(start, end, bits_of_unit(args.get(4))?, value.len()).filter(|_| !backwards)
        }
        _ => return Err(text::SYNTAX),
    };
    cx.reply.size(bits.map_or(0, |bits| ones(value, bits)));
    Ok(())
}

/// Set bits among `bits`.
fn ones(value: &[u8], bits: Bits) -> usize {
    let (first, after) = (bits.start.div_ceil(8), bits.end / 8);
    if first >= after {
        return bits.filter(|bit| bit_at(value, *bit)).count();
    }
    let whole: usize = value[first..after].iter().map(|byte| byte.count_ones() as usize).sum();
    let edges = (bits.start..first * 8).chain(after * 8..bits.end);
    whole + edges.filter(|bit| bit_at(value, *bit)).count()
}

/// The first bit among `bits` that is `wanted`. Whole bytes without one are skipped.
fn first_bit(value: &[u8], bits: Bits, wanted: bool) -> Option<usize> {
    let without = if wanted { 0x00 } else { 0xff };
    let mut bit = bits.start;
    while bit < bits.end {
        if bit.is_multiple_of(8) && value.get(bit / 8) == Some(&without) {
            bit += 8;
        } else if bit_at(value, bit) == wanted {
            return Some(bit);
        } else {
            bit += 1;
        }
    }
    None
}

fn bitpos(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let wanted = match integer(&args[2])? {
        0 => false,
        1 => true,
        _ => return Err(Stop::error("ERR The bit argument must be 1 or 0.")),
    };
    let key = cx.key(&args[1])?;
    let found = cx.find_string(&key)?;
    cx.count_read(found.is_some());
    if found.is_none() {
        cx.reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    }
    let value = bytes(found.as_ref());
    let bits = match (args.get(3), args.get(4), args.len()) {
        (None, _, _) => bits_between(0, -1, 8, value.len()),
        (Some(start), None, _) => bits_between(integer(start)?, -1, 8, value.len()),
        (Some(start), Some(end), 5 | 6) => {
            let (start, unit_bits) = (integer(start)?, bits_of_unit(args.get(5))?);
            bits_between(start, integer(end)?, unit_bits, value.len())
        }
        _ => return Err(text::SYNTAX),
    };
    let Some(bits) = bits else {
        cx.reply.integer(-1);
        return Ok(());
    };
    match first_bit(value, bits, wanted) {
        Some(bit) => cx.reply.size(bit),
        // Zeros follow the string, unless its end was named.
        None if !wanted && args.len() < 5 => cx.reply.size(value.len() * 8),
        None => cx.reply.integer(-1),
    }
    Ok(())
}

fn bitop(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let operation: fn(u8, u8) -> u8 = match &args[1] {
        word if is(word, "and") => |a, b| a & b,
        word if is(word, "or") => |a, b| a | b,
        word if is(word, "xor") => |a, b| a ^ b,
        word if is(word, "not") => |a, _| !a,
        _ => return Err(text::SYNTAX),
    };
    if is(&args[1], "not") && args.len() != 4 {
        return Err(Stop::error("ERR BITOP NOT must be called with a single source key."));
    }
    let mut sources = Vec::with_capacity(args.len() - 3);
    for name in args.iter().skip(3) {
        let key = cx.key(name)?;
        sources.push(cx.find_string(&key)?);
    }
    let target = cx.key(&args[2])?;
    cx.find_to_replace(&target)?;
    let len = sources.iter().map(|found| bytes(found.as_ref()).len()).max().unwrap_or(0);
    cx.room(len)?;
    let mut value = bytes(sources[0].as_ref()).to_vec();
    value.resize(len, 0);
    if is(&args[1], "not") {
        for byte in &mut value {
            *byte = operation(*byte, 0);
        }
    }
    for source in &sources[1..] {
        let source = bytes(source.as_ref());
        for (at, byte) in value.iter_mut().enumerate() {
            *byte = operation(*byte, source.get(at).copied().unwrap_or(0));
        }
    }
    if len > 0 {
        cx.put(&target, Kind::String, &value, None)?;
        cx.notify(notify::STRING, "set", &args[2]);
    } else if cx.delete(&target)? {
        cx.notify(notify::GENERIC, "del", &args[2]);
    }
    cx.reply.size(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_and_finding_agree_with_looking_at_each_bit() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            let choices = [0x00, 0xff, 0x10];
            let value: Vec<u8> =
                (0..random.usize(1..6)).map(|_| choices[random.usize(..3)]).collect();
            let bits = value.len() * 8;
            let start = random.usize(..bits);
            let range = start..random.usize(start..=bits);
            let each = || range.clone().filter(|bit| bit_at(&value, *bit));
            assert_eq!(ones(&value, range.clone()), each().count());
            assert_eq!(first_bit(&value, range.clone(), true), each().next());
            let zero = range.clone().find(|bit| !bit_at(&value, *bit));
            assert_eq!(first_bit(&value, range.clone(), false), zero);
        }
    }
}
