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
///
/// Tables are walked twice, to count and to write: Lua holds about 8,000 values for Rust at a time.
pub(super) fn write(value: &Value, proto: Proto, reply: &mut Reply<'_>) -> Result<(), String> {
    Writer { proto, reply }.value(value, 0).map_err(|problem| match problem {
        Problem::TooDeep => "ERR reached lua stack limit".to_owned(),
        Problem::Lua(error) => format!("ERR {}", super::sandbox::message(&error)),
    })
}

enum Problem {
    TooDeep,
    Lua(Value),
}

impl From<mlua::Error> for Problem {
    fn from(error: mlua::Error) -> Problem {
        Problem::Lua(Value::Error(Box::new(error)))
    }
}

struct Writer<'w, 'a> {
    proto: Proto,
    reply: &'w mut Reply<'a>,
}

impl Writer<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Problem> {
        match value {
            Value::String(text) => self.reply.bulk(&text.as_bytes()),
            Value::Boolean(yes) if self.proto == Proto::Resp3 => self.reply.boolean(*yes),
            Value::Boolean(true) => self.reply.integer(1),
            Value::Integer(number) => self.reply.integer(*number),
            Value::Number(number) => self.reply.integer(truncate(*number)),
            Value::Table(table) if depth < DEPTH_MAX => return self.table(table, depth + 1),
            Value::Table(_) => return Err(Problem::TooDeep),
            _ => self.reply.null(),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), Problem> {
        let field = |name: &str| table.raw_get::<Value>(name);
        if let Value::String(text) = field("err")? {
            self.reply.error(&text.to_string_lossy());
        } else if let Value::String(text) = field("ok")? {
            self.reply.simple(&text.to_string_lossy());
        } else if let Some(number) = double(&field("double")?) {
            self.reply.double(number);
        } else if let Value::Table(map) = field("map")? {
            self.reply.map(count_pairs(&map)?);
            for pair in map.pairs::<Value, Value>() {
                let (name, value) = pair?;
                self.value(&name, depth)?;
                self.value(&value, depth)?;
            }
        } else if let Value::Table(set) = field("set")? {
            self.reply.set(count_pairs(&set)?);
            for pair in set.pairs::<Value, Value>() {
                self.value(&pair?.0, depth)?;
            }
        } else if let Value::String(digits) = field("big_number")? {
            self.reply.big_number(&digits.to_string_lossy());
        } else if let Value::Table(verbatim) = field("verbatim_string")?
            && let Value::String(format) = verbatim.raw_get("format")?
            && let Value::String(text) = verbatim.raw_get("string")?
        {
            self.reply.verbatim(&format.as_bytes(), &text.as_bytes());
        } else {
            return self.array(table, depth);
        }
        Ok(())
    }

    /// What comes before the first nil.
    fn array(&mut self, table: &Table, depth: usize) -> Result<(), Problem> {
        let mut count = 0;
        while !table.raw_get::<Value>(count + 1)?.is_nil() {
            count += 1;
        }
        self.reply.array(count);
        for index in 1..=count {
            let item: Value = table.raw_get(index)?;
            self.value(&item, depth)?;
        }
        Ok(())
    }
}

fn count_pairs(table: &Table) -> Result<usize, Problem> {
    let mut count = 0;
    for pair in table.pairs::<Value, Value>() {
        pair?;
        count += 1;
    }
    Ok(count)
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}
