//! Replies of list commands, as Redis gives them.

use super::Harness;

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn lists() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("RPUSH l a b c", ":3"),
            ("LPUSH l x y", ":5"),
            ("LRANGE l 0 -1", "*5 $1 y $1 x $1 a $1 b $1 c"),
            ("LLEN l", ":5"),
            ("LINDEX l -1", "$1 c"),
            ("LINDEX l 5", "$-1"),
            ("LSET l 0 z", "+OK"),
            ("LSET l 9 z", "-ERR index out of range"),
            ("LSET nope 0 z", "-ERR no such key"),
            ("LINSERT l BEFORE a q", ":6"),
            ("LINSERT l AFTER nope q", ":-1"),
            ("LPOS l b", ":4"),
            ("LPOS l b COUNT 0", "*1 :4"),
            ("LREM l 0 q", ":1"),
            ("LTRIM l 1 -1", "+OK"),
            ("LRANGE l 0 -1", "*4 $1 x $1 a $1 b $1 c"),
            ("LPOP l", "$1 x"),
            ("RPOP l 2", "*2 $1 c $1 b"),
            ("LMOVE l m LEFT RIGHT", "$1 a"),
            ("EXISTS l", ":0"),
            ("RPUSH m b", ":2"),
            ("RPOPLPUSH m m", "$1 b"),
            ("LMPOP 2 l m LEFT COUNT 5", "*2 $1 m *2 $1 b $1 a"),
            ("LMPOP 2 l m LEFT", "*-1"),
            ("LPUSHX l a", ":0"),
            ("LPOP l", "$-1"),
            ("LPOP l 1", "*-1"),
            ("SET s 1", "+OK"),
            ("LPUSH s 1", WRONG),
            ("LMOVE s l LEFT LEFT", WRONG),
            ("RPUSH l 1", ":1"),
            ("LMOVE l s LEFT LEFT", WRONG),
            ("LRANGE l 0 -1", "*1 $1 1"),
            ("TYPE l", "+list"),
        ],
    );
    h.script(c, &[("RPUSH cold a b", ":2"), ("EXPIRE cold 100", ":1")]);
    let mut h = h.reopened();
    h.script(
        c,
        &[
            ("LMOVE cold warm RIGHT LEFT", "$1 b"),
            ("MULTI", "+OK"),
            ("RPUSH cold c", "+QUEUED"),
            ("LMOVE cold warm LEFT LEFT", "+QUEUED"),
            ("BLPOP nothing 0", "+QUEUED"),
            ("EXEC", "*3 :2 $1 a *-1"),
            ("LRANGE warm 0 -1", "*2 $1 a $1 b"),
            ("TTL cold", ":100"),
        ],
    );
}
