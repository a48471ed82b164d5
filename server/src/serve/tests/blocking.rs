//! Commands that wait for keys: order, timeouts, and who gets what.

use super::Harness;
use crate::serve::client::Wait;

/// A server that has room: the first write to a new store waits for it.
fn warm() -> Harness {
    let mut h = Harness::new();
    let client = h.connect();
    assert_eq!(h.ask(client, "SET warm 1"), "+OK");
    h
}

#[test]
fn elements_go_to_who_waits_longest() {
    let mut h = warm();
    let (a, b, pusher) = (h.connect(), h.connect(), h.connect());
    h.feed(a, b"BLPOP k other 0\r\n");
    h.feed(b, b"BRPOP k 0\r\n");
    assert_eq!(h.server.clients.at(a).map(|client| client.wait.clone()), Some(Wait::Keys));
    // A transaction is served as a whole: both elements are there when the first is taken.
    h.ask(pusher, "MULTI");
    h.ask(pusher, "RPUSH k 1");
    h.ask(pusher, "RPUSH k 2");
    h.ask(pusher, "RPUSH k 3");
    assert_eq!(h.ask(pusher, "EXEC"), "*3 :1 :2 :3");
    assert_eq!(h.settle(a), b"*2\r\n$1\r\nk\r\n$1\r\n1\r\n");
    assert_eq!(h.settle(b), b"*2\r\n$1\r\nk\r\n$1\r\n3\r\n");
    assert_eq!(h.ask(pusher, "LRANGE k 0 -1"), "*1 $1 2");
    assert!(h.server.state.blocked.is_empty());
}

#[test]
fn a_wait_ends_in_time_and_keeps_its_place_meanwhile() {
    let mut h = warm();
    let (a, b, pusher) = (h.connect(), h.connect(), h.connect());
    h.feed(a, b"BLPOP k 0.1\r\nPING\r\n");
    h.feed(b, b"BLMOVE k t LEFT RIGHT 10\r\n");
    h.advance(50);
    // Another type does not serve it, nor does it lose its place or its time.
    h.script(pusher, &[("ZADD k 1 a", ":1"), ("DEL k", ":1"), ("SET k x", "+OK"), ("DEL k", ":1")]);
    h.advance(49);
    assert_eq!(h.take(a), b"");
    h.advance(1);
    assert_eq!(h.settle(a), b"*-1\r\n+PONG\r\n");
    assert_eq!(h.ask(pusher, "RPUSH k v"), ":1");
    assert_eq!(h.settle(b), b"$1\r\nv\r\n");
    assert_eq!(h.ask(pusher, "LRANGE t 0 -1"), "*1 $1 v");
    h.feed(b, b"BRPOPLPUSH k t 0.01\r\n");
    h.advance(10);
    assert_eq!(h.settle(b), b"*-1\r\n");
    assert!(h.server.state.blocked.is_empty());
}

#[test]
fn serving_one_may_serve_another_and_leaving_forgets() {
    let mut h = warm();
    let (a, b, gone, pusher) = (h.connect(), h.connect(), h.connect(), h.connect());
    h.feed(gone, b"BLPOP one two 0\r\n");
    h.feed(a, b"BLMOVE one two LEFT LEFT 0\r\n");
    h.feed(b, b"BZPOPMIN zero 0\r\n");
    h.server.disconnect(gone);
    assert_eq!(h.ask(pusher, "LPUSH one v"), ":1");
    assert_eq!(h.settle(a), b"$1\r\nv\r\n");
    h.feed(a, b"BLPOP two 0\r\n");
    assert_eq!(h.settle(a), b"*2\r\n$3\r\ntwo\r\n$1\r\nv\r\n");
    // RENAME brings a key about as well as a push does.
    h.script(pusher, &[("ZADD other 1 m 2 n", ":2"), ("RENAME other zero", "+OK")]);
    assert_eq!(h.settle(b), b"*3\r\n$4\r\nzero\r\n$1\r\nm\r\n$1\r\n1\r\n");
    h.script(
        pusher,
        &[
            ("BLPOP k -1", "-ERR timeout is negative"),
            ("BLPOP k x", "-ERR timeout is not a float or out of range"),
            ("BZPOPMAX zero 0", "*3 $4 zero $1 n $1 2"),
            ("SET k v", "+OK"),
            ("BLPOP k 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ],
    );
}

#[test]
fn an_element_is_told_only_when_its_taking_is_durable() {
    let mut h = warm();
    let (a, pusher) = (h.connect(), h.connect());
    h.feed(a, b"BLPOP k 0\r\n");
    h.feed(pusher, b"RPUSH k v\r\n");
    assert_eq!(h.take(a), b"", "not durable yet");
    assert_eq!(h.settle(a), b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n");
    assert_eq!(h.settle(pusher), b":1\r\n");
    let mut h = h.reopened();
    assert_eq!(h.ask(pusher, "EXISTS k"), ":0");
}

#[test]
fn an_operator_ends_a_wait() {
    let mut h = warm();
    let (a, b) = (h.connect(), h.connect());
    let id = h.ask(a, "CLIENT ID").trim_start_matches(':').to_owned();
    h.script(b, &[(&format!("CLIENT UNBLOCK {id}"), ":0"), ("CLIENT UNBLOCK 999", ":0")]);
    for (how, reply) in [
        ("", "*-1"),
        (" TIMEOUT", "*-1"),
        (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    ] {
        h.feed(a, b"BLPOP nothing 0\r\n");
        assert_eq!(h.ask(b, &format!("CLIENT UNBLOCK {id}{how}")), ":1");
        let got = String::from_utf8(h.settle(a)).unwrap();
        assert_eq!(got, format!("{reply}\r\n"), "{how}");
    }
    // And it is as any other afterwards.
    h.feed(a, b"BLPOP list 0\r\n");
    h.ask(b, "RPUSH list x");
    assert_eq!(h.settle(a), b"*2\r\n$4\r\nlist\r\n$1\r\nx\r\n");
}
