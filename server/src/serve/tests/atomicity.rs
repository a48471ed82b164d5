//! MULTI, EXEC, DISCARD, WATCH, publish and subscribe between clients.

use super::Harness;

#[test]
fn transactions_follow_the_rules_of_redis() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "+OK"),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("WATCH a", "-ERR WATCH inside MULTI is not allowed"),
            ("SET a 1", "+QUEUED"),
            ("INCR a", "+QUEUED"),
            ("HGET a f", "+QUEUED"),
            ("PING", "+QUEUED"),
            (
                "EXEC",
                "*4 +OK :2 -WRONGTYPE Operation against a key holding the wrong kind of value \
                 +PONG",
            ),
            ("MULTI", "+OK"),
            ("SET a 9", "+QUEUED"),
            ("NOPE", "-ERR unknown command 'NOPE', with args beginning with:"),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("GET a", "$1 2"),
            ("MULTI", "+OK"),
            ("SET a 9", "+QUEUED"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("MULTI", "+OK"),
            ("SET a 9", "+QUEUED"),
            ("DISCARD", "+OK"),
            ("GET a", "$1 2"),
            ("MULTI", "+OK"),
            ("EXEC", "*0"),
            ("MULTI", "+OK"),
            ("SELECT 3", "+QUEUED"),
            ("SET inthree 1", "+QUEUED"),
            ("DBSIZE", "+QUEUED"),
            ("KEYS *", "+QUEUED"),
            ("SCAN 0", "+QUEUED"),
            ("EXEC", "*5 +OK +OK :1 *0 *2 $1 0 *0"),
            ("GET inthree", "$1 1"),
            ("MULTI", "+OK"),
            ("SELECT 0", "+QUEUED"),
            ("RANDOMKEY", "+QUEUED"),
            ("KEYS ?", "+QUEUED"),
            ("EXEC", "*3 +OK $1 a *1 $1 a"),
        ],
    );
}

#[test]
fn a_watched_key_that_changes_aborts() {
    let mut h = Harness::new();
    let (a, b) = (h.connect(), h.connect());
    // What the other client does, and whether EXEC must abort.
    for (other, aborts) in [
        ("GET k", false),
        ("SET other 1", false),
        ("SET k 2", true),
        ("SET k 1", true),
        ("DEL k", true),
        ("EXPIRE k 1000", true),
        ("APPEND k x", true),
        ("FLUSHALL", true),
        ("RENAME k j", true),
        ("MOVE k 5", true),
    ] {
        h.ask(a, "FLUSHALL");
        h.ask(a, "SET k 1");
        h.script(a, &[("WATCH k", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED")]);
        h.ask(b, other);
        assert_eq!(h.ask(a, "EXEC"), if aborts { "*-1" } else { "*1 +PONG" }, "{other}");
    }
    // A key that came and went again has changed, too.
    h.ask(a, "FLUSHALL");
    h.script(a, &[("WATCH nope", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED")]);
    h.script(b, &[("SET nope 1", "+OK"), ("DEL nope", ":1")]);
    assert_eq!(h.ask(a, "EXEC"), "*-1");
    // An empty database has no key to flush.
    h.script(a, &[("WATCH nope", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED")]);
    h.ask(b, "FLUSHALL");
    assert_eq!(h.ask(a, "EXEC"), "*1 +PONG");
    h.script(a, &[("WATCH k", "+OK"), ("UNWATCH", "+OK")]);
    h.ask(b, "SET k 5");
    h.script(a, &[("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "*1 +PONG")]);
    assert!(h.server.state.watched.is_empty());
}

#[test]
fn a_watched_key_that_expires_aborts() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[("SET k 1 PX 50", "+OK"), ("WATCH k", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED")],
    );
    h.advance(50);
    assert_eq!(h.ask(c, "EXEC"), "*-1");
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(c, &[("WATCH a b", "+OK"), ("SUBSCRIBE x", "*3 $9 subscribe $1 x :1")]);
    h.ask(c, "PSUBSCRIBE y*");
    h.server.disconnect(c);
    assert!(h.server.state.watched.is_empty());
    assert!(h.server.state.pubsub.is_silent());
    assert!(h.server.clients.is_empty());
}

#[test]
fn messages_reach_subscribers() {
    let mut h = Harness::new();
    let (a, b) = (h.connect(), h.connect());
    h.script(
        a,
        &[
            ("SUBSCRIBE x", "*3 $9 subscribe $1 x :1"),
            ("PSUBSCRIBE x*", "*3 $10 psubscribe $2 x* :2"),
            ("PING", "*2 $4 pong $0"),
            (
                "GET k",
                "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context",
            ),
        ],
    );
    assert_eq!(h.ask(b, "PUBLISH x hi"), ":2");
    let got = String::from_utf8(h.settle(a)).unwrap().replace("\r\n", " ");
    assert_eq!(got, "*3 $7 message $1 x $2 hi *4 $8 pmessage $2 x* $1 x $2 hi ");
    h.script(b, &[("PUBSUB CHANNELS", "*1 $1 x"), ("PUBSUB NUMSUB x y", "*4 $1 x :1 $1 y :0")]);
    h.script(b, &[("PUBSUB NUMPAT", ":1")]);
    h.script(
        a,
        &[
            ("UNSUBSCRIBE", "*3 $11 unsubscribe $1 x :1"),
            ("PUNSUBSCRIBE", "*3 $12 punsubscribe $2 x* :0"),
            ("PUNSUBSCRIBE", "*3 $12 punsubscribe $-1 :0"),
            ("GET k", "$-1"),
        ],
    );
    assert_eq!(h.ask(b, "PUBLISH x hi"), ":0");
}

#[test]
fn in_resp3_a_publisher_hears_itself_after_the_reply() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "HELLO 3");
    h.script(
        c,
        &[
            ("SUBSCRIBE x", ">3 $9 subscribe $1 x :1"),
            ("PUBLISH x hi", ":1 >3 $7 message $1 x $2 hi"),
        ],
    );
}

#[test]
fn keyspace_events_are_published() {
    let mut h = Harness::new();
    let (a, b) = (h.connect(), h.connect());
    h.ask(a, "CONFIG SET notify-keyspace-events KEA");
    h.ask(b, "PSUBSCRIBE __key*");
    for (command, event) in [
        ("SET k v", "set"),
        ("EXPIRE k 100", "expire"),
        ("HSET h f v", "hset"),
        ("RENAME k j", "rename_from"),
        ("DEL j", "del"),
    ] {
        h.ask(a, command);
        let got = String::from_utf8(h.settle(b)).unwrap();
        assert!(got.contains(&format!("__keyevent@0__:{event}\r\n")), "{command}: {got}");
    }
}
