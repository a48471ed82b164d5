//! Events of keys that expire.

use std::fmt::Write;

use super::{Harness, START};
use crate::config::Config;

/// A server whose second client listens to expired keys and everything set.
fn listening() -> (Harness, usize, usize) {
    let config = Config {
        notify_keyspace_events: crate::notify::parse_classes("Egx$").unwrap(),
        ..Config::default()
    };
    let mut h = Harness::with(config);
    let (asker, listener) = (h.connect(), h.connect());
    h.ask(listener, "PSUBSCRIBE __keyevent@*");
    (h, asker, listener)
}

fn message(event: &str, key: &str) -> String {
    let channel = format!("__keyevent@0__:{event}");
    format!(
        "*4\r\n$8\r\npmessage\r\n$12\r\n__keyevent@*\r\n${}\r\n{channel}\r\n${}\r\n{key}\r\n",
        channel.len(),
        key.len()
    )
}

/// What the listener has heard once the disk is quiet.
fn heard(h: &mut Harness, listener: usize) -> String {
    String::from_utf8_lossy(&h.settle(listener)).into_owned()
}

#[test]
fn a_key_in_ram_is_told_when_it_is_due_and_not_before() {
    let (mut h, asker, listener) = listening();
    h.ask(asker, "SET short 1 PX 1500");
    let both = message("set", "short") + &message("expire", "short");
    assert_eq!(heard(&mut h, listener), both);
    h.advance(1499);
    assert_eq!(heard(&mut h, listener), "");
    h.advance(1);
    assert_eq!(heard(&mut h, listener), message("expired", "short"));
    h.advance(10_000);
    assert_eq!(heard(&mut h, listener), "", "once");
    let info = h.ask(asker, "INFO stats");
    assert!(info.contains("expired_keys:1 "), "{info}");
}

#[test]
fn a_key_that_is_touched_deleted_or_overwritten_in_time_is_not_told() {
    let (mut h, asker, listener) = listening();
    for line in [
        "SET a 1 PX 1000",
        "SET b 1 PX 1000",
        "SET c 1 PX 1000",
        "SET d 1 PX 1000",
        "PEXPIRE a 60000",
        "DEL b",
        "SET c 2",
        "PERSIST d",
    ] {
        h.ask(asker, line);
    }
    heard(&mut h, listener);
    h.advance(5000);
    assert_eq!(heard(&mut h, listener), "");
    h.advance(56_000);
    assert_eq!(heard(&mut h, listener), message("expired", "a"));
}

#[test]
fn a_key_on_disk_only_is_told_to_the_millisecond() {
    let (mut h, asker, listener) = listening();
    for number in 0..50 {
        h.ask(asker, &format!("SET cold:{number} {number} PXAT {}", START.0 + 20_345));
    }
    heard(&mut h, listener);
    let mut h = h.reopened();
    // Time passes as the event loop lets it.
    for _ in 0..203 {
        h.advance(100);
    }
    h.advance(44);
    assert_eq!(heard(&mut h, listener), "", "{} ms", h.now.since(START));
    let before = h.server.shard.as_ref().unwrap().stats();
    assert!((1..=10).contains(&before.expiry_reads), "{} reads", before.expiry_reads);
    h.advance(1);
    let heard = heard(&mut h, listener);
    assert_eq!(heard.matches("expired").count(), 50, "{heard}");
    let after = h.server.shard.as_ref().unwrap().stats();
    assert_eq!(before.device_reads, after.device_reads, "the keys were read ahead");
}

#[test]
fn asking_for_an_elapsed_key_tells_at_once_and_before_what_follows() {
    let (mut h, asker, listener) = listening();
    h.ask(asker, "SET hot 1 PX 100");
    heard(&mut h, listener);
    // Only time passes: nothing ticks.
    h.now = h.now.plus(150);
    h.server.set_now(h.now);
    h.feed(asker, b"EXISTS hot\r\nSET hot 2\r\n");
    let expected = message("expired", "hot") + &message("set", "hot");
    assert_eq!(heard(&mut h, listener), expected);
}

#[test]
fn asking_for_an_elapsed_key_on_disk_reads_its_name_and_tells() {
    let (mut h, asker, listener) = listening();
    h.ask(asker, "SET cold 1 PX 90000");
    heard(&mut h, listener);
    let mut h = h.reopened();
    h.ask(asker, "PING");
    h.now = h.now.plus(120_000);
    h.server.set_now(h.now);
    h.feed(asker, b"EXISTS cold\r\n");
    assert_eq!(h.settle(asker), b":0\r\n");
    assert_eq!(heard(&mut h, listener), message("expired", "cold"));
}

#[test]
fn nothing_is_read_while_nobody_listens() {
    let mut h = Harness::new();
    let client = h.connect();
    h.ask(client, "CONFIG SET notify-keyspace-events KEA");
    h.ask(client, "SET cold 1 PX 20345");
    h.ask(client, "SUBSCRIBE news");
    let other = h.connect();
    let mut h = h.reopened();
    for _ in 0..220 {
        h.advance(100);
    }
    assert_eq!(h.ask(other, "DBSIZE"), ":0");
    let stats = h.server.shard.as_ref().unwrap().stats();
    assert_eq!((stats.expiry_reads, stats.expired_keys), (0, 1));
}

#[test]
fn a_key_that_is_due_in_a_year_is_told_to_the_millisecond() {
    let (mut h, asker, listener) = listening();
    let day = 86_400_000;
    for name in ["hot", "cold"] {
        h.ask(asker, &format!("SET {name} 1 PXAT {}", START.0 + 365 * day + 123));
        heard(&mut h, listener);
        h = if name == "hot" { h } else { h.reopened() };
        h.ask(asker, "GET hot");
    }
    for _ in 0..4 * 365 - 1 {
        h.advance(day / 4);
    }
    // The last six hours as the event loop lets them pass, in the end.
    for step in [day / 4 - 20_000, 5000, 5000, 5000, 4000, 500, 250, 240, 10] {
        h.advance(step);
    }
    h.advance(122);
    assert_eq!(heard(&mut h, listener), "", "{} ms", h.now.since(START));
    h.advance(1);
    let heard = heard(&mut h, listener);
    assert_eq!(heard.matches("expired").count(), 2, "{heard}");
}

#[test]
fn arming_keys_again_and_again_leaves_nothing_behind() {
    let (mut h, asker, _) = listening();
    let keys = 500;
    for number in 0..keys {
        h.ask(asker, &format!("SET armed:{number} 1 EX 10"));
    }
    let mut most = 0;
    for round in 1..=40 {
        let mut batch = String::new();
        for number in 0..keys {
            write!(batch, "PEXPIRE armed:{number} {}\r\n", 10_000 + round % 7).unwrap();
        }
        h.feed(asker, batch.as_bytes());
        h.settle(asker);
        h.advance(300);
        let stats = h.server.shard.as_ref().unwrap().stats();
        most = most.max(stats.expiry_items);
    }
    assert!(most <= 3 * keys, "{most} items on the wheel for {keys} keys");
    h.advance(11_000);
    h.advance(11_000);
    let stats = h.server.shard.as_ref().unwrap().stats();
    assert_eq!((stats.expiry_items, stats.expired_keys), (0, keys));
}

/// A server whose second client listens to fields that expire, and to keys that do.
fn listening_to_fields() -> (Harness, usize, usize) {
    let (mut h, asker, listener) = listening();
    h.ask(asker, "CONFIG SET notify-keyspace-events Ehxg");
    (h, asker, listener)
}

#[test]
fn a_field_that_expires_is_told_at_its_moment() {
    let (mut h, asker, listener) = listening_to_fields();
    h.ask(asker, "HSET h a 1 b 2 c 3");
    h.ask(asker, "HPEXPIRE h 1500 FIELDS 2 a b");
    h.ask(asker, "HPEXPIRE h 2500 FIELDS 1 c");
    heard(&mut h, listener);
    h.advance(1_499);
    assert_eq!(heard(&mut h, listener), "");
    h.advance(1);
    assert_eq!(heard(&mut h, listener), message("hexpired", "h"), "two fields, told once");
    assert_eq!(h.ask(asker, "HKEYS h"), "*1 $1 c");
    h.advance(1_000);
    let last = heard(&mut h, listener);
    assert!(last.contains(&message("hexpired", "h")), "{last}");
    assert!(last.contains(&message("expired", "h")), "the last one takes the hash with it: {last}");
    h.advance(10_000);
    assert_eq!(heard(&mut h, listener), "");
}

#[test]
fn a_field_that_is_persisted_deleted_or_set_in_time_is_not_told() {
    for line in [
        "HPERSIST h FIELDS 1 a",
        "HDEL h a",
        "HSET h a 2",
        "DEL h",
        "SET h string",
        "FLUSHALL",
        "RENAME h other",
        "PEXPIRE h 999",
        "EVAL \"redis.call('hdel',KEYS[1],'a')\" 1 h",
    ] {
        let (mut h, asker, listener) = listening_to_fields();
        h.ask(asker, "HSET h a 1 b 2");
        h.ask(asker, "HPEXPIRE h 1000 FIELDS 1 a");
        h.ask(asker, line);
        heard(&mut h, listener);
        h.advance(999);
        h.advance(9_000);
        let told = heard(&mut h, listener);
        assert!(!told.contains(&message("hexpired", "h")), "{line}: {told}");
        let renamed = told.contains(&message("hexpired", "other"));
        assert_eq!(renamed, line.starts_with("RENAME"), "{told}");
    }
}

#[test]
fn fields_are_met_by_reads_after_a_restart() {
    let (mut h, asker, _) = listening_to_fields();
    h.ask(asker, "HSET h a 1 b 2");
    h.ask(asker, "HPEXPIRE h 5000 FIELDS 1 a");
    let mut h = h.reopened();
    h.advance(1_000);
    assert_eq!(h.ask(0, "HGET h b"), "$1 2");
    heard(&mut h, 1);
    h.advance(3_999);
    assert_eq!(heard(&mut h, 1), "");
    h.advance(1);
    assert_eq!(heard(&mut h, 1), message("hexpired", "h"));
    // Nobody listens any more: nothing is remembered.
    h.ask(0, "HPEXPIRE h 5000 FIELDS 1 b");
    h.ask(0, "CONFIG SET notify-keyspace-events Kx");
    h.advance(1);
    assert!(h.server.state.fields.is_empty());
}
