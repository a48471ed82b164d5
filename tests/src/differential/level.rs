//! What both servers may do differently, made the same again, so that it is not told once more by all that
//! follows.
//!
//! Owns: SPOP, sums of many digits, the counts that PFCOUNT caches. Must never know: what is a difference.
//! Invariant: afterwards both sides hold the same.

use std::io;

use super::compare::name;
use super::generate::Command;
use super::wire::Value;
use super::{Side, both};

/// Evens out what `command`, answered with `replies`, has left.
pub(super) fn out(
    command: &Command,
    replies: &[Value; 2],
    sides: &mut [Side; 2],
) -> io::Result<()> {
    match name(command).as_str() {
        "spop" => spop(command, replies, sides),
        "pfcount" => cached_count(command, replies, sides),
        name if name.ends_with("incrbyfloat") => sum(command, replies, sides),
        _ => Ok(()),
    }
}

/// PFCOUNT of one counter, which keeps the count in its string on the reference only
/// (docs/COMPATIBILITY.md): none on both.
fn cached_count(command: &Command, replies: &[Value; 2], sides: &mut [Side; 2]) -> io::Result<()> {
    let ([_, key], [Value::Int(_), Value::Int(_)]) = (command.as_slice(), replies) else {
        return Ok(());
    };
    let word = |word: &[u8]| word.to_vec();
    let stale = vec![word(b"setrange"), key.clone(), word(b"8"), word(b"\0\0\0\0\0\0\0\x80")];
    both(sides, |side| {
        if side.link.call(&[b"exists".to_vec(), key.clone()])? == Value::Int(1) {
            side.link.call(&stale)?;
        }
        Ok(())
    })
    .map(|_| ())
}

/// A sum of more digits than a long double has (docs/COMPATIBILITY.md): both go on from the reference's.
fn sum(command: &Command, replies: &[Value; 2], sides: &mut [Side; 2]) -> io::Result<()> {
    let [Value::Bulk(sum), Value::Bulk(ours)] = replies else { return Ok(()) };
    let word = |word: &[u8]| word.to_vec();
    let set: Command = match command.as_slice() {
        _ if sum == ours => return Ok(()),
        [_, key, _] => vec![word(b"set"), key.clone(), sum.clone(), word(b"keepttl")],
        [_, key, field, _] => vec![word(b"hset"), key.clone(), field.clone(), sum.clone()],
        _ => return Ok(()),
    };
    both(sides, |side| side.link.call(&set)).map(|_| ())
}

/// SPOP took different members on both sides: takes all of them from both.
fn spop(command: &Command, replies: &[Value; 2], sides: &mut [Side; 2]) -> io::Result<()> {
    let mut taken = Vec::new();
    for reply in replies {
        match reply {
            Value::Bulk(member) => taken.push(member.clone()),
            Value::Many(_, members) => {
                taken.extend(members.iter().filter_map(|member| match member {
                    Value::Bulk(member) => Some(member.clone()),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    taken.sort();
    taken.dedup();
    let Some(key) = command.get(1).filter(|_| !taken.is_empty()) else { return Ok(()) };
    both(sides, |side| {
        // Only if something is left: otherwise both took everything.
        if side.link.call(&[b"exists".to_vec(), key.clone()])? == Value::Int(1) {
            for verb in ["sadd", "srem"] {
                side.link
                    .call(&[vec![verb.as_bytes().to_vec(), key.clone()], taken.clone()].concat())?;
            }
        }
        Ok(())
    })?;
    Ok(())
}
