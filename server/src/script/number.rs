//! Numbers as C writes them, and Redis' own random numbers.
//!
//! Owns: `%g` with a precision, and the 48-bit generator behind `math.random`.
//! Never knows: Lua.
//! Invariant: the same seed gives the same numbers as Redis does.

use std::cell::Cell;

/// `value` as `%.<precision>g` of C.
pub(super) fn format_g(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let precision = precision.max(1);
    let scientific = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = i32::try_from(precision).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// Without the zeros that say nothing.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A number as an argument of a command.
pub(super) fn argument(value: f64) -> String {
    format_g(value, 17)
}

/// A double as C casts it to a long long.
pub(super) fn truncate(value: f64) -> i64 {
    // Both bounds are exact doubles; beyond them the cast of x86-64 gives the lowest number.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// The generator of `drand48`, which gives the same numbers to the same script.
#[derive(Debug)]
pub(super) struct Random(Cell<u64>);

impl Default for Random {
    fn default() -> Random {
        let random = Random(Cell::new(0));
        random.seed(0);
        random
    }
}

impl Random {
    /// Largest number plus one.
    pub(super) const MAX: f64 = 2_147_483_647.0;

    pub(super) fn seed(&self, seed: i32) {
        self.0.set(u64::from(seed.cast_unsigned()) << 16 | 0x330e);
    }

    /// The next 31 bits.
    pub(super) fn next(&self) -> u32 {
        let state = self.0.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
        self.0.set(state);
        (state >> 17) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_c() {
        for (value, precision, expected) in [
            (0.1, 17, "0.10000000000000001"),
            (1e15, 17, "1000000000000000"),
            (1e17, 17, "1e+17"),
            (-0.5e-7, 17, "-4.9999999999999998e-08"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (123_456_789_012_345_678.0, 14, "1.2345678901235e+17"),
            (0.0, 14, "0"),
            (-0.0, 14, "-0"),
            (0.0001, 14, "0.0001"),
            (0.00001, 14, "1e-05"),
            (9.5, 1, "1e+01"),
            (f64::NEG_INFINITY, 14, "-inf"),
        ] {
            assert_eq!(format_g(value, precision), expected);
        }
    }

    #[test]
    fn casts_are_those_of_the_machine() {
        for (value, expected) in
            [(3.99, 3), (-3.99, -3), (1e300, i64::MIN), (f64::NAN, i64::MIN), (-1e300, i64::MIN)]
        {
            assert_eq!(truncate(value), expected);
        }
    }

    #[test]
    fn random_numbers_are_those_of_redis() {
        let random = Random::default();
        // math.random() of the first call is below 1e-3, so Lua prints what Redis prints.
        assert_eq!(random.next(), 366_850_414);
    }
}
