//! SESSION.*: what each command answers and what it leaves.

use super::{Harness, request};
use crate::config::Config;

const REVOKED: &str = "-REVOKED this session was ended; its id cannot be written any more";

fn bulks(words: &[&str]) -> String {
    let words = words.iter().map(|word| format!(" ${} {word}", word.len()));
    format!("*{}{}", words.len(), words.collect::<String>())
}

#[test]
fn a_session_is_created_read_merged_and_destroyed_for_good() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("SESSION.CREATE s USER ann IDLE 60 ABSOLUTE 600 FIELDS 2 a 1 b 2", "$1 s"),
            ("SESSION.CREATE s", "-EXISTS there is a session with this id"),
            ("SESSION.GET s", "*4 $1 a $1 1 $1 b $1 2"),
            ("SESSION.GET s FIELDS 3 b x a", "*3 $1 2 $-1 $1 1"),
            ("SESSION.SET s FIELDS 1 b 3", ":2"),
            ("SESSION.SET s IFVER 1 FIELDS 1 b 4", "-CONFLICT the session is at version 2, not 1"),
            ("SESSION.SET s IFVER 2 FIELDS 1 c 4", ":3"),
            ("SESSION.INCR s c 38", ":42"),
            ("SESSION.INCR s n -1", ":-1"),
            ("SESSION.UNSET s FIELDS 2 a zz", ":1"),
            ("SESSION.GET s", "*6 $1 b $1 3 $1 c $2 42 $1 n $2 -1"),
            ("TYPE s", "+session"),
            ("GET s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("SET s x", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("EXPIRE s 9", "-WRONGTYPE a session has its own clocks; use SESSION.EXPIRE"),
            (
                "RENAME s t",
                "-WRONGTYPE a session can be neither copied nor renamed; use SESSION.ROTATE",
            ),
            ("SESSION.DESTROY s", ":1"),
            ("SESSION.DESTROY s", ":0"),
            ("SESSION.GET s", "*-1"),
            ("SESSION.SET s FIELDS 1 b 3", REVOKED),
            ("SESSION.TOUCH s", REVOKED),
            ("SESSION.CREATE s", REVOKED),
            ("SESSION.SET none FIELDS 1 b 3", "-NOSESSION no such session"),
        ],
    );
}

#[test]
fn a_tombstone_is_nothing_to_readers_and_refuses_every_writer() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(c, &[("SESSION.CREATE s USER u", "$1 s"), ("SET other 1", "+OK")]);
    h.script(c, &[("DEL s", ":1"), ("DEL s", ":0"), ("HSET h f v", ":1"), ("RPUSH l x", ":1")]);
    for _ in 0..2 {
        h.script(
            c,
            &[
                ("GET s", "$-1"),
                ("EXISTS s", ":0"),
                ("TYPE s", "+none"),
                ("TTL s", ":-2"),
                ("PERSIST s", ":0"),
                ("EXPIRE s 5", ":0"),
                ("HGETALL s", "*0"),
                ("DBSIZE", ":3"),
                ("SCAN 0 MATCH s* COUNT 1000", "*2 $1 0 *0"),
                ("KEYS s", "*0"),
                ("OBJECT ENCODING s", "$-1"),
                ("SET s v", REVOKED),
                ("SET s v NX", REVOKED),
                ("SETEX s 10 v", REVOKED),
                ("SETNX s v", REVOKED),
                ("APPEND s v", REVOKED),
                ("INCR s", REVOKED),
                ("HSET s f v", REVOKED),
                ("RPUSH s v", REVOKED),
                ("MSET a 1 s 2", REVOKED),
                ("EXISTS a", ":0"),
                ("RENAME other s", REVOKED),
                ("COPY other s", REVOKED),
                ("LMOVE l s LEFT LEFT", REVOKED),
                ("LLEN l", ":1"),
                ("MULTI", "+OK"),
                ("SET b 1", "+QUEUED"),
                ("MSET c 1 s 2", "+QUEUED"),
                ("SET s 2", "+QUEUED"),
                ("EXEC", &format!("*3 +OK {REVOKED} {REVOKED}")),
                ("DEL b", ":1"),
                ("SESSION.CREATE s", REVOKED),
                ("SESSION.LIST u", "*0"),
            ],
        );
        // The same after a restart, with nothing in RAM.
        h = h.reopened();
    }
    for _ in 0..40 {
        assert_ne!(h.ask(c, "RANDOMKEY"), "$1 s");
    }
    h.script(c, &[("FLUSHALL", "+OK"), ("SET s v", "+OK")]);
}

#[test]
fn both_clocks_are_exact_and_a_tombstone_lasts_until_the_deadline() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "SESSION.CREATE idle USER u IDLE 10");
    h.ask(c, "SESSION.CREATE both USER u IDLE 10 ABSOLUTE 25");
    h.ask(c, "SESSION.CREATE gone ABSOLUTE 25");
    h.ask(c, "SESSION.DESTROY gone");
    h.advance(9_999);
    h.script(c, &[("SESSION.TOUCH idle", ":1"), ("SESSION.GET both", "*0")]);
    h.advance(9_999);
    h.script(c, &[("SESSION.GET both NOTOUCH", "*0"), ("SESSION.COUNT u", ":2")]);
    h.advance(1);
    h.script(c, &[("SESSION.GET idle", "*-1"), ("SESSION.GET both", "*-1")]);
    h.script(c, &[("SESSION.COUNT u", ":0"), ("SET gone x", REVOKED)]);
    h.ask(c, "SESSION.CREATE both USER u IDLE 10 ABSOLUTE 25");
    for _ in 0..4 {
        h.advance(5_000);
        assert_eq!(h.ask(c, "SESSION.GET both"), "*0");
    }
    // Cold, and touched within a quantum of its deadline.
    let mut h = h.reopened();
    h.advance(4_999);
    h.script(c, &[("SESSION.LIST u", "*1 $4 both"), ("SESSION.GET both", "*0")]);
    h.advance(1);
    h.script(c, &[("SESSION.LIST u", "*0"), ("SESSION.GET both", "*-1"), ("DBSIZE", ":0")]);
    h.script(c, &[("SET gone x", "+OK")]);
}

#[test]
fn touched_sessions_end_at_their_deadline_after_a_crash_too() {
    let mut h = Harness::new();
    let c = h.connect();
    // A quantum of touches is 128 s here; the deadline is 100 s after the last one.
    h.ask(c, "SESSION.CREATE s USER u IDLE 3000 ABSOLUTE 3100");
    h.advance(3_000_000 - 1_000);
    h.ask(c, "SESSION.GET s");
    h.ask(c, "SET a b");
    let mut h = h.reopened();
    h.advance(100_999);
    h.script(c, &[("SESSION.COUNT u", ":1")]);
    h.advance(1);
    h.script(c, &[("SESSION.COUNT u", ":0"), ("SESSION.GET s", "*-1"), ("DBSIZE", ":1")]);
}

#[test]
fn a_users_sessions_are_listed_limited_and_revoked() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "SESSION.CREATE a USER ann DEVICE phone IDLE 100");
    h.advance(1_000);
    h.ask(c, "SESSION.CREATE b USER ann IDLE 100 FIELDS 1 x y");
    h.ask(c, "SESSION.CREATE z USER bob");
    assert_eq!(h.ask(c, "SESSION.LIST ann"), bulks(&["a", "b"]));
    let meta = h.ask(c, "SESSION.LIST bob META");
    assert!(
        meta.starts_with("*1 *2 $1 z *16 $4 user $3 bob $6 device $0  $7 version :1"),
        "{meta}"
    );
    assert_eq!(
        h.ask(c, "SESSION.CREATE c USER ann MAXPERUSER 2 REJECT"),
        "-MAXSESSIONS the user has 2 sessions, 2 are allowed"
    );
    // `a` has been idle for longer, until it is read.
    h.advance(1_000);
    h.ask(c, "SESSION.GET a");
    assert_eq!(h.ask(c, "SESSION.CREATE c USER ann IDLE 100 MAXPERUSER 2 EVICT"), "$1 c");
    assert_eq!(h.ask(c, "SESSION.LIST ann"), bulks(&["a", "c"]));
    assert_eq!(h.ask(c, "SESSION.SET b FIELDS 1 x z"), REVOKED);
    // Values are cold, and stay so.
    let mut h = h.reopened();
    let meta = h.ask(c, "SESSION.LIST ann META");
    assert!(meta.contains("$6 device $5 phone"), "{meta}");
    assert_eq!(h.ask(c, "SESSION.REVOKE ann EXCEPT a"), ":1");
    let mut h = h.reopened();
    assert_eq!(h.ask(c, "SESSION.LIST ann"), bulks(&["a"]));
    assert_eq!(h.ask(c, "SESSION.REVOKE ann"), ":1");
    assert_eq!(h.server.shard.as_ref().unwrap().stats().cold_gets, 0, "revoked without a read");
    h.script(c, &[("SESSION.COUNT ann", ":0"), ("SESSION.COUNT bob", ":1"), ("DBSIZE", ":1")]);
    h.script(c, &[("SESSION.GET a", "*-1"), ("SESSION.TOUCH c", REVOKED)]);
    assert_eq!(h.server.shard.as_ref().unwrap().orphaned_labels(), 0);
}

#[test]
fn revoking_many_is_one_step_of_the_log() {
    let mut h = Harness::new();
    let c = h.connect();
    for n in 0..500 {
        h.ask(c, &format!("SESSION.CREATE s{n} USER u FIELDS 1 f v"));
    }
    let mut h = h.reopened();
    let before = h.server.shard.as_ref().unwrap().appended_lsn();
    assert_eq!(h.ask(c, "SESSION.REVOKE u"), ":500");
    let after = h.server.shard.as_ref().unwrap().appended_lsn();
    assert_eq!(after.0 - before.0, 501, "500 tombstones and the commit that makes them one");
}

#[test]
fn an_id_is_rotated_in_one_step() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("SESSION.CREATE old USER u IDLE 50 FIELDS 1 a 1", "$3 old"),
            ("SESSION.CREATE taken", "$5 taken"),
            ("SESSION.ROTATE old taken", "-EXISTS there is a session with this id"),
            ("SESSION.ROTATE old new", ":2"),
            ("SESSION.GET new", "*2 $1 a $1 1"),
            ("SESSION.GET old", "*-1"),
            ("SESSION.SET old FIELDS 1 a 2", REVOKED),
            ("SESSION.ROTATE old newer", REVOKED),
            ("SESSION.ROTATE new old", REVOKED),
            ("SESSION.LIST u", "*1 $3 new"),
        ],
    );
}

#[test]
fn ends_wait_for_the_disk_at_every_level_and_writes_do_not() {
    let config = Config { ack: emberlog_engine::Ack::Memory, ..Config::default() };
    let mut h = Harness::with(config);
    h.server.shard.as_mut().unwrap().set_ack(emberlog_engine::Ack::Memory);
    let (c, listener) = (h.connect(), h.connect());
    h.ask(c, "SET a b");
    h.ask(listener, "SUBSCRIBE __sessionevent@0__:destroyed");
    h.feed(c, b"SESSION.CREATE s\r\n");
    h.server.settle();
    assert_eq!(h.take(c), b"$1\r\ns\r\n");
    h.feed(c, b"SESSION.DESTROY s\r\nPING\r\n");
    h.server.settle();
    assert_eq!((h.take(c), h.take(listener)), (Vec::new(), Vec::new()));
    assert_eq!(h.settle(c), b":1\r\n+PONG\r\n");
    assert!(String::from_utf8_lossy(&h.settle(listener)).ends_with("$1\r\ns\r\n"));
}

#[test]
fn locks_are_served_in_order_and_stale_tokens_are_refused() {
    let mut h = Harness::new();
    let (a, b, d) = (h.connect(), h.connect(), h.connect());
    h.ask(a, "SESSION.CREATE s");
    let first = h.ask(a, "SESSION.LOCK s 1000");
    assert_eq!(h.ask(b, "SESSION.LOCK s 1000"), "$-1", "no WAIT, no waiting");
    h.feed(b, b"SESSION.LOCK s 1000 WAIT 5000\r\n");
    h.feed(d, b"SESSION.LOCK s 1000 WAIT 5000\r\n");
    assert_eq!((h.take(b), h.take(d)), (Vec::new(), Vec::new()));
    let token = first.trim_start_matches(':').to_owned();
    assert_eq!(h.ask(a, &format!("SESSION.SET s TOKEN {token} FIELDS 1 a 1")), ":2");
    assert_eq!(h.ask(a, &format!("SESSION.UNLOCK s {token}")), ":1");
    let second = String::from_utf8(h.settle(b)).unwrap().trim_end().to_owned();
    assert!(second > first, "{second} after {first}");
    let stale = format!("SESSION.SET s TOKEN {token} FIELDS 1 a 2");
    let refusal = "-STALETOKEN the lock that this token was for is held no more";
    assert_eq!(h.ask(a, &stale), refusal);
    assert_eq!(h.ask(a, "SESSION.SET s FIELDS 1 a 3"), ":3", "without a token nothing is claimed");
    // The lease of the second runs out without an unlock.
    h.advance(1_000);
    let third = String::from_utf8(h.settle(d)).unwrap().trim_end().to_owned();
    assert!(third > second, "{third} after {second}");
    h.feed(b, b"SESSION.LOCK s 1000 WAIT 5000\r\n");
    assert_eq!(h.ask(a, "SESSION.DESTROY s"), ":1");
    assert_eq!(String::from_utf8(h.settle(b)).unwrap().trim_end(), REVOKED);
    h.ask(a, "SESSION.CREATE t");
    h.ask(a, "SESSION.LOCK t 60000");
    h.feed(b, b"SESSION.LOCK t 1000 WAIT 300\r\n");
    h.advance(299);
    assert_eq!(h.take(b), b"");
    h.advance(1);
    assert_eq!(h.settle(b), b"$-1\r\n", "it waited in vain");
}

#[test]
fn events_tell_what_happened_and_why() {
    let mut h = Harness::new();
    let (c, listener) = (h.connect(), h.connect());
    h.ask(listener, "PSUBSCRIBE __sessionevent@0__:*");
    for line in [
        "SESSION.CREATE s USER u",
        "SESSION.SET s FIELDS 1 a 1",
        "SESSION.ROTATE s t",
        "SESSION.DESTROY t",
        "SESSION.CREATE r USER u",
        "SESSION.REVOKE u",
    ] {
        h.ask(c, line);
    }
    let heard = String::from_utf8(h.settle(listener)).unwrap();
    let told: Vec<&str> = heard
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("__sessionevent@0__:"))
        .filter(|event| *event != "*")
        .collect();
    let expected = ["created", "changed", "rotated", "created", "destroyed", "created", "revoked"];
    assert_eq!(told, expected);
}

#[test]
fn replies_in_resp3_are_maps() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "HELLO 3");
    h.ask(c, "SESSION.CREATE s DEVICE d IDLE 5 FIELDS 1 a 1");
    let got = h.ask(c, "SESSION.GET s META");
    assert!(
        got.starts_with("*2 %8 $4 user $0  $6 device $1 d $7 version :1 $7 created :"),
        "{got}"
    );
    assert!(got.ends_with("%1 $1 a $1 1"), "{got}");
    assert_eq!(h.ask(c, "SESSION.GET none"), "_");
}

#[test]
fn mistakes_are_told() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "SESSION.CREATE s");
    for (line, error) in [
        ("SESSION.CREATE t IDLE -1", "-ERR seconds must be 0 to 4294967295"),
        ("SESSION.CREATE t IDLE", "-ERR syntax error"),
        ("SESSION.CREATE t MAXPERUSER 1 EVICT", "-ERR MAXPERUSER needs USER"),
        ("SESSION.CREATE t USER u MAXPERUSER 0 EVICT", "-ERR MAXPERUSER must be at least 1"),
        ("SESSION.CREATE t FIELDS 2 a b", "-ERR 4 arguments should follow numfields"),
        (
            "SESSION.CREATE t FIELDS 99999999999999999 a b",
            "-ERR 199999999999999998 arguments should follow numfields",
        ),
        ("SESSION.SET s FIELDS 0 a b", "-ERR numfields should be greater than 0"),
        ("SESSION.SET s IFVER x FIELDS 1 a b", "-ERR value is not an integer or out of range"),
        ("SESSION.GET s META FIELDS 1", "-ERR 1 arguments should follow numfields"),
        ("SESSION.INCR s a b", "-ERR value is not an integer or out of range"),
        ("SESSION.LOCK s 0", "-ERR milliseconds must be positive and at most 24 hours"),
        ("SESSION.LOCK none 10", "-NOSESSION no such session"),
        ("SESSION.UNLOCK s 5", ":0"),
    ] {
        assert_eq!(h.ask(c, line), error, "{line}");
    }
    let id = h.ask(c, "SESSION.CREATE * IDLE 9");
    assert_eq!(id.len(), "$43 ".len() + 43, "{id}");
}

#[test]
fn sessions_that_expire_are_told_also_when_they_are_cold() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "SESSION.CREATE owned USER u IDLE 20");
    h.ask(c, "SESSION.CREATE alone IDLE 21");
    h.ask(c, "SESSION.CREATE gone ABSOLUTE 22");
    h.ask(c, "SESSION.DESTROY gone");
    h.ask(c, "SETEX plain 20 x");
    let mut h = h.reopened();
    let listener = h.connect();
    h.ask(listener, "SUBSCRIBE __sessionevent@0__:expired");
    for _ in 0..260 {
        h.advance(100);
    }
    let heard = String::from_utf8(h.settle(listener)).unwrap();
    let expired: Vec<&str> =
        ["owned", "alone", "gone", "plain"].into_iter().filter(|sid| heard.contains(sid)).collect();
    assert_eq!(expired, ["owned", "alone"], "{heard}");
}

#[test]
fn scripts_end_sessions_for_good_and_are_refused_by_tombstones() {
    let mut h = Harness::new();
    let c = h.connect();
    let eval = |h: &mut Harness, body: &str| {
        h.feed(c, &request(&[b"EVAL", body.as_bytes(), b"1", b"s"]));
        String::from_utf8_lossy(&h.settle(c)).trim_end().replace("\r\n", " ")
    };
    let create = "return redis.call('session.create', KEYS[1], 'USER', 'u', 'FIELDS', 1, 'a', 1)";
    assert_eq!(eval(&mut h, create), "$1 s");
    assert_eq!(eval(&mut h, "return redis.call('session.get', KEYS[1])"), "*2 $1 a $1 1");
    let end = "redis.call('session.set', KEYS[1], 'FIELDS', 1, 'a', 2); \
               local n = redis.call('del', KEYS[1]); \
               return {n, redis.call('exists', KEYS[1]), redis.call('dbsize')}";
    assert_eq!(eval(&mut h, end), "*3 :1 :0 :0");
    let mut h = h.reopened();
    let refused = eval(&mut h, "return redis.call('set', KEYS[1], 'late')");
    assert!(refused.starts_with("-REVOKED "), "{refused}");
    let listed = eval(&mut h, "return redis.call('session.list', 'u')");
    assert!(listed.starts_with("-ERR a user's sessions cannot be listed"), "{listed}");
    assert_eq!(h.ask(c, "SESSION.COUNT u"), ":0");
}
