//! Replies of set commands, as Redis gives them.

use super::Harness;

#[test]
fn sets() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("SADD s b a b", ":2"),
            ("SADD s a", ":0"),
            ("SCARD s", ":2"),
            ("SISMEMBER s a", ":1"),
            ("SMISMEMBER s a x", "*2 :1 :0"),
            ("SMEMBERS s", "*2 $1 a $1 b"),
            ("TYPE s", "+set"),
            ("SMOVE s t a", ":1"),
            ("SMOVE s t x", ":0"),
            ("SINTER s t", "*0"),
            ("SUNION s t", "*2 $1 a $1 b"),
            ("SDIFFSTORE d s t", ":1"),
            ("SINTERCARD 2 s d LIMIT 1", ":1"),
            ("SINTERCARD 0 s", "-ERR numkeys should be greater than 0"),
            ("SINTERCARD 3 s", "-ERR Number of keys can't be greater than number of args"),
            ("SINTERSTORE d s nope", ":0"),
            ("EXISTS d", ":0"),
            ("SPOP s 0", "*0"),
            ("SPOP s", "$1 b"),
            ("EXISTS s", ":0"),
            ("SPOP s", "$-1"),
            ("SPOP s -1", "-ERR value is out of range, must be positive"),
            ("SRANDMEMBER t -3", "*3 $1 a $1 a $1 a"),
            ("SRANDMEMBER nope", "$-1"),
            ("SSCAN t 0", "*2 $1 0 *1 $1 a"),
            ("SET str x", "+OK"),
            ("SADD str a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("SUNION t str", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("SREM t a b", ":1"),
            ("EXISTS t", ":0"),
            ("SADD k 1", ":1"),
            ("EXPIRE k 100", ":1"),
            ("SADD k 2", ":1"),
            ("TTL k", ":100"),
        ],
    );
    assert!(h.ask(c, "HELLO 3").starts_with('%'));
    assert_eq!(h.ask(c, "SMEMBERS k"), "~2 $1 1 $1 2");
    assert_eq!(h.ask(c, "SADD cold a b"), ":2");
    let mut h = h.reopened();
    assert_eq!(h.ask(c, "SINTER cold cold"), "~2 $1 a $1 b");
    h.script(c, &[("MULTI", "+OK"), ("SREM cold a", "+QUEUED"), ("SCARD cold", "+QUEUED")]);
    assert_eq!(h.ask(c, "EXEC"), "*2 :1 :1");
}
