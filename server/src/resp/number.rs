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

/// Parses a double as Redis does: decimal or exponent form, `inf`, no blanks, no NaN.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    if text.is_empty() || text.len() > 256 {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    (!value.is_nan()).then_some(value)
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
