//! From JSON to Lua values.
//!
//! Owns: `cjson.decode`, with the words of lua-cjson for what is wrong and where.
//! Never knows: what the text is for.
//! Invariant: reads every byte once and stays within the text; depth is limited.

use mlua::{Lua, Value};

use super::json::Settings;
use super::sandbox::fail;

/// Deepest nesting whatever is set: stacks have their limits.
const DEPTH_MAX: i64 = 1_000;

/// Decodes `text`.
pub(super) fn decode(lua: &Lua, text: &[u8], settings: &Settings) -> mlua::Result<Value> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return fail(lua, "JSON parser does not support UTF-16 or UTF-32");
    }
    let mut decoder = Decoder { lua, text, at: 0, settings, depth: 0 };
    let first = decoder.next();
    let value = decoder.value(first)?;
    match decoder.next() {
        Token { kind: Kind::End, .. } => Ok(value),
        other => decoder.unexpected("the end", &other),
    }
}

#[derive(Debug)]
enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Bad(&'static str),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::Text(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Bad(problem) => problem,
        }
    }
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    at: usize,
}

struct Decoder<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    settings: &'a Settings,
    depth: i64,
}

impl Decoder<'_> {
    fn unexpected<R>(&self, wanted: &str, token: &Token) -> mlua::Result<R> {
        let (name, place) = (token.kind.name(), token.at + 1);
        fail(self.lua, &format!("Expected {wanted} but found {name} at character {place}"))
    }

    fn value(&mut self, token: Token) -> mlua::Result<Value> {
        match token.kind {
            Kind::Text(text) => Ok(Value::String(self.lua.create_string(text)?)),
            Kind::Number(number) => Ok(Value::Number(number)),
            Kind::Boolean(yes) => Ok(Value::Boolean(yes)),
            Kind::Null => Ok(Value::NULL),
            Kind::ArrayBegin => self.nested(Decoder::array),
            Kind::ObjectBegin => self.nested(Decoder::object),
            _ => self.unexpected("value", &token),
        }
    }

    fn nested(&mut self, parse: fn(&mut Self) -> mlua::Result<Value>) -> mlua::Result<Value> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth.get().min(DEPTH_MAX) {
            let (depth, at) = (self.depth, self.at);
            let problem =
                format!("Found too many nested data structures ({depth}) at character {at}");
            return fail(self.lua, &problem);
        }
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token.kind, Kind::ArrayEnd) {
            return Ok(Value::Table(table));
        }
        for index in 1_i64.. {
            let item = self.value(token)?;
            table.raw_set(index, item)?;
            token = self.next();
            match token.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.next(),
                _ => return self.unexpected("comma or array end", &token),
            }
        }
        Ok(Value::Table(table))
    }

    fn object(&mut self) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token.kind, Kind::ObjectEnd) {
            return Ok(Value::Table(table));
        }
        loop {
            let Kind::Text(name) = &token.kind else {
                return self.unexpected("object key string", &token);
            };
            let name = self.lua.create_string(name)?;
            let colon = self.next();
            if !matches!(colon.kind, Kind::Colon) {
                return self.unexpected("colon", &colon);
            }
            let first = self.next();
            let value = self.value(first)?;
            table.raw_set(name, value)?;
            token = self.next();
            match token.kind {
                Kind::ObjectEnd => return Ok(Value::Table(table)),
                Kind::Comma => token = self.next(),
                _ => return self.unexpected("comma or object end", &token),
            }
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let at = self.at;
        // A zero ends the text, as the end of a string does in C.
        let Some(byte) = self.text.get(at).filter(|byte| **byte != 0) else {
            return Token { kind: Kind::End, at };
        };
        let single = |kind| (kind, 1);
        let (kind, len) = match byte {
            b'{' => single(Kind::ObjectBegin),
            b'}' => single(Kind::ObjectEnd),
            b'[' => single(Kind::ArrayBegin),
            b']' => single(Kind::ArrayEnd),
            b':' => single(Kind::Colon),
            b',' => single(Kind::Comma),
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' if self.settings.decode_invalid.get() || !self.is_invalid() => {
                self.number()
            }
            b'-' | b'0'..=b'9' => (Kind::Bad("invalid number"), 0),
            _ => self.word(),
        };
        self.at += len;
        Token { kind, at }
    }

    fn word(&self) -> (Kind, usize) {
        let rest = &self.text[self.at..];
        if rest.starts_with(b"true") {
            (Kind::Boolean(true), 4)
        } else if rest.starts_with(b"false") {
            (Kind::Boolean(false), 5)
        } else if rest.starts_with(b"null") {
            (Kind::Null, 4)
        } else if self.settings.decode_invalid.get() && self.is_invalid() {
            self.number()
        } else {
            (Kind::Bad("invalid token"), 0)
        }
    }

    /// Whether what begins here is a number, but not one of JSON.
    fn is_invalid(&self) -> bool {
        if self.peek(0) == b'+' {
            return true;
        }
        let skip = usize::from(self.peek(0) == b'-');
        match self.peek(skip) {
            b'0' => {
                let second = self.peek(skip + 1);
                second | 0x20 == b'x' || second.is_ascii_digit()
            }
            first if first <= b'9' => false,
            _ => {
                let rest = self.text.get(self.at + skip..self.at + skip + 3).unwrap_or_default();
                rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    /// The number that begins here, as `strtod` reads it, and its length.
    fn number(&self) -> (Kind, usize) {
        match scan_number(&self.text[self.at..]) {
            Some((number, len)) => (Kind::Number(number), len),
            None => (Kind::Bad("invalid number"), 0),
        }
    }

    fn string(&mut self) -> Token {
        let begin = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
            let Some(plain) = plain else {
                self.at = self.text.len();
                return Token { kind: Kind::Bad("unexpected end of string"), at: self.at };
            };
            text.extend_from_slice(&rest[..plain]);
            self.at += plain;
            if rest[plain] == b'"' {
                self.at += 1;
                return Token { kind: Kind::Text(text), at: begin };
            }
            if let Err(problem) = self.escape(&mut text) {
                return Token { kind: Kind::Bad(problem), at: self.at };
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), &'static str> {
        let byte = match self.peek(1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (scalar, len) = self.unicode().ok_or("invalid unicode escape code")?;
                let mut utf8 = [0; 4];
                text.extend_from_slice(scalar.encode_utf8(&mut utf8).as_bytes());
                self.at += len;
                return Ok(());
            }
            _ => return Err("invalid escape code"),
        };
        text.push(byte);
        self.at += 2;
        Ok(())
    }

    /// The character of `\uXXXX`, or of a pair of them, and its length here.
    fn unicode(&self) -> Option<(char, usize)> {
        let unit = |at: usize| {
            let digits = self.text.get(at + 2..at + 6)?;
            let digits = std::str::from_utf8(digits).ok()?;
            let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hex { u32::from_str_radix(digits, 16).ok() } else { None }
        };
        let first = unit(self.at)?;
        if first & 0xfc00 != 0xd800 {
            return char::from_u32(first).map(|scalar| (scalar, 6));
        }
        if self.peek(6) != b'\\' || self.peek(7) != b'u' {
            return None;
        }
        let second = unit(self.at + 6).filter(|second| second & 0xfc00 == 0xdc00)?;
        let scalar = 0x1_0000 + ((first & 0x3ff) << 10 | (second & 0x3ff));
        char::from_u32(scalar).map(|scalar| (scalar, 12))
    }
}

/// Reads the longest number at the front of `text`: decimal, hexadecimal, infinite or none.
pub(super) fn scan_number(text: &[u8]) -> Option<(f64, usize)> {
    let sign_len = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let sign = if text.first() == Some(&b'-') { -1.0 } else { 1.0 };
    let rest = &text[sign_len..];
    let word = |word: &[u8]| rest.get(..word.len()).is_some_and(|r| r.eq_ignore_ascii_case(word));
    if word(b"infinity") {
        return Some((sign * f64::INFINITY, sign_len + 8));
    }
    if word(b"inf") {
        return Some((sign * f64::INFINITY, sign_len + 3));
    }
    if word(b"nan") {
        return Some((f64::NAN, sign_len + 3));
    }
    if word(b"0x") {
        let digits = rest[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 0 {
            let value = rest[2..2 + digits].iter().fold(0.0, |value, byte| {
                value * 16.0 + f64::from(char::from(*byte).to_digit(16).unwrap_or(0))
            });
            return Some((sign * value, sign_len + 2 + digits));
        }
    }
    let digits = |from: usize| rest[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    let mut fraction = 0;
    if rest.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        len += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(rest.get(len), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(rest.get(len + 1), Some(b'+' | b'-')));
        let exponent = if rest.len() > len + 1 + signed { digits(len + 1 + signed) } else { 0 };
        if exponent > 0 {
            len += 1 + signed + exponent;
        }
    }
    let number = std::str::from_utf8(&rest[..len]).ok()?.parse::<f64>().ok()?;
    Some((sign * number, sign_len + len))
}
