//! Large values: in and out in chunks, changed in parts, and never as a whole in RAM.
//!
//! Chunks are 64 KiB here, and the longest value that is not large about half a MiB.

use emberlog_engine::Stats;

use super::{Harness, request};
use crate::config::Config;

pub(super) const CHUNK: usize = 64 << 10;
/// Large, and not a whole number of chunks.
pub(super) const LEN: usize = (2 << 20) + 12_345;

pub(super) fn harness() -> Harness {
    Harness::on_disk(64 << 20, Config::default())
}

/// Bytes that tell where they are from, and do not compress.
pub(super) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.u8(..)).collect()
}

pub(super) fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

impl Harness {
    pub(super) fn stats(&self) -> Stats {
        self.server.shard.as_ref().unwrap().stats()
    }

    /// Sends all of `bytes`, however long it takes. Returns the most bytes that the client's input took.
    pub(super) fn send(&mut self, client: usize, mut bytes: &[u8]) -> usize {
        let mut most = 0;
        for _ in 0..100_000 {
            if bytes.is_empty() {
                return most;
            }
            if self.server.wants_input(client) {
                let space = self.server.space(client).unwrap();
                let count = space.len().min(bytes.len());
                space[..count].copy_from_slice(&bytes[..count]);
                self.server.received(client, count);
                let input = &self.server.clients.at(client).unwrap().connection.input;
                most = most.max(input.capacity());
                self.server.process(client);
                bytes = &bytes[count..];
            } else {
                self.drive_once();
            }
        }
        panic!("{} bytes were not taken", bytes.len())
    }

    /// As [`Harness::ask`], in the form that clients send, and with the reply as it is.
    pub(super) fn call(&mut self, client: usize, args: &[&[u8]]) -> Vec<u8> {
        self.send(client, &request(args));
        self.settle(client)
    }

    pub(super) fn set(&mut self, client: usize, key: &str, value: &[u8]) {
        assert_eq!(self.call(client, &[b"SET", key.as_bytes(), value]), b"+OK\r\n");
    }

    #[track_caller]
    pub(super) fn expect(&mut self, client: usize, args: &[&[u8]], expected: &[u8]) {
        let got = self.call(client, args);
        let name = String::from_utf8_lossy(args[0]);
        let show = |bytes: &[u8]| bytes[..bytes.len().min(60)].escape_ascii().to_string();
        assert!(
            got == expected,
            "{name}: {} bytes {} instead of {} bytes {}",
            got.len(),
            show(&got),
            expected.len(),
            show(expected)
        );
    }
}

#[test]
fn a_large_value_comes_back_as_it_was_also_after_a_restart() {
    let mut h = harness();
    let c = h.connect();
    let value = bytes(1, LEN);
    let most = h.send(c, &request(&[b"SET", b"k", &value]));
    assert!(most <= 4 * CHUNK, "{most} bytes of input");
    assert_eq!(h.settle(c), b"+OK\r\n");
    for restarted in [false, true] {
        if restarted {
            h = h.reopened();
        }
        let c = h.connect();
        let reads = h.stats().device_reads;
        let length = format!(":{LEN}");
        h.script(c, &[("EXISTS k", ":1"), ("TYPE k", "+string"), ("STRLEN k", &length)]);
        h.script(c, &[("OBJECT ENCODING k", "$3 raw"), ("TTL k", ":-1"), ("TOUCH k", ":1")]);
        assert!(h.stats().device_reads <= reads + 1, "only the manifest is read");
        h.expect(c, &[b"GET", b"k"], &bulk(&value));
        for (start, end) in
            [(0, 9), (CHUNK - 5, CHUNK + 4), (LEN - 10, LEN + 99), (70_000, 600_000)]
        {
            let part = &value[start..(end + 1).min(LEN)];
            let (start, end) = (start.to_string(), end.to_string());
            h.expect(c, &[b"GETRANGE", b"k", start.as_bytes(), end.as_bytes()], &bulk(part));
        }
        h.expect(c, &[b"SUBSTR", b"k", b"-3", b"-1"], &bulk(&value[LEN - 3..]));
        h.expect(c, &[b"GETRANGE", b"k", b"5", b"4"], b"$0\r\n\r\n");
    }
    let c = h.connect();
    let reads = h.stats().device_reads;
    h.ask(c, "GETRANGE k 1000000 1000009");
    assert_eq!(h.stats().device_reads, reads + 1, "a chunk was read, and only that one");
}

#[test]
fn every_way_to_set_a_string_takes_a_large_one() {
    let mut h = harness();
    let c = h.connect();
    let (a, b) = (bytes(1, LEN), bytes(2, LEN + 1));
    h.expect(c, &[b"SET", b"k", &a, b"EX", b"100"], b"+OK\r\n");
    h.script(c, &[("TTL k", ":100"), ("PERSIST k", ":1"), ("EXPIRE k 50", ":1"), ("TTL k", ":50")]);
    h.expect(c, &[b"SET", b"k", &b, b"KEEPTTL", b"GET"], &bulk(&a));
    h.script(c, &[("TTL k", ":50")]);
    h.expect(c, &[b"SET", b"k", &a, b"NX"], b"$-1\r\n");
    h.expect(c, &[b"SETNX", b"k", &a], b":0\r\n");
    h.expect(c, &[b"SETNX", b"new", &a], b":1\r\n");
    h.expect(c, &[b"GET", b"new"], &bulk(&a));
    h.expect(c, &[b"GET", b"k"], &bulk(&b));
    h.expect(c, &[b"SETEX", b"k", b"10", &a], b"+OK\r\n");
    h.expect(
        c,
        &[b"psetex", b"new", b"0", &a],
        b"-ERR invalid expire time in 'psetex' command\r\n",
    );
    h.expect(c, &[b"GETSET", b"k", &b], &bulk(&a));
    h.expect(c, &[b"GETEX", b"k", b"EX", b"7"], &bulk(&b));
    h.script(c, &[("TTL k", ":7"), ("LPUSH list a", ":1")]);
    h.expect(
        c,
        &[b"GETSET", b"list", &b],
        b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    );
    h.expect(c, &[b"GETDEL", b"k"], &bulk(&b));
    h.script(
        c,
        &[("EXISTS k", ":0"), ("SET new \"\"", "+OK"), ("GET new", "$0"), ("STRLEN new", ":0")],
    );
    h.expect(c, &[b"SET", b"k", &a], b"+OK\r\n");
    h.script(c, &[("PEXPIRE k 10", ":1")]);
    h.advance(20);
    h.script(c, &[("GET k", "$-1"), ("DBSIZE", ":2")]);
    let stats = h.stats();
    assert_eq!(
        (stats.chunks, stats.uploads, stats.large_values),
        (0, 0, 0),
        "nothing is left over"
    );
}

#[test]
fn changes_of_parts_are_those_of_a_string_in_ram() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut h = harness();
    let c = h.connect();
    let mut model: Vec<u8> = Vec::new();
    for step in 0..120 {
        // Around the ends of chunks, and of what is not large.
        let long = random.u8(..10) == 0;
        let len = if long { random.usize(520_000..700_000) } else { random.usize(1..3 * CHUNK) };
        let part = bytes(step, len);
        if model.len() + len > 3 << 20 {
            h.ask(c, "DEL k");
            model.clear();
        }
        if random.bool() {
            model.extend(&part);
            h.expect(c, &[b"APPEND", b"k", &part], format!(":{}\r\n", model.len()).as_bytes());
        } else {
            let gap = if random.u8(..8) == 0 { random.usize(..600_000) } else { 0 };
            let offset = random.usize(..=model.len()) + gap;
            model.resize(model.len().max(offset + len), 0);
            model[offset..offset + len].copy_from_slice(&part);
            let args: [&[u8]; 4] = [b"SETRANGE", b"k", &offset.to_string().into_bytes(), &part];
            h.expect(c, &args, format!(":{}\r\n", model.len()).as_bytes());
        }
        if random.u8(..4) == 0 {
            h.expect(c, &[b"GET", b"k"], &bulk(&model));
        }
        let from = random.usize(..model.len());
        let to = (from + random.usize(..100_000)).min(model.len() - 1);
        let args: [&[u8]; 4] =
            [b"GETRANGE", b"k", &from.to_string().into_bytes(), &to.to_string().into_bytes()];
        h.expect(c, &args, &bulk(&model[from..=to]));
    }
    let mut h = h.reopened();
    let c = h.connect();
    h.expect(c, &[b"GET", b"k"], &bulk(&model));
    h.ask(c, "DEL k");
    assert_eq!((h.stats().chunks, h.stats().uploads), (0, 0));
}

#[test]
fn a_small_change_writes_little() {
    let mut h = harness();
    let c = h.connect();
    h.set(c, "k", &bytes(1, LEN));
    let before = h.stats().user_bytes_written;
    h.script(c, &[("APPEND k 0123456789", &format!(":{}", LEN + 10))]);
    h.script(c, &[("SETRANGE k 1000000 0123456789", &format!(":{}", LEN + 10))]);
    let written = h.stats().user_bytes_written - before;
    assert!(written <= 3 * CHUNK as u64, "{written} bytes written");
    h.expect(c, &[b"GETRANGE", b"k", b"1000000", b"1000009"], &bulk(b"0123456789"));
    h.expect(c, &[b"GETRANGE", b"k", b"-10", b"-1"], &bulk(b"0123456789"));
}

#[test]
fn a_reader_gets_the_value_of_its_moment_whatever_happens_meanwhile() {
    let (old, new) = (bytes(1, LEN), bytes(2, LEN));
    for change in ["SET", "DEL", "SETRANGE", "APPEND", "RENAME", "FLUSHALL", "EXPIRE"] {
        let mut h = harness();
        let (reader, writer) = (h.connect(), h.connect());
        h.set(writer, "k", &old);
        h.feed(reader, b"GET k\r\nPING\r\n");
        let mut got = Vec::new();
        while got.len() < 3 * CHUNK {
            h.drive_once();
            got.extend(h.take(reader));
            let buffered = h.server.clients.at(reader).unwrap().connection.output.buffered();
            assert!(buffered <= CHUNK + 100, "{buffered} bytes wait for the reader");
        }
        let reply = match change {
            "SET" => h.call(writer, &[b"SET", b"k", &new]),
            "SETRANGE" => h.call(writer, &[b"SETRANGE", b"k", b"0", &new[..2 * CHUNK]]),
            "APPEND" => h.call(writer, &[b"APPEND", b"k", b"x"]),
            "RENAME" => h.call(writer, &[b"RENAME", b"k", b"other"]),
            "EXPIRE" => h.call(writer, &[b"PEXPIRE", b"k", b"1"]),
            other => {
                h.call(writer, &[other.as_bytes(), b"k"][..if other == "DEL" { 2 } else { 1 }])
            }
        };
        assert!(!reply.starts_with(b"-"), "{change}: {}", reply.escape_ascii());
        h.advance(1000);
        got.extend(h.settle(reader));
        assert!(got == [bulk(&old), b"+PONG\r\n".to_vec()].concat(), "{change}");
        let after = match change {
            "SET" => new.clone(),
            "SETRANGE" => [&new[..2 * CHUNK], &old[2 * CHUNK..]].concat(),
            "APPEND" => [&old[..], b"x"].concat(),
            _ => Vec::new(),
        };
        if !after.is_empty() {
            h.expect(writer, &[b"GET", b"k"], &bulk(&after));
        } else if change == "RENAME" {
            h.expect(writer, &[b"GET", b"other"], &bulk(&old));
        }
        h.ask(writer, "FLUSHALL");
        assert_eq!((h.stats().chunks, h.stats().uploads), (0, 0), "{change}");
    }
}

#[test]
fn replies_keep_their_order_around_large_values() {
    let mut h = harness();
    let c = h.connect();
    let (a, b) = (bytes(1, LEN), bytes(2, 700_000));
    h.set(c, "a", &a);
    h.set(c, "b", &b);
    h.ask(c, "SET small x");
    h.feed(c, b"PING\r\nGET a\r\nGET small\r\nMGET b small none a\r\nMULTI\r\nGET b\r\nINCR n\r\nSTRLEN a\r\nEXEC\r\nGET n\r\n");
    let mget = [b"*4\r\n", &bulk(&b)[..], b"$1\r\nx\r\n$-1\r\n", &bulk(&a)].concat();
    let queued = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n";
    let expected = [
        b"+PONG\r\n",
        &bulk(&a)[..],
        b"$1\r\nx\r\n",
        &mget,
        queued,
        &bulk(&b),
        format!(":1\r\n:{LEN}\r\n$1\r\n1\r\n").as_bytes(),
    ]
    .concat();
    assert!(h.settle(c) == expected);
    h.feed(c, b"CLIENT REPLY SKIP\r\nGET a\r\nPING\r\n");
    assert_eq!(h.settle(c), b"+PONG\r\n");
    h.ask(c, "FLUSHALL");
    assert_eq!(h.stats().chunks, 0, "nobody holds what was not sent");
}

#[test]
fn large_values_are_copied_renamed_and_moved() {
    let mut h = harness();
    let c = h.connect();
    let value = bytes(1, LEN);
    h.set(c, "k", &value);
    h.ask(c, "PEXPIRE k 100000");
    h.script(c, &[("COPY k copy", ":1"), ("COPY k copy", ":0"), ("COPY k copy REPLACE", ":1")]);
    h.script(c, &[("APPEND copy x", &format!(":{}", LEN + 1)), ("PTTL copy", ":100000")]);
    let written = h.stats().user_bytes_written;
    h.script(c, &[("RENAME k other", "+OK"), ("EXISTS k", ":0"), ("RENAMENX other copy", ":0")]);
    h.script(c, &[("MOVE other 1", ":1"), ("EXISTS other", ":0"), ("SELECT 1", "+OK")]);
    assert!(h.stats().user_bytes_written - written < 10_000, "no chunk is written for a name");
    h.script(c, &[("PTTL other", ":100000")]);
    let mut h = h.reopened();
    let c = h.connect();
    h.expect(c, &[b"GET", b"copy"], &bulk(&[&value[..], b"x"].concat()));
    h.ask(c, "SELECT 1");
    h.expect(c, &[b"GET", b"other"], &bulk(&value));
    h.ask(c, "FLUSHALL");
    assert_eq!((h.stats().chunks, h.stats().uploads), (0, 0));
}

#[test]
fn commands_that_are_not_made_for_large_values_say_so() {
    let mut h = harness();
    let c = h.connect();
    let value = bytes(1, LEN);
    h.set(c, "k", &value);
    let refusal = format!("-ERR value of {LEN} bytes is too large for this command");
    for line in [
        "INCR k",
        "INCRBYFLOAT k 1",
        "GETBIT k 5",
        "SETBIT k 5 1",
        "BITCOUNT k",
        "BITPOS k 1",
        "BITOP NOT other k",
        "BITFIELD k SET u8 0 1",
        "LCS k k",
        "PFADD k a",
        "PFCOUNT k",
        "DUMP k",
        "EVAL \"return redis.call('GET', KEYS[1])\" 1 k",
        "EVAL \"return redis.call('GETRANGE', KEYS[1], 0, 3)\" 1 k",
    ] {
        let got = h.ask(c, line);
        assert!(got.starts_with('-') && got.contains(&refusal[1..]), "{line}: {got}");
    }
    for line in ["LPUSH k a", "HGET k a", "SADD k a", "ZADD k 1 a"] {
        assert!(h.ask(c, line).starts_with("-WRONGTYPE"), "{line}");
    }
    h.script(c, &[("EVAL \"return redis.call('STRLEN', KEYS[1])\" 1 k", &format!(":{LEN}"))]);
    h.script(c, &[("EVAL \"return redis.call('EXPIRE', KEYS[1], 9)\" 1 k", ":1"), ("TTL k", ":9")]);
    h.script(c, &[("PERSIST k", ":1"), ("SET k x IFEQ y", "$-1"), ("DELIFEQ k x", ":0")]);
    h.script(c, &[("MULTI", "+OK"), ("COPY k other", "+QUEUED"), ("RENAME k there", "+QUEUED")]);
    let copy = "-ERR a large value cannot be copied within a transaction or a script";
    h.script(c, &[("EXEC", &format!("*2 {copy} +OK")), ("RENAME there k", "+OK")]);
    h.expect(c, &[b"GET", b"k"], &bulk(&value));
    h.script(c, &[("EVAL \"return redis.call('DEL', KEYS[1])\" 1 k", ":1"), ("DBSIZE", ":0")]);
    assert_eq!(h.stats().chunks, 0);
}
