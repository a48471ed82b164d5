//! The library `cjson`, as version 2.1 of lua-cjson behaves.
//!
//! Owns: its settings and functions; the two directions have files of their own.
//! Never knows: the running command.
//! Invariant: what one script sets does not reach the next.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::sandbox::fail;
use super::{json_decode, json_encode};

/// How numbers that JSON has not are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Invalid {
    /// Refused.
    Refuse,
    /// As they are.
    Keep,
    /// As null.
    Null,
}

/// Settings of one `cjson` table.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) sparse_convert: Cell<bool>,
    pub(super) sparse_ratio: Cell<i64>,
    pub(super) sparse_safe: Cell<i64>,
    pub(super) encode_depth: Cell<i64>,
    pub(super) decode_depth: Cell<i64>,
    pub(super) precision: Cell<i64>,
    pub(super) encode_invalid: Cell<Invalid>,
    pub(super) decode_invalid: Cell<bool>,
    keep_buffer: Cell<bool>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sparse_convert: Cell::new(false),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            encode_depth: Cell::new(1_000),
            decode_depth: Cell::new(1_000),
            precision: Cell::new(14),
            encode_invalid: Cell::new(Invalid::Refuse),
            decode_invalid: Cell::new(true),
            keep_buffer: Cell::new(true),
        }
    }
}

impl Settings {
    /// Sets everything back.
    pub(super) fn reset(&self) {
        let fresh = Settings::default();
        self.sparse_convert.swap(&fresh.sparse_convert);
        self.sparse_ratio.swap(&fresh.sparse_ratio);
        self.sparse_safe.swap(&fresh.sparse_safe);
        self.encode_depth.swap(&fresh.encode_depth);
        self.decode_depth.swap(&fresh.decode_depth);
        self.precision.swap(&fresh.precision);
        self.encode_invalid.swap(&fresh.encode_invalid);
        self.decode_invalid.swap(&fresh.decode_invalid);
        self.keep_buffer.swap(&fresh.keep_buffer);
    }
}

/// The table `cjson`.
pub(super) fn library(lua: &Lua, settings: &Rc<Settings>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    table.raw_set("null", Value::NULL)?;
    let shared = Rc::clone(settings);
    table.raw_set(
        "encode",
        lua.create_function(move |lua, args: MultiValue| encode(lua, &args, &shared))?,
    )?;
    let shared = Rc::clone(settings);
    table.raw_set(
        "decode",
        lua.create_function(move |lua, args: MultiValue| decode(lua, &args, &shared))?,
    )?;
    // A table of its own with settings of its own.
    table.raw_set("new", lua.create_function(|lua, ()| library(lua, &Rc::default()))?)?;
    number(lua, &table, settings, "encode_max_depth", 1, |s| &s.encode_depth)?;
    number(lua, &table, settings, "decode_max_depth", 1, |s| &s.decode_depth)?;
    number(lua, &table, settings, "encode_number_precision", 1, |s| &s.precision)?;
    switch(lua, &table, settings, "decode_invalid_numbers", |s| &s.decode_invalid)?;
    switch(lua, &table, settings, "encode_keep_buffer", |s| &s.keep_buffer)?;
    sparse(lua, &table, settings)?;
    invalid(lua, &table, settings)?;
    Ok(table)
}

fn encode(lua: &Lua, args: &MultiValue, settings: &Settings) -> mlua::Result<LuaString> {
    let Some(value) = args.front().filter(|_| args.len() == 1) else {
        return fail(lua, "bad argument #1 to 'encode' (expected 1 argument)");
    };
    match json_encode::encode(value, settings) {
        Ok(bytes) => lua.create_string(bytes),
        Err(problem) => fail(lua, &problem),
    }
}

fn decode(lua: &Lua, args: &MultiValue, settings: &Settings) -> mlua::Result<Value> {
    let Some(value) = args.front().filter(|_| args.len() == 1) else {
        return fail(lua, "bad argument #1 to 'decode' (expected 1 argument)");
    };
    let Some(text) = lua.coerce_string(value.clone())? else {
        let kind = value.type_name();
        let problem = format!("bad argument #1 to 'decode' (string expected, got {kind})");
        return fail(lua, &problem);
    };
    json_decode::decode(lua, &text.as_bytes(), settings)
}

/// A function that shows a number and may change it.
fn number(
    lua: &Lua,
    table: &Table,
    settings: &Rc<Settings>,
    name: &'static str,
    least: i64,
    cell: fn(&Settings) -> &Cell<i64>,
) -> mlua::Result<()> {
    let shared = Rc::clone(settings);
    let function = lua.create_function(move |lua, new: Option<i64>| {
        if let Some(new) = new {
            if new < least || (name == "encode_number_precision" && new > 16) {
                let problem = format!("bad argument #1 to '{name}' (expected integer in range)");
                return fail(lua, &problem);
            }
            cell(&shared).set(new);
        }
        Ok(cell(&shared).get())
    })?;
    table.raw_set(name, function)
}

/// A function that shows a switch and may change it.
fn switch(
    lua: &Lua,
    table: &Table,
    settings: &Rc<Settings>,
    name: &str,
    cell: fn(&Settings) -> &Cell<bool>,
) -> mlua::Result<()> {
    let shared = Rc::clone(settings);
    let function = lua.create_function(move |_, new: Value| {
        if !new.is_nil() {
            cell(&shared).set(is_on(&new));
        }
        Ok(cell(&shared).get())
    })?;
    table.raw_set(name, function)
}

fn is_on(value: &Value) -> bool {
    match value {
        Value::Boolean(on) => *on,
        Value::String(word) => *word == "on",
        _ => false,
    }
}

fn sparse(lua: &Lua, table: &Table, settings: &Rc<Settings>) -> mlua::Result<()> {
    let shared = Rc::clone(settings);
    let function = lua.create_function(
        move |_, (convert, ratio, safe): (Value, Option<i64>, Option<i64>)| {
            if !convert.is_nil() {
                shared.sparse_convert.set(is_on(&convert));
            }
            if let Some(ratio) = ratio.filter(|ratio| *ratio >= 0) {
                shared.sparse_ratio.set(ratio);
            }
            if let Some(safe) = safe.filter(|safe| *safe >= 0) {
                shared.sparse_safe.set(safe);
            }
            Ok((shared.sparse_convert.get(), shared.sparse_ratio.get(), shared.sparse_safe.get()))
        },
    )?;
    table.raw_set("encode_sparse_array", function)
}

fn invalid(lua: &Lua, table: &Table, settings: &Rc<Settings>) -> mlua::Result<()> {
    let shared = Rc::clone(settings);
    let function = lua.create_function(move |lua, new: Value| {
        let chosen = match &new {
            Value::Nil => shared.encode_invalid.get(),
            Value::String(word) if *word == "null" => Invalid::Null,
            other if is_on(other) => Invalid::Keep,
            _ => Invalid::Refuse,
        };
        shared.encode_invalid.set(chosen);
        match chosen {
            Invalid::Refuse => Ok(Value::Boolean(false)),
            Invalid::Keep => Ok(Value::Boolean(true)),
            Invalid::Null => Ok(Value::String(lua.create_string("null")?)),
        }
    })?;
    table.raw_set("encode_invalid_numbers", function)
}
