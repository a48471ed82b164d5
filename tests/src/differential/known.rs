//! The differences that are meant to be, as docs/COMPATIBILITY.md lists them.
//!
//! Owns: that list, as code. Must never know: servers.
//! Invariant: each entry has its line in the document.

use super::compare::name;
use super::generate::Command;
use super::wire::Value;

/// Why a difference between the reference's reply and ours is meant to be, if it is.
pub fn reason(command: &Command, reference: &Value, ours: &Value) -> Option<&'static str> {
    let name = name(command);
    let arity = |value: &Value| matches!(value, Value::Error(text) if text.starts_with("ERR wrong number of arguments"));
    if ["zrank", "zrevrank"].contains(&name.as_str()) && command.len() == 4 && arity(reference) {
        return Some("ZRANK and ZREVRANK take WITHSCORE, as since Redis 7.2");
    }
    if ["hscan", "sscan", "zscan"].contains(&name.as_str())
        && matches!(reference, Value::Error(text) if text == "ERR invalid cursor")
    {
        return Some("HSCAN and its like take negative cursors, as Redis 7.0 does");
    }
    let listed = matches!(ours, Value::Many(..)) && matches!(reference, Value::Many(..));
    let begins = command.get(2).is_none_or(|cursor| cursor.iter().all(|digit| *digit == b'0'));
    if ["hscan", "sscan", "zscan"].contains(&name.as_str()) && listed && !begins {
        return Some(
            "HSCAN and its like list all from any cursor; Redis goes on from one that nothing gave",
        );
    }
    let lowest = command.iter().any(|arg| arg == i64::MIN.to_string().as_bytes());
    if name == "lpos" && lowest && matches!(ours, Value::Error(_)) {
        return Some("LPOS refuses the lowest rank, which Redis 7.0 takes for another");
    }
    None
}
