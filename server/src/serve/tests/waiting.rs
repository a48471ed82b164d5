//! Cold values, acknowledgements, and everything else that a client waits for.

use super::{Harness, request};
use crate::serve::client::Wait;

#[test]
fn cold_values_are_loaded_and_replies_keep_their_order() {
    let mut h = Harness::new();
    let c = h.connect();
    for n in 0..300 {
        h.ask(c, &format!("SET k{n} value-{n}"));
    }
    h.ask(c, "HSET h f v");
    let mut h = h.reopened();
    let cold = h.server.shard.as_ref().unwrap().stats().cold_gets;
    assert_eq!(cold, 0);
    // One burst: a cold read, a hot answer behind it, a cold write behind that.
    h.feed(c, b"GET k7\r\nPING\r\nAPPEND k8 !\r\nGET k8\r\nHGET h f\r\nEXISTS k9\r\n");
    let got = String::from_utf8(h.settle(c)).unwrap().replace("\r\n", " ");
    assert_eq!(got, "$7 value-7 +PONG :8 $8 value-8! $1 v :1 ");
    // More keys than are loaded at a time.
    let names: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    let mut args: Vec<&[u8]> = vec![b"MGET"];
    args.extend(names.iter().map(String::as_bytes));
    h.feed(c, &request(&args));
    let got = String::from_utf8(h.settle(c)).unwrap();
    assert!(got.starts_with("*300\r\n$7\r\nvalue-0\r\n"), "{got}");
    assert!(got.ends_with("$9\r\nvalue-299\r\n"), "{got}");
}

#[test]
fn a_transaction_loads_all_its_keys_first() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(c, &[("MSET a 1 b 2", "+OK"), ("SELECT 2", "+OK"), ("SET c 3", "+OK")]);
    let mut h = h.reopened();
    h.script(
        c,
        &[
            ("SELECT 0", "+OK"),
            ("MULTI", "+OK"),
            ("INCR a", "+QUEUED"),
            ("RENAME b d", "+QUEUED"),
            ("SELECT 2", "+QUEUED"),
            ("INCR c", "+QUEUED"),
            ("MOVE c 0", "+QUEUED"),
            ("EXEC", "*5 :2 +OK +OK :4 :1"),
            ("SELECT 0", "+OK"),
            ("MGET a b c d", "*4 $1 2 $-1 $1 4 $1 2"),
        ],
    );
    // And what it wrote is there after a restart.
    let mut h = h.reopened();
    assert_eq!(h.ask(c, "MGET a b c d"), "*4 $1 2 $-1 $1 4 $1 2");
}

#[test]
fn a_write_is_answered_only_when_it_is_durable_and_so_is_who_read_it() {
    let mut h = Harness::new();
    let (a, b, other) = (h.connect(), h.connect(), h.connect());
    h.ask(other, "SET known 1");
    h.feed(a, b"SET k v\r\n");
    h.feed(b, b"GET k\r\n");
    h.feed(other, b"GET known\r\n");
    assert_eq!(h.take(a), b"", "not durable yet");
    assert_eq!(h.take(b), b"", "nobody sees what a crash could take back");
    assert_eq!(h.take(other), b"$1\r\n1\r\n", "other keys do not wait");
    assert_eq!(h.settle(a), b"+OK\r\n");
    assert_eq!(h.settle(b), b"$1\r\nv\r\n");
}

#[test]
fn the_same_bytes_again_are_a_touch() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "SET s value EX 1800");
    let before = h.server.shard.as_ref().unwrap().stats();
    for _ in 0..20 {
        h.advance(1_000);
        assert_eq!(h.ask(c, "SET s value EX 1800"), "+OK");
    }
    assert_eq!(h.ask(c, "TTL s"), ":1800");
    let after = h.server.shard.as_ref().unwrap().stats();
    assert_eq!(after.puts, before.puts, "the value was not written again");
    assert_eq!(after.touches - before.touches, 20);
    assert_eq!(h.ask(c, "SET s other EX 1800"), "+OK");
    assert_eq!(h.server.shard.as_ref().unwrap().stats().puts, before.puts + 1);
}

#[test]
fn waits_end_by_durability_or_by_time() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("SET k v", "+OK"),
            ("WAITAOF 1 0 0", "*2 :1 :0"),
            ("WAITAOF 2 0 0", "-ERR value is out of range, must be between 0 and 1"),
            ("WAIT 0 0", ":0"),
            ("SAVE", "+OK"),
            ("BGSAVE", "+Background saving started"),
        ],
    );
    h.feed(c, b"WAIT 1 100\r\nPING\r\n");
    h.advance(99);
    assert_eq!(h.take(c), b"");
    h.advance(1);
    assert_eq!(h.settle(c), b":0\r\n+PONG\r\n");
}

#[test]
fn a_pause_holds_clients_until_it_is_over() {
    let mut h = Harness::new();
    let (a, b) = (h.connect(), h.connect());
    assert_eq!(h.ask(a, "CLIENT PAUSE 1000 WRITE"), "+OK");
    assert_eq!(h.ask(b, "GET k"), "$-1");
    h.feed(b, b"SET k v\r\nPING\r\n");
    assert_eq!(h.server.clients.at(b).map(|client| client.wait.clone()), Some(Wait::Pause));
    h.advance(1_000);
    assert_eq!(h.settle(b), b"+OK\r\n+PONG\r\n");
}

#[test]
fn replies_can_be_kept_back() {
    let mut h = Harness::new();
    let c = h.connect();
    h.feed(c, b"CLIENT REPLY SKIP\r\nGET a\r\nPING\r\n");
    assert_eq!(h.settle(c), b"+PONG\r\n");
    h.feed(c, b"CLIENT REPLY OFF\r\nGET a\r\nPING\r\nCLIENT REPLY ON\r\n");
    assert_eq!(h.settle(c), b"+OK\r\n");
}
