//! The library `cmsgpack`: `MessagePack` as lua-cmsgpack 0.4 writes and reads it.
//!
//! Owns: its functions and encoding.
//! Never knows: what is packed.
//! Invariant: lengths are checked against the input before anything is made of them; depth is
//! limited in both directions.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::sandbox::fail;

/// Levels of tables that are packed; deeper ones become nil.
const PACK_DEPTH_MAX: usize = 16;
/// Levels that are unpacked.
const UNPACK_DEPTH_MAX: usize = 1_000;

/// The table `cmsgpack`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("pack", lua.create_function(|lua, values: MultiValue| pack(lua, &values))?)?;
    table.raw_set(
        "unpack",
        lua.create_function(|lua, text: LuaString| unpack(lua, &text, usize::MAX, 0, false))?,
    )?;
    table.raw_set(
        "unpack_one",
        lua.create_function(|lua, (text, offset): (LuaString, Option<i64>)| {
            unpack_from(lua, &text, 1, offset)
        })?,
    )?;
    table.raw_set(
        "unpack_limit",
        lua.create_function(|lua, (text, limit, offset): (LuaString, i64, Option<i64>)| {
            unpack_from(lua, &text, limit, offset)
        })?,
    )?;
    Ok(table)
}

fn pack(lua: &Lua, values: &MultiValue) -> mlua::Result<LuaString> {
    if values.is_empty() {
        return fail(lua, "bad argument #0 to 'pack' (MessagePack pack needs input.)");
    }
    let mut out = Vec::new();
    for value in values {
        put(value, &mut out, 0)?;
    }
    lua.create_string(out)
}

fn put(value: &Value, out: &mut Vec<u8>, depth: usize) -> mlua::Result<()> {
    match value {
        Value::String(text) => put_text(&text.as_bytes(), out),
        Value::Boolean(yes) => out.push(if *yes { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => put_integer(*number, out),
        Value::Number(number) => put_number(*number, out),
        Value::Table(_) if depth == PACK_DEPTH_MAX => out.push(0xc0),
        Value::Table(table) => put_table(table, out, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn put_len(len: usize, small: Option<(u8, usize)>, tags: [Option<u8>; 3], out: &mut Vec<u8>) {
    if let Some((base, max)) = small.filter(|(_, max)| len <= *max) {
        debug_assert!(max < 32, "the length shares a byte with its tag");
        out.push(base | len as u8);
    } else if let (Some(tag), Ok(len)) = (tags[0], u8::try_from(len)) {
        out.extend([tag, len]);
    } else if let (Some(tag), Ok(len)) = (tags[1], u16::try_from(len)) {
        out.push(tag);
        put_be(u64::from(len), 2, out);
    } else {
        out.push(tags[2].unwrap_or_default());
        put_be(len as u64, 4, out);
    }
}

/// The low `bytes` bytes of `number`, highest first.
pub(super) fn put_be(number: u64, bytes: usize, out: &mut Vec<u8>) {
    out.extend((0..bytes).rev().map(|position| (number >> (8 * position)) as u8));
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_len(text.len(), Some((0xa0, 31)), [Some(0xd9), Some(0xda), Some(0xdb)], out);
    out.extend_from_slice(text);
}

fn put_number(number: f64, out: &mut Vec<u8>) {
    let single = number as f32;
    if f64::from(single).to_bits() == number.to_bits() {
        out.push(0xca);
        put_be(u64::from(single.to_bits()), 4, out);
    } else {
        out.push(0xcb);
        put_be(number.to_bits(), 8, out);
    }
}

fn put_integer(number: i64, out: &mut Vec<u8>) {
    let bits = number.cast_unsigned();
    let (tag, bytes) = match number {
        -32..=0x7f => return out.push(bits as u8),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(tag);
    put_be(bits, bytes, out);
}

fn put_table(table: &Table, out: &mut Vec<u8>, depth: usize) -> mlua::Result<()> {
    // Walked twice, to judge and to write: Lua holds about 8,000 values for Rust at a time.
    let (mut count, mut highest) = (0_usize, Some(0));
    for pair in table.pairs::<Value, Value>() {
        highest = match (pair?.0, highest) {
            (Value::Integer(index), Some(highest)) if index >= 1 => Some(index.max(highest)),
            _ => None,
        };
        count += 1;
    }
    if highest.and_then(|highest| usize::try_from(highest).ok()) == Some(count) {
        put_len(count, Some((0x90, 15)), [None, Some(0xdc), Some(0xdd)], out);
        for index in 1..=count {
            put(&table.raw_get(index)?, out, depth + 1)?;
        }
        return Ok(());
    }
    put_len(count, Some((0x80, 15)), [None, Some(0xde), Some(0xdf)], out);
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        put(&name, out, depth + 1)?;
        put(&value, out, depth + 1)?;
    }
    Ok(())
}

fn unpack_from(
    lua: &Lua,
    text: &LuaString,
    limit: i64,
    offset: Option<i64>,
) -> mlua::Result<MultiValue> {
    let (limit, offset) = (usize::try_from(limit), usize::try_from(offset.unwrap_or(0)));
    let (Ok(limit), Ok(offset)) = (limit, offset) else {
        return fail(lua, "Invalid request to unpack with offset or limit below zero.");
    };
    let limit = if limit == 0 { usize::MAX } else { limit };
    unpack(lua, text, limit, offset, true)
}

/// Unpacks up to `limit` values from `offset` on; with `tell`, where it stopped comes first.
fn unpack(
    lua: &Lua,
    text: &LuaString,
    limit: usize,
    offset: usize,
    tell: bool,
) -> mlua::Result<MultiValue> {
    let text = text.as_bytes();
    let Some(mut rest) = text.get(offset..) else {
        let problem = format!("Start offset {offset} greater than input length {}.", text.len());
        return fail(lua, &problem);
    };
    let mut values = MultiValue::new();
    while !rest.is_empty() && values.len() < limit {
        match take(lua, &mut rest, 0) {
            Ok(value) => values.push_back(value),
            Err(Problem::Missing) => return fail(lua, "Missing bytes in input."),
            Err(Problem::Bad) => return fail(lua, "Bad data format in input."),
            Err(Problem::Lua(error)) => return Err(error),
        }
    }
    if tell {
        let stopped =
            if rest.is_empty() { -1 } else { i64::try_from(text.len() - rest.len()).unwrap_or(-1) };
        values.push_front(Value::Integer(stopped));
    }
    Ok(values)
}

enum Problem {
    Missing,
    Bad,
    Lua(mlua::Error),
}

impl From<mlua::Error> for Problem {
    fn from(error: mlua::Error) -> Problem {
        Problem::Lua(error)
    }
}

fn bytes<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Problem> {
    let (taken, after) = rest.split_at_checked(count).ok_or(Problem::Missing)?;
    *rest = after;
    Ok(taken)
}

fn be(rest: &mut &[u8], count: usize) -> Result<u64, Problem> {
    Ok(bytes(rest, count)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn len(rest: &mut &[u8], count: usize) -> Result<usize, Problem> {
    Ok(be(rest, count)? as usize)
}

fn take(lua: &Lua, rest: &mut &[u8], depth: usize) -> Result<Value, Problem> {
    if depth > UNPACK_DEPTH_MAX {
        return Err(Problem::Bad);
    }
    let tag = bytes(rest, 1)?[0];
    let text = |rest: &mut &[u8], len: usize| -> Result<Value, Problem> {
        Ok(Value::String(lua.create_string(bytes(rest, len)?)?))
    };
    let signed = |rest: &mut &[u8], count: usize| -> Result<Value, Problem> {
        let shift = 64 - 8 * count;
        let number = (be(rest, count)? << shift).cast_signed() >> shift;
        Ok(Value::Number(number as f64))
    };
    match tag {
        0x00..=0x7f => Ok(Value::Integer(i64::from(tag))),
        0xe0..=0xff => Ok(Value::Integer(i64::from(tag.cast_signed()))),
        0x80..=0x8f => take_map(lua, rest, usize::from(tag & 15), depth),
        0x90..=0x9f => take_array(lua, rest, usize::from(tag & 15), depth),
        0xa0..=0xbf => text(rest, usize::from(tag & 31)),
        0xc0 => Ok(Value::Nil),
        0xc2 => Ok(Value::Boolean(false)),
        0xc3 => Ok(Value::Boolean(true)),
        0xca => Ok(Value::Number(f64::from(f32::from_bits(be(rest, 4)? as u32)))),
        0xcb => Ok(Value::Number(f64::from_bits(be(rest, 8)?))),
        0xcc..=0xcf => Ok(Value::Number(be(rest, 1 << (tag - 0xcc))? as f64)),
        0xd0..=0xd3 => signed(rest, 1 << (tag - 0xd0)),
        0xc4 | 0xd9 => len(rest, 1).and_then(|len| text(rest, len)),
        0xc5 | 0xda => len(rest, 2).and_then(|len| text(rest, len)),
        0xc6 | 0xdb => len(rest, 4).and_then(|len| text(rest, len)),
        0xdc => len(rest, 2).and_then(|count| take_array(lua, rest, count, depth)),
        0xdd => len(rest, 4).and_then(|count| take_array(lua, rest, count, depth)),
        0xde => len(rest, 2).and_then(|count| take_map(lua, rest, count, depth)),
        0xdf => len(rest, 4).and_then(|count| take_map(lua, rest, count, depth)),
        _ => Err(Problem::Bad),
    }
}

fn take_array(lua: &Lua, rest: &mut &[u8], count: usize, depth: usize) -> Result<Value, Problem> {
    let table = lua.create_table()?;
    for index in 1..=count {
        table.raw_set(index, take(lua, rest, depth + 1)?)?;
    }
    Ok(Value::Table(table))
}

fn take_map(lua: &Lua, rest: &mut &[u8], count: usize, depth: usize) -> Result<Value, Problem> {
    let table = lua.create_table()?;
    for _ in 0..count {
        let name = take(lua, rest, depth + 1)?;
        let value = take(lua, rest, depth + 1)?;
        // Lua has no such keys.
        let impossible = match &name {
            Value::Nil => true,
            Value::Number(number) => number.is_nan(),
            _ => false,
        };
        if impossible {
            return Err(Problem::Bad);
        }
        table.raw_set(name, value)?;
    }
    Ok(Value::Table(table))
}
