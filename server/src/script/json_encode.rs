//! From Lua values to JSON.
//!
//! Owns: `cjson.encode`.
//! Never knows: Lua's errors; problems are texts.
//! Invariant: depth is limited, so no table makes it run for ever or overflow the stack.

use mlua::{Table, Value};

use super::json::{Invalid, Settings};
use super::number::format_g;
use super::sandbox::message;

/// Encodes `value`.
pub(super) fn encode(value: &Value, settings: &Settings) -> Result<Vec<u8>, String> {
    let mut encoder = Encoder { out: Vec::new(), settings };
    encoder.value(value, 0)?;
    Ok(encoder.out)
}

struct Encoder<'a> {
    out: Vec<u8>,
    settings: &'a Settings,
}

/// Deepest nesting whatever is set: stacks have their limits.
const DEPTH_MAX: i64 = 1_000;

fn refused<R>(kind: &str, reason: &str) -> Result<R, String> {
    Err(format!("Cannot serialise {kind}: {reason}"))
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: i64) -> Result<(), String> {
        match value {
            Value::String(text) => self.text(&text.as_bytes()),
            Value::Integer(number) => self.number(*number as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::Boolean(yes) => self.word(if *yes { "true" } else { "false" }),
            Value::Nil => self.word("null"),
            Value::LightUserData(data) if data.0.is_null() => self.word("null"),
            Value::Table(table) => return self.table(table, depth + 1),
            other => return refused(kind(other), "type not supported"),
        }
        Ok(())
    }

    fn word(&mut self, word: &str) {
        self.out.extend_from_slice(word.as_bytes());
    }

    fn number(&mut self, number: f64) -> Result<(), String> {
        if !number.is_finite() {
            match self.settings.encode_invalid.get() {
                Invalid::Refuse => return refused("number", "must not be NaN or Inf"),
                Invalid::Null => {
                    self.word("null");
                    return Ok(());
                }
                Invalid::Keep => {}
            }
        }
        let precision = usize::try_from(self.settings.precision.get()).unwrap_or(14);
        // Whole numbers of few digits are the most common ones.
        if precision >= 14
            && number.abs() < 1e14
            && number.fract() == 0.0
            && number.is_sign_positive()
        {
            let mut digits = itoa::Buffer::new();
            self.out.extend_from_slice(digits.format(number as i64).as_bytes());
        } else {
            let text = format_g(number, precision);
            self.word(&text);
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        for byte in text {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'/' => b"\\/",
                8 => b"\\b",
                9 => b"\\t",
                10 => b"\\n",
                12 => b"\\f",
                13 => b"\\r",
                0..=31 | 127 => {
                    let escape = format!("\\u{byte:04x}");
                    self.out.extend_from_slice(escape.as_bytes());
                    continue;
                }
                _ => {
                    self.out.push(*byte);
                    continue;
                }
            };
            self.out.extend_from_slice(escape);
        }
        self.out.push(b'"');
    }

    fn table(&mut self, table: &Table, depth: i64) -> Result<(), String> {
        if depth > self.settings.encode_depth.get().min(DEPTH_MAX) {
            return Err(format!("Cannot serialise, excessive nesting ({depth})"));
        }
        // Walked twice, to judge and to write: Lua holds about 8,000 values for Rust at a time.
        match self.array_length(table)? {
            Some(len) if len > 0 => self.array(table, len, depth),
            _ => self.object(table, depth),
        }
    }

    /// Highest index of a table that is an array.
    fn array_length(&self, table: &Table) -> Result<Option<i64>, String> {
        let (mut highest, mut items) = (0, 0_i64);
        for pair in table.pairs::<Value, Value>() {
            match pair.map_err(|error| told(&error))?.0 {
                Value::Integer(index) if index >= 1 => highest = highest.max(index),
                _ => return Ok(None),
            }
            items += 1;
        }
        let Settings { sparse_ratio, sparse_safe, sparse_convert, .. } = self.settings;
        let ratio = sparse_ratio.get();
        if ratio > 0 && highest > items.saturating_mul(ratio) && highest > sparse_safe.get() {
            if !sparse_convert.get() {
                return refused("table", "excessively sparse array");
            }
            return Ok(None);
        }
        Ok(Some(highest))
    }

    fn array(&mut self, table: &Table, len: i64, depth: i64) -> Result<(), String> {
        self.out.push(b'[');
        for index in 1..=len {
            if index > 1 {
                self.out.push(b',');
            }
            let item: Value = table.raw_get(index).map_err(|error| told(&error))?;
            self.value(&item, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i64) -> Result<(), String> {
        self.out.push(b'{');
        let mut first = true;
        for pair in table.pairs::<Value, Value>() {
            let (name, value) = &pair.map_err(|error| told(&error))?;
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            match name {
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.value(name, depth)?;
                    self.out.push(b'"');
                }
                Value::String(text) => self.text(&text.as_bytes()),
                other => {
                    return refused(kind(other), "table key must be a number or string");
                }
            }
            self.out.push(b':');
            self.value(value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// What Lua says of its own errors.
fn told(error: &mlua::Error) -> String {
    message(&Value::Error(Box::new(error.clone())))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) => "userdata",
        Value::Integer(_) => "number",
        other => other.type_name(),
    }
}
