//! After a restart: look at every key, and find the one prefix of each writer's operations that explains it all.
//!
//! Owns: the search for the cut and the words of a conviction. Must never know: how the server was brought down.

use super::judge::{Look, Sin, Violation, evidence, judge, read_verb};
use super::model::{Class, Writer};
use super::now_ms;
use crate::resp::{Client, Reply};
use std::collections::HashSet;
use std::io;

/// Keys looked at per round trip.
const ROUND_KEYS: usize = 32;

/// Reads every key of `writer`.
///
/// # Errors
/// When the connection breaks.
pub fn look_at_all(client: &mut Client, writer: &Writer) -> io::Result<Vec<Look>> {
    let mut looks = Vec::with_capacity(writer.keys.len());
    let mut rest = &writer.keys[..];
    while !rest.is_empty() {
        let large = rest[0].class == Class::Large;
        let (round, later) = rest.split_at(if large { 1 } else { ROUND_KEYS.min(rest.len()) });
        rest = later;
        let sent = now_ms();
        for key in round {
            client.queue(&[read_verb(key.class), &key.name]);
            client.queue(&[b"PTTL", &key.name]);
        }
        client.flush()?;
        for _ in round {
            let reply = client.reply()?;
            let pttl = match client.reply()? {
                Reply::Int(left) => Some(left),
                // An error here would be judged as a broken time to live, which -3 never fits.
                _ => Some(-3),
            };
            looks.push(Look { reply, pttl, sent, got: now_ms() });
        }
    }
    Ok(looks)
}

/// Finds the number of operations that survived, and makes it the writer's new beginning.
///
/// # Errors
/// All violations, when no number explains what was seen.
pub fn settle(writer: &mut Writer, looks: &[Look]) -> Result<u64, Vec<Violation>> {
    let (floor, issued) = (writer.floor, writer.issued);
    let Some(cut) = (floor..=issued).find(|&cut| sins(writer, looks, cut).next().is_none()) else {
        return Err(convict(writer, looks));
    };
    let kept = cut - writer.acked;
    let expired: Vec<usize> = (0..looks.len())
        .filter(|&index| {
            looks[index].is_nothing() && !writer.keys[index].state_at(cut).content.is_nothing()
        })
        .collect();
    writer.settle(cut);
    for index in expired {
        writer.seen_expired(index, looks[index].got);
    }
    Ok(kept)
}

fn sins<'a>(
    writer: &'a Writer,
    looks: &'a [Look],
    cut: u64,
) -> impl Iterator<Item = (usize, Sin)> + 'a {
    let pairs = writer.keys.iter().zip(looks).enumerate();
    pairs.filter_map(move |(index, (key, look))| {
        judge(key, key.state_at(cut), look).map(|sin| (index, sin))
    })
}

/// Names the sins against the cut that explains most.
fn convict(writer: &Writer, looks: &[Look]) -> Vec<Violation> {
    let (acked, floor, issued) = (writer.acked, writer.floor, writer.issued);
    let best = (floor..=issued)
        .min_by_key(|&cut| sins(writer, looks, cut).count())
        .expect("floor <= issued");
    // Would everything be explained if only what the readers saw did not count?
    let taken_back = (acked..floor).any(|cut| sins(writer, looks, cut).next().is_none());
    let mut violations = Vec::new();
    for (index, mut sin) in sins(writer, looks, best) {
        let (key, look) = (&writer.keys[index], &looks[index]);
        if taken_back {
            sin = Sin::Unseen;
        } else if key.states(floor, issued).any(|(_, state)| judge(key, state, look).is_none()) {
            sin = Sin::Torn;
        }
        let place = format!("after {best} of {acked} acked, {floor} seen, {issued} sent");
        let text = format!("{} ({place})", evidence(key, key.state_at(best), look));
        violations.push(Violation::new(sin, text));
    }
    violations
}

/// Compares SCAN with what was just seen key by key: nothing missing, nothing unknown.
///
/// # Errors
/// `Ok` with the violations; an error only when the connection breaks.
pub fn scan_agrees(
    client: &mut Client,
    writers: &[(&Writer, &[Look])],
) -> io::Result<Vec<Violation>> {
    let mut found: HashSet<Vec<u8>> = HashSet::new();
    let mut cursor = b"0".to_vec();
    let began = now_ms();
    loop {
        let Reply::Array(parts) = client.call(&[b"SCAN", &cursor, b"COUNT", b"500"])? else {
            let text = String::from("SCAN did not answer an array");
            return Ok(vec![Violation::new(Sin::Reply, text)]);
        };
        let mut parts = parts.into_iter();
        let (Some(Reply::Bulk(next)), Some(Reply::Array(keys))) = (parts.next(), parts.next())
        else {
            let text = String::from("SCAN answered no cursor and keys");
            return Ok(vec![Violation::new(Sin::Reply, text)]);
        };
        for key in keys {
            if let Reply::Bulk(name) = key {
                found.insert(name);
            }
        }
        if next == b"0" {
            break;
        }
        cursor = next;
    }
    let ended = now_ms();
    Ok(judge_scan(found, writers, began, ended))
}

fn judge_scan(
    mut found: HashSet<Vec<u8>>,
    writers: &[(&Writer, &[Look])],
    began: i64,
    ended: i64,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (writer, looks) in writers {
        for (key, look) in writer.keys.iter().zip(*looks) {
            let name = String::from_utf8_lossy(&key.name);
            let left = look.pttl.unwrap_or(-1);
            let lives_on = !look.is_nothing() && (left < 0 || look.sent + left > ended + 1000);
            let was_gone = look.is_nothing() || (left >= 0 && look.got + left < began - 1000);
            match found.remove(&key.name) {
                true if was_gone => violations.push(Violation::new(
                    Sin::Resurrected,
                    format!("SCAN returned {name}, which is gone"),
                )),
                false if lives_on => violations
                    .push(Violation::new(Sin::Lost, format!("SCAN did not return {name}"))),
                _ => {}
            }
        }
    }
    violations.extend(found.into_iter().map(|name| {
        let text = format!("SCAN returned {}, never written", name.escape_ascii());
        Violation::new(Sin::Wrong, text)
    }));
    violations
}
