//! Recovery, full disks, broken disks and damaged records, as clients see them.

use std::path::Path;

use super::{Harness, START, identity, request};
use crate::config::Config;
use crate::serve::Server;
use crate::serve::client::Peer;
use crate::serve::state::State;

#[test]
fn while_recovering_nobody_is_told_that_a_key_is_missing() {
    let state = State::new(Config::default(), identity(), 7);
    let mut server = Server::new(state, || 0, START);
    let peer = Peer { addr: String::new(), laddr: String::new(), local: true, unix: false, fd: 0 };
    let c = server.connect(peer);
    let mut ask = |line: &str| {
        let bytes = format!("{line}\r\n");
        server.space(c).unwrap()[..bytes.len()].copy_from_slice(bytes.as_bytes());
        server.received(c, bytes.len());
        server.process(c);
        let reply = String::from_utf8(server.output(c).to_vec()).unwrap();
        server.sent(c, reply.len());
        reply
    };
    let loading = "-LOADING Emberlog is loading the dataset in memory\r\n";
    for command in ["PING", "GET k", "SET k v", "EXISTS k", "DBSIZE", "SCAN 0", "SAVE"] {
        assert_eq!(ask(command), loading, "{command}");
    }
    for command in ["SELECT 1", "CLIENT SETNAME x", "CONFIG SET timeout 1"] {
        assert_eq!(ask(command), "+OK\r\n", "{command}");
    }
    assert!(ask("HELLO 2").starts_with("*16\r\n"));
    assert!(ask("INFO").contains("\r\nloading:1\r\n"));
    // A transaction cannot slip through either.
    assert_eq!(ask("MULTI"), "+OK\r\n");
    assert_eq!(ask("GET k"), loading);
    assert!(ask("EXEC").starts_with("-EXECABORT "));
}

#[test]
fn a_full_disk_refuses_writes_and_takes_deletes() {
    let mut h = Harness::new();
    let c = h.connect();
    // Bytes that differ, so that no value is the same as its predecessor or becomes smaller.
    let mut number = 0u64;
    let mut fill = |h: &mut Harness, key: &str| {
        number += 1;
        let mut value = vec![0; 100_000];
        fastrand::Rng::with_seed(number).fill(&mut value);
        h.feed(c, &request(&[b"SET", key.as_bytes(), &value]));
        String::from_utf8(h.settle(c)).unwrap()
    };
    let mut stored = 0;
    let refusal = loop {
        let reply = fill(&mut h, &format!("k{stored}"));
        if reply != "+OK\r\n" {
            break reply;
        }
        stored += 1;
        assert!(stored < 1_000, "the disk limit is never reached");
    };
    assert!(
        refusal.starts_with("-OOM command not allowed: the disk limit is reached"),
        "{refusal}"
    );
    assert!(stored > 20, "{stored}");
    assert!(h.ask(c, "MULTI") == "+OK" && h.ask(c, "SET x 1") == "+QUEUED");
    let refusal = h.ask(c, "EXEC");
    assert!(refusal == "*1 +OK" || refusal.contains("OOM"), "{refusal}");
    assert!(h.ask(c, "STRLEN k0").starts_with(":100000"));
    for n in 0..stored {
        assert_eq!(h.ask(c, &format!("DEL k{n}")), ":1");
    }
    for _ in 0..50 {
        h.drive_once();
    }
    assert_eq!(fill(&mut h, "again"), "+OK\r\n", "room has come back");
}

#[test]
fn a_broken_disk_acknowledges_nothing_and_still_reads() {
    let mut h = Harness::new();
    let (a, b) = (h.connect(), h.connect());
    assert_eq!(h.ask(a, "SET known 1"), "+OK");
    h.broken = true;
    h.feed(a, b"SET k v\r\nPING\r\n");
    h.feed(b, b"GET k\r\n");
    for client in [a, b] {
        let reply = String::from_utf8(h.settle(client)).unwrap();
        assert!(reply.starts_with("-IOERR ") && reply.matches("\r\n").count() == 1, "{reply}");
        assert!(h.server.is_finished(client), "it cannot know what was done");
    }
    let c = h.connect();
    assert_eq!(h.ask(c, "GET known"), "$1 1");
    for command in ["SET k v", "DEL known", "INCR known", "MSET a 1 b 2"] {
        let reply = h.ask(c, command);
        assert!(reply.starts_with("-IOERR "), "{command}: {reply}");
    }
    assert!(h.ask(c, "SAVE").starts_with("-IOERR "));
    assert_eq!(h.ask(c, "PING"), "+PONG");
}

/// Damages every copy of `needle` in the store's files.
fn damage(folder: &Path, needle: &[u8]) -> usize {
    let mut damaged = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.metadata().unwrap().is_dir() {
            damaged += damage(&entry.path(), needle);
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        let found: Vec<usize> = bytes
            .windows(needle.len())
            .enumerate()
            .filter(|(_, w)| *w == needle)
            .map(|(at, _)| at)
            .collect();
        for at in &found {
            bytes[at + needle.len() / 2] ^= 1;
        }
        if !found.is_empty() {
            std::fs::write(entry.path(), bytes).unwrap();
        }
        damaged += found.len();
    }
    damaged
}

#[test]
fn a_damaged_value_is_an_error_until_it_is_written_again() {
    let value = "a-value-that-is-nowhere-else-on-this-disk";
    let mut h = Harness::new();
    let c = h.connect();
    h.script(c, &[("SET other 1", "+OK"), (&format!("SET k {value}"), "+OK")]);
    let mut h = h.reopened();
    assert!(damage(h.folder.path(), value.as_bytes()) > 0);
    for command in ["GET k", "APPEND k x", "MGET other k", "TTL k"] {
        let reply = h.ask(c, command);
        assert!(reply.starts_with("-CORRUPT "), "{command}: {reply}");
    }
    h.script(c, &[("EXISTS k", ":1"), ("GET other", "$1 1"), ("SET k new", "+OK")]);
    assert_eq!(h.ask(c, "GET k"), "$3 new");
    let mut h = h.reopened();
    h.script(c, &[("GET k", "$3 new"), ("DEL k", ":1")]);
}
