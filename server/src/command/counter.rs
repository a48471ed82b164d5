//! Numbers kept in strings: INCR and its relatives.
//!
//! Owns: arithmetic that never overflows silently, and decimal addition that does not lose digits.
//! Never knows: how values are stored.
//! Invariant: a refused increment changes nothing.

use super::parse::{error, float, integer};
use super::table::flag::{DENYOOM, FAST, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::{Args, format_double, parse_double};
use crate::value::Kind;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::String, since, summary, handler)
        .keys(Keys::ONE)
        .flags(WRITE | DENYOOM | FAST)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("incr", 2, "1.0.0", "Adds one to the integer value of a key.", |cx, args| {
        add(cx, args, 1)
    }),
    entry("decr", 2, "1.0.0", "Takes one from the integer value of a key.", |cx, args| {
        add(cx, args, -1)
    }),
    entry("incrby", 3, "1.0.0", "Adds to the integer value of a key.", |cx, args| {
        let amount = integer(&args[2])?;
        add(cx, args, amount)
    }),
    entry("decrby", 3, "1.0.0", "Takes from the integer value of a key.", |cx, args| {
        let amount = integer(&args[2])?.checked_neg();
        add(cx, args, amount.ok_or(Stop::error("ERR decrement would overflow"))?)
    }),
    entry("incrbyfloat", 3, "2.6.0", "Adds to the number value of a key.", incrbyfloat),
];

/// Sum of two integers.
pub(super) fn sum(old: i64, amount: i64) -> Result<i64, Stop> {
    old.checked_add(amount).ok_or(Stop::error("ERR increment or decrement would overflow"))
}

fn add(cx: &mut Context<'_>, args: Args<'_>, amount: i64) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_string(&key)?;
    let old = found.as_ref().map_or(Ok(0), |found| integer(&found.value))?;
    let new = sum(old, amount)?;
    let mut digits = itoa::Buffer::new();
    let value = digits.format(new).as_bytes();
    cx.put(&key, Kind::String, value, found.and_then(|found| found.expires_at))?;
    cx.notify(notify::STRING, "incrby", &args[1]);
    cx.reply.integer(new);
    Ok(())
}

fn incrbyfloat(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_string(&key)?;
    let old = found.as_ref().map_or(&b"0"[..], |found| &found.value);
    let sum = sum_of_floats(old, &args[2], text::NOT_FLOAT)?;
    cx.put(&key, Kind::String, sum.as_bytes(), found.as_ref().and_then(|f| f.expires_at))?;
    cx.notify(notify::STRING, "incrbyfloat", &args[1]);
    cx.reply.bulk(sum.as_bytes());
    Ok(())
}

/// Sum of two numbers as text; `not_float` if `old` is none.
pub(super) fn sum_of_floats(old: &[u8], amount: &[u8], not_float: Stop) -> Result<String, Stop> {
    let number = parse_double(old).ok_or(not_float)? + float(amount)?;
    if !number.is_finite() {
        return Err(error("ERR increment would produce NaN or Infinity".to_owned()));
    }
    Ok(decimal_sum(old, amount).unwrap_or_else(|| format_double(number)))
}

/// Digits after the point that exact addition handles; Redis shows 17.
const FRACTION_MAX: usize = 17;

/// Exact sum of two plain decimals, so that 0.1 + 0.2 is 0.3. `None`: not plain, or too long.
fn decimal_sum(a: &[u8], b: &[u8]) -> Option<String> {
    let sum = scaled(a)?.checked_add(scaled(b)?)?;
    let scale = 10u128.pow(u32::try_from(FRACTION_MAX).ok()?);
    let (whole, fraction) = (sum.unsigned_abs() / scale, sum.unsigned_abs() % scale);
    let sign = if sum < 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{fraction:0FRACTION_MAX$}");
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// A decimal, with a small exponent at most, times `10^FRACTION_MAX`.
fn scaled(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || whole.len() > 20 || fraction.len() > FRACTION_MAX {
        return None;
    }
    let joined = format!("{whole}{fraction:0<FRACTION_MAX$}");
    let magnitude: i128 = joined.parse().ok()?;
    let factor = 10i128.checked_pow(exponent.unsigned_abs())?;
    let magnitude = match exponent {
        0.. => magnitude.checked_mul(factor)?,
        _ if magnitude % factor == 0 => magnitude / factor,
        _ => return None,
    };
    Some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_add_without_losing_digits() {
        for (a, b, sum) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("-9223372036854775808", "1e2", "-9223372036854775708"),
            ("15e-1", "0", "1.5"),
            ("3", "1", "4"),
            ("-1.5", "1.5", "0"),
            ("-0.25", "-0.5", "-0.75"),
            ("1e300", "0", &format!("1{}", "0".repeat(300))),
        ] {
            let found = sum_of_floats(a.as_bytes(), b.as_bytes(), text::NOT_FLOAT);
            assert_eq!(found, Ok(sum.to_owned()), "{a} + {b}");
        }
        for (a, b) in [("inf", "1"), ("nan", "1"), ("1", ""), ("1 ", "1"), ("1e308", "1e308")] {
            assert!(sum_of_floats(a.as_bytes(), b.as_bytes(), text::NOT_FLOAT).is_err(), "{a} {b}");
        }
    }

    #[test]
    fn integers_never_wrap() {
        assert_eq!(sum(i64::MAX - 1, 1), Ok(i64::MAX));
        assert!(sum(i64::MAX, 1).is_err());
        assert!(sum(i64::MIN, -1).is_err());
    }
}
