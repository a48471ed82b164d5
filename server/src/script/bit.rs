//! The library `bit`: operations on 32-bit words, as `LuaBitOp` has them.
//!
//! Owns: its functions.
//! Never knows: anything else.
//! Invariant: arguments wrap around at 32 bits, results are signed.

use mlua::{Lua, Table, Variadic};

/// A number as `LuaBitOp` takes it: rounded, then cut to its low 32 bits.
fn word(number: f64) -> u32 {
    // As LuaBitOp: the sum's low mantissa bits hold the number rounded to even.
    let sum = number + 6_755_399_441_055_744.0;
    (sum.to_bits() & 0xffff_ffff) as u32
}

type Unary = fn(u32) -> u32;
type Binary = fn(u32, u32) -> u32;

fn signed(word: u32) -> i64 {
    i64::from(word.cast_signed())
}

/// The table `bit`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let unary: [(&str, Unary); 3] =
        [("tobit", |a| a), ("bnot", |a| !a), ("bswap", u32::swap_bytes)];
    for (name, operation) in unary {
        let function = lua.create_function(move |_, a: f64| Ok(signed(operation(word(a)))))?;
        table.raw_set(name, function)?;
    }
    let folds: [(&str, Binary); 3] =
        [("band", |a, b| a & b), ("bor", |a, b| a | b), ("bxor", |a, b| a ^ b)];
    for (name, operation) in folds {
        let function = lua.create_function(move |_, (first, rest): (f64, Variadic<f64>)| {
            let rest = rest.iter().map(|number| word(*number));
            Ok(signed(rest.fold(word(first), operation)))
        })?;
        table.raw_set(name, function)?;
    }
    let shifts: [(&str, Binary); 5] = [
        ("lshift", |a, n| a << n),
        ("rshift", |a, n| a >> n),
        ("arshift", |a, n| (a.cast_signed() >> n).cast_unsigned()),
        ("rol", u32::rotate_left),
        ("ror", u32::rotate_right),
    ];
    for (name, operation) in shifts {
        let function = lua.create_function(move |_, (a, n): (f64, f64)| {
            Ok(signed(operation(word(a), word(n) & 31)))
        })?;
        table.raw_set(name, function)?;
    }
    table.raw_set("tohex", lua.create_function(|_, (a, n)| Ok(tohex(a, n)))?)?;
    Ok(table)
}

fn tohex(a: f64, digits: Option<f64>) -> String {
    let digits = digits.map_or(8, |digits| word(digits).cast_signed());
    let count = usize::try_from(digits.unsigned_abs()).unwrap_or(8).min(8);
    let all = if digits < 0 { format!("{:08X}", word(a)) } else { format!("{:08x}", word(a)) };
    all[8 - count..].to_owned()
}
