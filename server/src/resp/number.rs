//! Numbers as the protocol writes them.
//!
//! Owns: strict integer parsing, and doubles in the shortest form that reads back the same.
//! Never knows: which argument a number is.
//! Invariant: `parse_i64(format(n)) == n`; no leading zeros, plus signs or blanks are accepted,
//! as in Redis' `string2ll`.

/// Parses a decimal `i64` written canonically: optional minus sign, no leading zeros.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    if digits[0] == b'0' {
        return (digits.len() == 1 && !negative).then_some(0);
    }
    let mut magnitude: u64 = 0;
    for &digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        // 19 digits are below 10^19 < 2^64.
        magnitude = magnitude * 10 + u64::from(value);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Parses a double as Redis does: decimal or exponent form, `inf`, no blanks, no NaN, nothing that
/// is too large or too small for one.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    if text.is_empty() || text.len() > 256 {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let overflow = value.is_infinite() && mantissa.bytes().any(|byte| byte.is_ascii_digit());
    let underflow = value == 0.0 && mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    (!value.is_nan() && !overflow && !underflow).then_some(value)
}

/// Parses a bound of a range of scores, for which Redis asks `strtod` itself: blanks before it are
/// passed over, a zero byte is the end, nothing at all is 0, what is too large is infinite.
pub fn parse_strtod(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii_start();
    if text.is_empty() {
        return Some(0.0);
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// Writes a score as Redis 7.2 does: integers as such, otherwise the shortest decimal that reads
/// back the same, with an exponent where that is shorter.
pub fn format_score(value: f64) -> String {
    // Redis takes this path for half the range of an i64.
    let whole = value.fract() == 0.0 && value.abs() < i64::MAX as f64 / 2.0;
    if value.is_infinite() || whole && value != 0.0 {
        return format_double(value);
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let digits = i32::try_from(digits).unwrap_or(0);
    let last_place = exponent - digits + 1;
    let plain =
        if last_place >= 0 { exponent < digits + 7 } else { last_place > -7 || exponent.abs() < 4 };
    if plain {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{}", exponent.abs())
}

/// Writes a double the way clients expect: integers without a fraction, otherwise the shortest
/// decimal that reads back the same, never an exponent.
pub fn format_double(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_shortest_and_read_back_the_same() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (1e17, "100000000000000000"),
            (1e20, "1e+20"),
            (1e-7, "1e-7"),
            (1.25e300, "1.25e+300"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(format_score(value), text);
            assert_eq!(parse_double(text.as_bytes()), Some(value));
        }
    }

    #[test]
    fn what_is_no_double_is_refused() {
        for text in ["", "nan", " 1", "1 ", "1e400", "1e-400", "0x", "1.2.3"] {
            assert_eq!(parse_double(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_strtod(b" 1"), Some(1.0));
        assert_eq!(parse_strtod(b""), Some(0.0));
        assert_eq!(parse_strtod(b"2\0x"), Some(2.0));
        assert_eq!(parse_strtod(b"1e400"), Some(f64::INFINITY));
        assert_eq!(parse_strtod(b"nan"), None);
    }
}
