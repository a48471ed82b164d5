//! The commands that the kill loop uses, executed on two maps.
//!
//! Owns: keys, values, expiry. Must never know: sockets, journal, the clock.

use crate::resp::Reply;
use std::collections::BTreeMap;

/// One command with its arguments.
pub(super) type Args = Vec<Vec<u8>>;

#[derive(Clone)]
enum Value {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

struct Entry {
    value: Value,
    expires_at: Option<i64>,
}

/// All keys.
#[derive(Default)]
pub(super) struct Store {
    entries: BTreeMap<Vec<u8>, Entry>,
}

/// True for commands that must be journaled.
pub(super) fn is_write(args: &Args) -> bool {
    let verbs: [&[u8]; 8] =
        [b"SET", b"DEL", b"EXPIRE", b"PEXPIRE", b"PEXPIREAT", b"PERSIST", b"HSET", b"HDEL"];
    verbs.contains(&&args[0][..])
}

fn number(arg: &[u8]) -> i64 {
    std::str::from_utf8(arg).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Store {
    /// Executes one command as of `now`.
    pub(super) fn execute(&mut self, args: &Args, now: i64) -> Reply {
        let Some(key) = args.get(1) else {
            return match &args[0][..] {
                b"PING" => Reply::Simple("PONG".into()),
                _ => Reply::Error("ERR wrong number of arguments".into()),
            };
        };
        if self.entries.get(key).is_some_and(|entry| entry.expires_at.is_some_and(|at| at <= now)) {
            self.entries.remove(key);
        }
        match &args[0][..] {
            b"GET" => match self.entries.get(key) {
                Some(Entry { value: Value::Text(bytes), .. }) => Reply::Bulk(bytes.clone()),
                Some(_) => Reply::Error("WRONGTYPE".into()),
                None => Reply::Nil,
            },
            b"HGETALL" => self.hgetall(key),
            b"PTTL" => Reply::Int(match self.entries.get(key) {
                Some(entry) => entry.expires_at.map_or(-1, |at| at - now),
                None => -2,
            }),
            b"SET" => self.set(key, args, now),
            b"DEL" => Reply::Int(i64::from(self.entries.remove(key).is_some())),
            b"EXPIRE" => self.expire(key, Some(now + number(&args[2]) * 1000)),
            b"PEXPIRE" => self.expire(key, Some(now + number(&args[2]))),
            b"PEXPIREAT" => self.expire(key, Some(number(&args[2]))),
            b"PERSIST" => {
                let had = self.entries.get(key).is_some_and(|entry| entry.expires_at.is_some());
                self.expire(key, None);
                Reply::Int(i64::from(had))
            }
            b"HSET" => self.hset(key, &args[2..]),
            b"HDEL" => self.hdel(key, &args[2]),
            b"SCAN" => self.scan(now),
            _ => Reply::Error("ERR unknown command".into()),
        }
    }

    fn set(&mut self, key: &[u8], args: &Args, now: i64) -> Reply {
        let old = self.entries.get(key).and_then(|entry| entry.expires_at);
        let option = args.get(3).map(|word| word.to_ascii_uppercase());
        let amount = args.get(4).map_or(0, |arg| number(arg));
        let expires_at = match option.as_deref() {
            Some(b"EX") => Some(now + amount * 1000),
            Some(b"PX") => Some(now + amount),
            Some(b"PXAT") => Some(amount),
            Some(b"KEEPTTL") => old,
            _ => None,
        };
        let value = Value::Text(args[2].clone());
        self.entries.insert(key.to_vec(), Entry { value, expires_at });
        Reply::Simple("OK".into())
    }

    fn expire(&mut self, key: &[u8], expires_at: Option<i64>) -> Reply {
        let Some(entry) = self.entries.get_mut(key) else { return Reply::Int(0) };
        entry.expires_at = expires_at;
        Reply::Int(1)
    }

    fn hset(&mut self, key: &[u8], pairs: &[Vec<u8>]) -> Reply {
        let fresh = || Entry { value: Value::Hash(BTreeMap::new()), expires_at: None };
        let entry = self.entries.entry(key.to_vec()).or_insert_with(fresh);
        let Value::Hash(fields) = &mut entry.value else { return Reply::Error("WRONGTYPE".into()) };
        let before = fields.len();
        for pair in pairs.chunks_exact(2) {
            fields.insert(pair[0].clone(), pair[1].clone());
        }
        Reply::Int(i64::try_from(fields.len() - before).unwrap_or(0))
    }

    fn hdel(&mut self, key: &[u8], field: &[u8]) -> Reply {
        let Some(entry) = self.entries.get_mut(key) else { return Reply::Int(0) };
        let Value::Hash(fields) = &mut entry.value else { return Reply::Error("WRONGTYPE".into()) };
        let removed = fields.remove(field).is_some();
        if fields.is_empty() {
            self.entries.remove(key);
        }
        Reply::Int(i64::from(removed))
    }

    fn hgetall(&self, key: &[u8]) -> Reply {
        match self.entries.get(key) {
            None => Reply::Array(Vec::new()),
            Some(Entry { value: Value::Text(_), .. }) => Reply::Error("WRONGTYPE".into()),
            Some(Entry { value: Value::Hash(fields), .. }) => {
                let flat = fields.iter().flat_map(|(name, bytes)| [name.clone(), bytes.clone()]);
                Reply::Array(flat.map(Reply::Bulk).collect())
            }
        }
    }

    fn scan(&self, now: i64) -> Reply {
        let live = self.entries.iter().filter(|(_, e)| e.expires_at.is_none_or(|at| at > now));
        let keys = live.map(|(name, _)| Reply::Bulk(name.clone())).collect();
        Reply::Array(vec![Reply::Bulk(b"0".to_vec()), Reply::Array(keys)])
    }

    /// Damages the first value that is long enough to be recognised.
    pub(super) fn flip_a_bit(&mut self) {
        for entry in self.entries.values_mut() {
            if let Value::Text(bytes) = &mut entry.value
                && bytes.len() > 100
            {
                bytes[99] ^= 4;
                return;
            }
        }
    }
}
