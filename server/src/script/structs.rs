//! The library `struct`: packing of C structures, as Roberto Ierusalimschy's library has it.
//!
//! Owns: its functions and format letters.
//! Never knows: what is packed.
//! Invariant: sizes and positions are checked before bytes are read or made.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::number::truncate;
use super::sandbox::fail;

/// Widest integer, in bytes.
const INTEGER_MAX: usize = 32;
/// Alignment that `!` stands for.
const NATURAL: usize = 8;

/// The table `struct`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(pack)?)?;
    table.raw_set("unpack", lua.create_function(unpack)?)?;
    table.raw_set("size", lua.create_function(|lua, format: LuaString| size(lua, &format))?)?;
    Ok(table)
}

/// One element of a format.
#[derive(Clone, Copy, Debug)]
enum Item {
    /// An integer of so many bytes.
    Integer { bytes: usize, signed: bool },
    /// A float of 4 or 8 bytes.
    Float { bytes: usize },
    /// Padding.
    Pad,
    /// Bytes up to a zero.
    Text,
    /// So many bytes; 0: all that are left, or as many as the integer before it says.
    Chars(usize),
}

impl Item {
    fn bytes(self) -> usize {
        match self {
            Item::Integer { bytes, .. } | Item::Float { bytes } => bytes,
            Item::Pad => 1,
            Item::Text => 0,
            Item::Chars(count) => count,
        }
    }
}

/// Walks a format.
struct Format<'a> {
    text: &'a [u8],
    /// The function whose argument it is.
    function: &'static str,
    at: usize,
    little: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8], function: &'static str) -> Format<'a> {
        Format { text, function, at: 0, little: true, align: 1 }
    }

    fn number(&mut self) -> Result<Option<usize>, String> {
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(None);
        }
        let text = std::str::from_utf8(&self.text[self.at..self.at + digits]).unwrap_or_default();
        self.at += digits;
        let number: i32 = text.parse().map_err(|_| "integral size overflow".to_owned())?;
        Ok(usize::try_from(number).ok())
    }

    /// The next element, and how many bytes of padding come before it at position `total`.
    fn next(&mut self, total: usize) -> Result<Option<(Item, usize)>, String> {
        while let Some(letter) = self.text.get(self.at).copied() {
            self.at += 1;
            let integer = |bytes, signed| Item::Integer { bytes, signed };
            let item = match letter {
                b' ' => continue,
                b'>' | b'<' => {
                    self.little = letter == b'<';
                    continue;
                }
                b'!' => {
                    let align = self.number()?.unwrap_or(NATURAL);
                    if align == 0 || !align.is_power_of_two() {
                        return Err("alignment is not a power of 2".to_owned());
                    }
                    self.align = align;
                    continue;
                }
                b'b' => integer(1, true),
                b'B' => integer(1, false),
                b'h' => integer(2, true),
                b'H' => integer(2, false),
                b'l' => integer(8, true),
                b'L' | b'T' => integer(8, false),
                b'i' | b'I' => {
                    let bytes = self.number()?.unwrap_or(4);
                    if bytes == 0 || bytes > INTEGER_MAX {
                        let limit =
                            format!("integral size {bytes} is larger than limit of {INTEGER_MAX}");
                        return Err(limit);
                    }
                    integer(bytes, letter == b'i')
                }
                b'f' => Item::Float { bytes: 4 },
                b'd' | b'n' => Item::Float { bytes: 8 },
                b'x' => Item::Pad,
                b's' => Item::Text,
                b'c' => Item::Chars(self.number()?.unwrap_or(1)),
                other => {
                    let (name, letter) = (self.function, char::from(other));
                    return Err(format!(
                        "bad argument #1 to '{name}' (invalid format option '{letter}')"
                    ));
                }
            };
            let padding = match item {
                Item::Integer { bytes, .. } | Item::Float { bytes } if bytes > 1 => {
                    let align = bytes.min(self.align);
                    if align.is_power_of_two() {
                        (align - (total & (align - 1))) & (align - 1)
                    } else {
                        0
                    }
                }
                _ => 0,
            };
            return Ok(Some((item, padding)));
        }
        Ok(None)
    }
}

fn pack(lua: &Lua, args: MultiValue) -> mlua::Result<LuaString> {
    let mut args = args.into_iter();
    let Some(Value::String(format)) = args.next() else {
        return fail(lua, "bad argument #1 to 'pack' (string expected, got no value)");
    };
    let format = format.as_bytes().to_vec();
    let mut format = Format::new(&format, "pack");
    let (mut out, mut position) = (Vec::new(), 1);
    loop {
        let (item, padding) = match format.next(out.len()) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(problem) => return fail(lua, &problem),
        };
        out.resize(out.len() + padding, 0);
        if matches!(item, Item::Pad) {
            out.push(0);
            continue;
        }
        position += 1;
        let value = args.next().unwrap_or(Value::Nil);
        if let Err(problem) = put(lua, item, &value, format.little, &mut out) {
            return fail(lua, &format!("bad argument #{position} to 'pack' ({problem})"));
        }
    }
    lua.create_string(out)
}

fn put(
    lua: &Lua,
    item: Item,
    value: &Value,
    little: bool,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let number = || {
        let number = lua.coerce_number(value.clone()).ok().flatten();
        number.ok_or_else(|| format!("number expected, got {}", type_name(value)))
    };
    match item {
        Item::Integer { bytes, .. } => {
            let number = truncate(number()?);
            let extend = if number < 0 { 0xff } else { 0 };
            let low = number.to_le_bytes();
            let byte = |at: usize| low.get(at).copied().unwrap_or(extend);
            ordered(out, bytes, little, byte);
        }
        Item::Float { bytes: 4 } => {
            let bits = (number()? as f32).to_le_bytes();
            ordered(out, 4, little, |at| bits[at]);
        }
        Item::Float { .. } => {
            let bits = number()?.to_le_bytes();
            ordered(out, 8, little, |at| bits[at]);
        }
        Item::Text | Item::Chars(_) => {
            let text = lua.coerce_string(value.clone()).ok().flatten();
            let text = text.ok_or_else(|| format!("string expected, got {}", type_name(value)))?;
            let text = text.as_bytes();
            let count = if let Item::Chars(count @ 1..) = item { count } else { text.len() };
            out.extend_from_slice(text.get(..count).ok_or("string too short")?);
            if matches!(item, Item::Text) {
                out.push(0);
            }
        }
        Item::Pad => out.push(0),
    }
    Ok(())
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "no value",
        Value::Integer(_) => "number",
        other => other.type_name(),
    }
}

fn ordered(out: &mut Vec<u8>, bytes: usize, little: bool, byte: impl Fn(usize) -> u8) {
    out.extend((0..bytes).map(|at| byte(if little { at } else { bytes - 1 - at })));
}

fn unpack(
    lua: &Lua,
    (format, data, start): (LuaString, LuaString, Option<i64>),
) -> mlua::Result<MultiValue> {
    let start = start.unwrap_or(1);
    let Some(mut at) = usize::try_from(start).ok().and_then(|start| start.checked_sub(1)) else {
        return fail(lua, "offset must be 1 or greater");
    };
    let (format, data) = (format.as_bytes().to_vec(), data.as_bytes().to_vec());
    let mut format = Format::new(&format, "unpack");
    let mut values = MultiValue::new();
    loop {
        let (item, padding) = match format.next(at) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(problem) => return fail(lua, &problem),
        };
        at = at.saturating_add(padding);
        let size = item.bytes();
        let Some(bytes) = at.checked_add(size).and_then(|end| data.get(at..end)) else {
            return fail(lua, "bad argument #2 to 'unpack' (data string too short)");
        };
        at += size;
        match item {
            Item::Pad => {}
            Item::Integer { signed, .. } => {
                values.push_back(Value::Number(integer(bytes, signed, format.little)));
            }
            Item::Float { .. } => values.push_back(Value::Number(float(bytes, format.little))),
            Item::Text => {
                let rest = &data[at..];
                let Some(len) = rest.iter().position(|byte| *byte == 0) else {
                    return fail(lua, "unfinished string in data");
                };
                values.push_back(Value::String(lua.create_string(&rest[..len])?));
                at += len + 1;
            }
            Item::Chars(0) => {
                let Some(len) = values.pop_back().as_ref().and_then(length) else {
                    return fail(lua, "format 'c0' needs a previous size");
                };
                let Some(text) = at.checked_add(len).and_then(|end| data.get(at..end)) else {
                    return fail(lua, "bad argument #2 to 'unpack' (data string too short)");
                };
                values.push_back(Value::String(lua.create_string(text)?));
                at += len;
            }
            Item::Chars(_) => values.push_back(Value::String(lua.create_string(bytes)?)),
        }
    }
    values.push_back(Value::Integer(i64::try_from(at + 1).unwrap_or(i64::MAX)));
    Ok(values)
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Number(number) if *number >= 0.0 => usize::try_from(truncate(*number)).ok(),
        _ => None,
    }
}

fn integer(bytes: &[u8], signed: bool, little: bool) -> f64 {
    let at = |position: usize| {
        let from = if little { position } else { bytes.len() - 1 - position };
        u64::from(bytes[from])
    };
    let used = bytes.len().min(8);
    let number = (0..used).fold(0, |number, position| number | at(position) << (8 * position));
    if !signed {
        return number as f64;
    }
    let shift = 64 - 8 * used;
    ((number << shift).cast_signed() >> shift) as f64
}

fn float(bytes: &[u8], little: bool) -> f64 {
    let mut ordered = bytes.to_vec();
    if !little {
        ordered.reverse();
    }
    let bits = ordered.iter().rev().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    if bytes.len() == 4 { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) }
}

fn size(lua: &Lua, format: &LuaString) -> mlua::Result<usize> {
    let format = format.as_bytes().to_vec();
    let mut format = Format::new(&format, "size");
    let mut total: usize = 0;
    loop {
        match format.next(total) {
            Ok(Some((Item::Text | Item::Chars(0), _))) => {
                return fail(lua, "bad argument #1 to 'size' (variable-size format in 'size')");
            }
            Ok(Some((item, padding))) => total = total.saturating_add(padding + item.bytes()),
            Ok(None) => return Ok(total),
            Err(problem) => return fail(lua, &problem),
        }
    }
}
