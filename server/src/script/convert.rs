//! Between Lua's values and RESP.
//!
//! Owns: Redis' rules of conversion, in both directions and both versions of the protocol.
//! Never knows: which command a reply is of.
//! Invariant: any Lua value becomes exactly one reply, or the reply's buffer is the caller's to cut.

use mlua::{Lua, Table, Value};

use super::number::truncate;
use crate::resp::{Proto, Reply, parse_double, parse_i64};

/// Levels of tables that a reply may have.
const DEPTH_MAX: usize = 1_000;

/// Reads one reply.
pub(super) fn read(lua: &Lua, bytes: &[u8]) -> mlua::Result<Value> {
    value(lua, &mut &*bytes)
}

fn malformed() -> mlua::Error {
    mlua::Error::runtime("a command answered something that is no reply")
}

fn line<'a>(bytes: &mut &'a [u8]) -> mlua::Result<&'a [u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").ok_or_else(malformed)?;
    let line = &bytes[..end];
    *bytes = &bytes[end + 2..];
    Ok(line)
}

fn body<'a>(bytes: &mut &'a [u8], len: &[u8]) -> mlua::Result<Option<&'a [u8]>> {
    let Some(len) = parse_i64(len).and_then(|len| usize::try_from(len).ok()) else {
        return Ok(None);
    };
    let (body, rest) = bytes.split_at_checked(len).ok_or_else(malformed)?;
    *bytes = rest.get(2..).ok_or_else(malformed)?;
    Ok(Some(body))
}

fn one(lua: &Lua, field: &str, value: impl mlua::IntoLua) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(field, value)?;
    Ok(Value::Table(table))
}

fn count(head: &[u8]) -> Option<usize> {
    parse_i64(head).and_then(|count| usize::try_from(count).ok())
}

fn value(lua: &Lua, bytes: &mut &[u8]) -> mlua::Result<Value> {
    let head = line(bytes)?;
    let (tag, head) = head.split_first().ok_or_else(malformed)?;
    Ok(match tag {
        b'+' => one(lua, "ok", lua.create_string(head)?)?,
        b'-' => error(lua, head)?,
        b':' => Value::Number(parse_i64(head).ok_or_else(malformed)? as f64),
        b'$' => match body(bytes, head)? {
            Some(text) => Value::String(lua.create_string(text)?),
            None => Value::Boolean(false),
        },
        b'*' | b'>' => match count(head) {
            Some(count) => Value::Table(array(lua, bytes, count)?),
            None => Value::Boolean(false),
        },
        b'~' => {
            let members = lua.create_table()?;
            for _ in 0..count(head).ok_or_else(malformed)? {
                members.raw_set(value(lua, bytes)?, true)?;
            }
            one(lua, "set", members)?
        }
        b'%' => {
            let map = lua.create_table()?;
            for _ in 0..count(head).ok_or_else(malformed)? {
                let field = value(lua, bytes)?;
                map.raw_set(field, value(lua, bytes)?)?;
            }
            one(lua, "map", map)?
        }
        b'_' => Value::Nil,
        b'#' => Value::Boolean(head == b"t"),
        b',' => one(lua, "double", parse_double(head).unwrap_or(f64::NAN))?,
        b'(' => one(lua, "big_number", lua.create_string(head)?)?,
        b'=' => {
            let text = body(bytes, head)?.ok_or_else(malformed)?;
            let (format, text) = text.split_at_checked(4).ok_or_else(malformed)?;
            let verbatim = lua.create_table()?;
            verbatim.raw_set("format", lua.create_string(&format[..3])?)?;
            verbatim.raw_set("string", lua.create_string(text)?)?;
            one(lua, "verbatim_string", verbatim)?
        }
        _ => return Err(malformed()),
    })
}

fn array(lua: &Lua, bytes: &mut &[u8], count: usize) -> mlua::Result<Table> {
    // An element takes three bytes at least.
    let table = lua.create_table_with_capacity(count.min(bytes.len() / 3), 0)?;
    for position in 1..=count {
        table.raw_set(position, value(lua, bytes)?)?;
    }
    Ok(table)
}

/// An error reply as the table that `redis.pcall` returns.
pub(super) fn error(lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("err", lua.create_string(text)?)?;
    table.raw_set("ignore_error_stats_update", true)?;
    Ok(Value::Table(table))
}

/// Writes what a script returned; `proto` is what it chose with `redis.setresp`.
pub(super) fn write(value: &Value, proto: Proto, reply: &mut Reply<'_>) -> Result<(), String> {
    write_at(value, proto, reply, 0).map_err(|TooDeep| "ERR reached lua stack limit".to_owned())
}

struct TooDeep;

fn write_at(
    value: &Value,
    proto: Proto,
    reply: &mut Reply<'_>,
    depth: usize,
) -> Result<(), TooDeep> {
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Boolean(yes) if proto == Proto::Resp3 => reply.boolean(*yes),
        Value::Boolean(true) => reply.integer(1),
        Value::Integer(number) => reply.integer(*number),
        Value::Number(number) => reply.integer(truncate(*number)),
        Value::Table(table) if depth < DEPTH_MAX => return write_table(table, proto, reply, depth),
        Value::Table(_) => return Err(TooDeep),
        _ => reply.null(),
    }
    Ok(())
}

fn field(table: &Table, name: &str) -> Value {
    table.raw_get(name).unwrap_or(Value::Nil)
}

fn write_table(
    table: &Table,
    proto: Proto,
    reply: &mut Reply<'_>,
    depth: usize,
) -> Result<(), TooDeep> {
    if let Value::String(text) = field(table, "err") {
        reply.error(&text.to_string_lossy());
    } else if let Value::String(text) = field(table, "ok") {
        reply.simple(&text.to_string_lossy());
    } else if let Some(number) = double(&field(table, "double")) {
        reply.double(number);
    } else if let Value::Table(map) = field(table, "map") {
        let pairs: Vec<(Value, Value)> = map.pairs().flatten().collect();
        reply.map(pairs.len());
        for (name, value) in pairs {
            write_at(&name, proto, reply, depth + 1)?;
            write_at(&value, proto, reply, depth + 1)?;
        }
    } else if let Value::Table(set) = field(table, "set") {
        let members: Vec<(Value, Value)> = set.pairs().flatten().collect();
        reply.set(members.len());
        for (member, _) in members {
            write_at(&member, proto, reply, depth + 1)?;
        }
    } else if let Value::String(digits) = field(table, "big_number") {
        reply.big_number(&digits.to_string_lossy());
    } else if let Value::Table(verbatim) = field(table, "verbatim_string")
        && let Value::String(format) = field(&verbatim, "format")
        && let Value::String(text) = field(&verbatim, "string")
    {
        reply.verbatim(&format.as_bytes(), &text.as_bytes());
    } else {
        return write_array(table, proto, reply, depth);
    }
    Ok(())
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

fn write_array(
    table: &Table,
    proto: Proto,
    reply: &mut Reply<'_>,
    depth: usize,
) -> Result<(), TooDeep> {
    let mut items = Vec::with_capacity(table.raw_len());
    loop {
        match table.raw_get(items.len() + 1) {
            Ok(Value::Nil) | Err(_) => break,
            Ok(item) => items.push(item),
        }
    }
    reply.array(items.len());
    items.iter().try_for_each(|item| write_at(item, proto, reply, depth + 1))
}
