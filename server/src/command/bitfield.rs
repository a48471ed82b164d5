//! Integers of any width within a string: BITFIELD.
//!
//! Owns: reading and writing them, and what happens on overflow.
//! Never knows: how values are stored.
//! Invariant: all operations are read before the first is carried out; all of them are one write.

use super::bits::{bit_at, bit_offset, bytes};
use super::parse::{integer, is};
use super::table::flag::{DENYOOM, FAST, READONLY, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::{Args, parse_i64};
use crate::value::Kind;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        "bitfield",
        -2,
        Group::Bitmap,
        "3.2.0",
        "Reads and writes integers of any width within a string.",
        |cx, args| bitfield(cx, args, false),
    )
    .keys(Keys::ONE)
    .flags(WRITE | DENYOOM),
    Command::new(
        "bitfield_ro",
        -2,
        Group::Bitmap,
        "6.0.0",
        "Reads integers of any width within a string.",
        |cx, args| bitfield(cx, args, true),
    )
    .keys(Keys::ONE)
    .flags(READONLY | FAST),
];

/// Type of an integer: `i5`, `u63`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn parse(arg: &[u8]) -> Result<Width, Stop> {
        let width = match arg {
            [b'i', rest @ ..] => parse_i64(rest).map(|bits| (true, bits)),
            [b'u', rest @ ..] => parse_i64(rest).map(|bits| (false, bits)),
            _ => None,
        };
        let width = width.and_then(|(signed, bits)| Some((signed, u32::try_from(bits).ok()?)));
        match width {
            Some((true, bits @ 1..=64)) => Ok(Width { signed: true, bits }),
            Some((false, bits @ 1..=63)) => Ok(Width { signed: false, bits }),
            _ => Err(Stop::error(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                 supported but i64 is.",
            )),
        }
    }

    fn range(self) -> std::ops::RangeInclusive<i128> {
        if self.signed {
            let half = 1i128 << (self.bits - 1);
            -half..=half - 1
        } else {
            0..=(1i128 << self.bits) - 1
        }
    }

    /// The integer that the lowest bits of `number` are.
    fn wrap(self, number: i128) -> i128 {
        let low = number & ((1i128 << self.bits) - 1);
        if self.range().contains(&low) { low } else { low - (1i128 << self.bits) }
    }

    fn read(self, bytes: &[u8], offset: usize) -> i128 {
        let places = offset..offset + self.bits as usize;
        self.wrap(places.fold(0, |number, place| number << 1 | i128::from(bit_at(bytes, place))))
    }

    fn write(self, bytes: &mut [u8], offset: usize, number: i128) {
        for place in 0..self.bits as usize {
            let on = number >> (self.bits as usize - 1 - place) & 1 == 1;
            let (at, mask) = ((offset + place) / 8, 1 << (7 - (offset + place) % 8));
            if on {
                bytes[at] |= mask;
            } else {
                bytes[at] &= !mask;
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    /// What `number` becomes in `width`.
    fn fit(self, number: i128, width: Width) -> Option<i128> {
        let range = width.range();
        if range.contains(&number) {
            return Some(number);
        }
        match self {
            Overflow::Wrap => Some(width.wrap(number)),
            Overflow::Saturate if number < *range.start() => Some(*range.start()),
            Overflow::Saturate => Some(*range.end()),
            Overflow::Fail => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// One operation.
struct Step {
    action: Action,
    width: Width,
    offset: usize,
    overflow: Overflow,
}

impl Step {
    fn parse(cx: &Context<'_>, args: Args<'_>, read_only: bool) -> Result<Vec<Step>, Stop> {
        let (mut steps, mut overflow, mut at) = (Vec::new(), Overflow::Wrap, 0);
        while let Some(word) = args.get(at) {
            let left = args.len() - at - 1;
            if is(word, "overflow") && left >= 1 {
                overflow = match &args[at + 1] {
                    word if is(word, "wrap") => Overflow::Wrap,
                    word if is(word, "sat") => Overflow::Saturate,
                    word if is(word, "fail") => Overflow::Fail,
                    _ => return Err(Stop::error("ERR Invalid OVERFLOW type specified")),
                };
                at += 2;
                continue;
            }
            let writes = is(word, "set") || is(word, "incrby");
            if !(is(word, "get") && left >= 2 || writes && left >= 3) {
                return Err(text::SYNTAX);
            }
            let width = Width::parse(&args[at + 1])?;
            let offset = bit_offset(cx, &args[at + 2], Some(u64::from(width.bits)))?;
            let mut action = Action::Get;
            if writes {
                let number = integer(&args[at + 3])?;
                action = if is(word, "set") { Action::Set(number) } else { Action::Add(number) };
            }
            steps.push(Step { action, width, offset, overflow });
            at += if writes { 4 } else { 3 };
        }
        if read_only && steps.iter().any(|step| step.action != Action::Get) {
            return Err(Stop::error("ERR BITFIELD_RO only supports the GET subcommand"));
        }
        Ok(steps)
    }

    /// Bytes that a string must have for the step to write to it.
    fn end(&self) -> usize {
        if self.action == Action::Get {
            0
        } else {
            (self.offset + self.width.bits as usize).div_ceil(8)
        }
    }

    /// Carries the step out. Returns what it answers, and, if it has written,
    /// whether that changed anything.
    fn run(&self, value: &mut [u8]) -> (Option<i128>, Option<bool>) {
        let old = self.width.read(value, self.offset);
        // An unsigned integer takes the bits of a negative number.
        let given = |number: i64| {
            if self.width.signed { i128::from(number) } else { i128::from(number.cast_unsigned()) }
        };
        let (new, answer) = match self.action {
            Action::Get => return (Some(old), None),
            Action::Set(number) => (self.overflow.fit(given(number), self.width), Some(old)),
            Action::Add(number) => {
                let new = self.overflow.fit(old + i128::from(number), self.width);
                (new, new)
            }
        };
        let Some(new) = new else { return (None, None) };
        self.width.write(value, self.offset, new);
        (answer, Some(new != old))
    }
}

fn bitfield(cx: &mut Context<'_>, args: Args<'_>, read_only: bool) -> Outcome {
    let steps = Step::parse(cx, args.from(2), read_only)?;
    let key = cx.key(&args[1])?;
    let found = cx.find_string(&key)?;
    let old = bytes(found.as_ref());
    let len = steps.iter().map(Step::end).max().unwrap_or(0).max(old.len());
    cx.room(len)?;
    let mut value = old.to_vec();
    value.resize(len, 0);
    let answers: Vec<_> = steps.iter().map(|step| step.run(&mut value)).collect();
    let wrote = |changed: bool| answers.iter().any(|(_, wrote)| *wrote == Some(changed));
    let (grown, changed, rewrote) = (len > old.len(), wrote(true), wrote(false));
    if changed || grown {
        cx.put(&key, Kind::String, &value, found.as_ref().and_then(|found| found.expires_at))?;
    }
    if changed || grown && rewrote {
        cx.notify(notify::STRING, "setbit", &args[1]);
    }
    cx.reply.array(answers.len());
    for (answer, _) in answers {
        match answer.and_then(|answer| i64::try_from(answer).ok()) {
            Some(answer) => cx.reply.integer(answer),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_come_back() {
        let mut random = fastrand::Rng::with_seed(5);
        for bits in 1..=64 {
            for signed in [true, false] {
                let width = Width { signed, bits };
                let range = width.range();
                let mut bytes = [0xa5; 20];
                for number in [*range.start(), *range.end(), width.wrap(random.i128(..))] {
                    let offset = random.usize(..80);
                    width.write(&mut bytes, offset, number);
                    assert_eq!(width.read(&bytes, offset), number, "{width:?} at {offset}");
                }
                let beyond = range.end() + 1;
                assert_eq!(Overflow::Wrap.fit(beyond, width), Some(*range.start()));
                assert_eq!(Overflow::Saturate.fit(beyond, width), Some(*range.end()));
                assert_eq!(Overflow::Fail.fit(beyond, width), None);
            }
        }
    }
}
