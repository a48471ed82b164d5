//! Replies of commands, as Redis 7.2 gives them.

use super::Harness;

#[test]
fn strings() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("GET a", "$-1"),
            ("SET a 1", "+OK"),
            ("GET a", "$1 1"),
            ("SET a 2 NX", "$-1"),
            ("SET b 2 XX", "$-1"),
            ("SET a 2 XX GET", "$1 1"),
            ("SET n 1 NX GET", "$-1"),
            ("SET a 3 NX GET", "$1 2"),
            ("SET a 2 xx ex 100", "+OK"),
            ("TTL a", ":100"),
            ("SET a 2 KEEPTTL", "+OK"),
            ("TTL a", ":100"),
            ("SET a 2", "+OK"),
            ("TTL a", ":-1"),
            ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 EX -5", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 EX abc", "-ERR value is not an integer or out of range"),
            ("SET a 1 EX", "-ERR syntax error"),
            ("SET a 1 EX 1 PX 1", "-ERR syntax error"),
            ("SET a 1 KEEPTTL EX 1", "-ERR syntax error"),
            ("SET a 1 NX XX", "-ERR syntax error"),
            ("SET a [object Object]", "-ERR syntax error"),
            ("SET p 1 PXAT 1", "+OK"),
            ("GET p", "$-1"),
            ("SETNX a 9", ":0"),
            ("SETNX c 9", ":1"),
            ("SETEX s 10 v", "+OK"),
            ("PSETEX s 10000 v", "+OK"),
            ("TTL s", ":10"),
            ("SETEX s 0 v", "-ERR invalid expire time in 'setex' command"),
            ("GETSET s w", "$1 v"),
            ("TTL s", ":-1"),
            ("GETDEL s", "$1 w"),
            ("GETDEL s", "$-1"),
            ("GETEX c EX 50", "$1 9"),
            ("TTL c", ":50"),
            ("GETEX c PERSIST", "$1 9"),
            ("TTL c", ":-1"),
            ("GETEX c EX 1 PERSIST", "-ERR syntax error"),
            ("GETEX c EX 0", "-ERR invalid expire time in 'getex' command"),
            ("GETEX nope EX 0", "$-1"),
            ("MSET x 1 y 2", "+OK"),
            ("MSET x 1 y", "-ERR wrong number of arguments for 'mset' command"),
            ("MGET x nope y", "*3 $1 1 $-1 $1 2"),
            ("MSETNX y 1 z 1", ":0"),
            ("GET z", "$-1"),
            ("MSETNX z 1 w 1", ":1"),
            ("APPEND x 23", ":3"),
            ("STRLEN x", ":3"),
            ("GETRANGE x 0 1", "$2 12"),
            ("GETRANGE x -2 -1", "$2 23"),
            ("SETRANGE x 5 z", ":6"),
            ("STRLEN x", ":6"),
            ("SETRANGE x -1 z", "-ERR offset is out of range"),
            (
                "SETRANGE x 9223372036854775807 z",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            ),
        ],
    );
}

#[test]
fn numbers() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("INCR n", ":1"),
            ("INCRBY n 9", ":10"),
            ("DECR n", ":9"),
            ("DECRBY n 10", ":-1"),
            ("INCRBY n 9223372036854775807", ":9223372036854775806"),
            ("INCRBY n 2", "-ERR increment or decrement would overflow"),
            ("DECRBY n -9223372036854775808", "-ERR decrement would overflow"),
            ("SET s abc", "+OK"),
            ("INCR s", "-ERR value is not an integer or out of range"),
            ("INCRBYFLOAT s 1", "-ERR value is not a valid float"),
            ("INCRBYFLOAT f 10.5", "$4 10.5"),
            ("INCRBYFLOAT f 0.1", "$4 10.6"),
            ("INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity"),
            ("SET e 5 EX 100", "+OK"),
            ("INCR e", ":6"),
            ("TTL e", ":100"),
        ],
    );
}

#[test]
fn expiry() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("TTL a", ":-2"),
            ("EXPIRE a 10", ":0"),
            ("SET a 1", "+OK"),
            ("TTL a", ":-1"),
            ("EXPIRE a 10 XX", ":0"),
            ("EXPIRE a 10 GT", ":0"),
            ("EXPIRE a 10 NX", ":1"),
            ("EXPIRE a 5 GT", ":0"),
            ("EXPIRE a 20 GT", ":1"),
            ("EXPIRE a 30 LT", ":0"),
            ("EXPIRE a 10 LT", ":1"),
            ("PTTL a", ":10000"),
            ("EXPIRETIME a", ":1700000010"),
            ("PEXPIRETIME a", ":1700000010000"),
            ("EXPIRE a 10 FOO", "-ERR Unsupported option FOO"),
            (
                "EXPIRE a 10 NX XX",
                "-ERR NX and XX, GT or LT options at the same time are not compatible",
            ),
            ("EXPIRE a 1 GT LT", "-ERR GT and LT options at the same time are not compatible"),
            ("EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
            ("EXPIRE a abc", "-ERR value is not an integer or out of range"),
            ("PERSIST a", ":1"),
            ("PERSIST a", ":0"),
            ("EXPIREAT a 1700000060", ":1"),
            ("TTL a", ":60"),
            ("PEXPIREAT a 1700000001500", ":1"),
        ],
    );
    h.advance(1_499);
    assert_eq!(h.ask(c, "EXISTS a"), ":1");
    h.advance(1);
    h.script(c, &[("EXISTS a", ":0"), ("GET a", "$-1"), ("TTL a", ":-2"), ("SET b 1", "+OK")]);
    h.script(c, &[("EXPIRE b -1", ":1"), ("EXISTS b", ":0"), ("DBSIZE", ":0")]);
}

#[test]
fn hashes() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("HSET h f 1 g 2", ":2"),
            ("HSET h f 3 i 4", ":1"),
            ("HGETALL h", "*6 $1 f $1 3 $1 g $1 2 $1 i $1 4"),
            ("HMSET h f \"\"", "+OK"),
            ("HGET h f", "$0"),
            ("HGET h nope", "$-1"),
            ("HMGET h f nope g", "*3 $0  $-1 $1 2"),
            ("HSET h f", "-ERR wrong number of arguments for 'hset' command"),
            ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
            ("HSETNX h g 9", ":0"),
            ("HSETNX h j 9", ":1"),
            ("HLEN h", ":4"),
            ("HEXISTS h j", ":1"),
            ("HEXISTS h k", ":0"),
            ("HSTRLEN h j", ":1"),
            ("HKEYS h", "*4 $1 f $1 g $1 i $1 j"),
            ("HVALS h", "*4 $0  $1 2 $1 4 $1 9"),
            ("HINCRBY h g 5", ":7"),
            ("HINCRBY h f 1", "-ERR hash value is not an integer"),
            ("HINCRBYFLOAT h g 0.5", "$3 7.5"),
            ("HINCRBYFLOAT h f 0.5", "-ERR hash value is not a float"),
            ("HSCAN h 0 MATCH [ij]", "*2 $1 0 *4 $1 i $1 4 $1 j $1 9"),
            ("HSCAN h x", "-ERR invalid cursor"),
            ("HDEL h f g nope", ":2"),
            ("EXPIRE h 100", ":1"),
            ("HSET h z 1", ":1"),
            ("TTL h", ":100"),
            ("HDEL h i j z", ":3"),
            ("EXISTS h", ":0"),
            ("SET s v", "+OK"),
            ("HGET s f", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("HSET s f v", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("HSET h f v f w", ":1"),
            ("HGET h f", "$1 w"),
            ("GET h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("MGET h s", "*2 $-1 $1 v"),
            ("SET h v", "+OK"),
            ("HRANDFIELD nope", "$-1"),
            ("HRANDFIELD nope 5", "*0"),
            ("HSET r f v", ":1"),
            ("HRANDFIELD r", "$1 f"),
            ("HRANDFIELD r 3", "*1 $1 f"),
            ("HRANDFIELD r -2", "*2 $1 f $1 f"),
            ("HRANDFIELD r 1 WITHVALUES", "*2 $1 f $1 v"),
            (
                "HRANDFIELD r -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
        ],
    );
}

#[test]
fn keys_whatever_their_type() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("MSET a 1 b 2 c 3", "+OK"),
            ("HSET h f v", ":1"),
            ("EXISTS a a nope", ":2"),
            ("TOUCH a nope", ":1"),
            ("TYPE a", "+string"),
            ("TYPE h", "+hash"),
            ("TYPE nope", "+none"),
            ("DBSIZE", ":4"),
            ("RENAME nope x", "-ERR no such key"),
            ("EXPIRE a 100", ":1"),
            ("RENAME a z", "+OK"),
            ("TTL z", ":100"),
            ("GET a", "$-1"),
            ("RENAMENX z b", ":0"),
            ("RENAMENX z a", ":1"),
            ("RENAME a a", "+OK"),
            ("COPY a d", ":1"),
            ("COPY a d", ":0"),
            ("COPY h d REPLACE", ":1"),
            ("TYPE d", "+hash"),
            ("COPY a a", "-ERR source and destination objects are the same"),
            ("COPY a e DB 1", ":1"),
            ("MOVE b 1", ":1"),
            ("MOVE b 0", "-ERR source and destination objects are the same"),
            ("SELECT 1", "+OK"),
            ("MGET e b", "*2 $1 1 $1 2"),
            ("DBSIZE", ":2"),
            ("FLUSHDB", "+OK"),
            ("DBSIZE", ":0"),
            ("SELECT 16", "-ERR DB index is out of range"),
            ("SELECT x", "-ERR value is not an integer or out of range"),
            ("SELECT 0", "+OK"),
            ("DEL a nope h", ":2"),
            ("UNLINK c", ":1"),
            ("OBJECT ENCODING d", "$8 listpack"),
            ("OBJECT ENCODING nope", "$-1"),
            ("OBJECT HELP", "*11 +OBJECT <subcommand> [<arg> ...]. Subcommands are: +ENCODING +    Returns the encoding of a value. +FREQ +    Answers an error: frequencies of access are not shown. +IDLETIME +    Returns 0: idle times are not tracked. +REFCOUNT +    Returns 1: values are not shared. +HELP +    Prints this help."),
            ("OBJECT REFCOUNT d", ":1"),
            ("KEYS *", "*1 $1 d"),
            ("SCAN 0", "*2 $1 0 *1 $1 d"),
            ("SCAN 0 TYPE string", "*2 $1 0 *0"),
            ("SCAN 0 COUNT 0", "-ERR syntax error"),
            ("SCAN 99999999999999999999", "-ERR invalid cursor"),
            ("RANDOMKEY", "$1 d"),
            ("FLUSHALL ASYNC", "+OK"),
            ("RANDOMKEY", "$-1"),
            ("KEYS *", "*0"),
            ("FLUSHALL NOW", "-ERR syntax error"),
        ],
    );
}

#[test]
fn a_scan_misses_no_key() {
    let mut h = Harness::new();
    let c = h.connect();
    for n in 0..500 {
        h.ask(c, &format!("SET k{n} v"));
    }
    let mut h = h.reopened();
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = h.ask(c, &format!("SCAN {cursor} MATCH k* COUNT 100"));
        let words: Vec<&str> = reply.split(' ').collect();
        cursor = words[2].to_owned();
        seen.extend(words[4..].iter().filter(|w| w.starts_with('k')).map(|w| (*w).to_owned()));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
    assert!(h.ask(c, "KEYS k1*").starts_with("*111 "));
}

#[test]
fn long_lists_of_keys_come_whole_and_in_order_with_what_follows() {
    const KEYS: usize = 6_000;
    let mut h = Harness::new();
    let c = h.connect();
    let name = |n: usize| format!("key:{n:04}:{}", "x".repeat(50));
    for n in (0..KEYS).step_by(100) {
        let pairs: Vec<String> = (n..n + 100).map(|n| format!("{} v", name(n))).collect();
        assert_eq!(h.ask(c, &format!("MSET {}", pairs.join(" "))), "+OK");
    }
    let keys: std::collections::BTreeSet<String> = (0..KEYS).map(name).collect();
    let list = |reply: &str| -> std::collections::BTreeSet<String> {
        reply.split("\r\n").filter(|l| l.starts_with("key:")).map(str::to_owned).collect()
    };
    for (commands, begin, end) in [
        ("KEYS *\r\nPING\r\n", "*6000\r\n$59\r\n", "\r\n+PONG\r\n"),
        ("SCAN 0 COUNT 50000\r\nPING\r\n", "*2\r\n$1\r\n0\r\n*6000\r\n", "\r\n+PONG\r\n"),
        (
            "MULTI\r\nKEYS *\r\nPING\r\nEXEC\r\n",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n*6000\r\n",
            "\r\n+PONG\r\n",
        ),
        ("EVAL \"return redis.call('KEYS', '*')\" 0\r\n", "*6000\r\n$59\r\n", "\r\n"),
        ("KEYS *:0001:*\r\n", "*1\r\n$59\r\nkey:0001:", "\r\n"),
        ("CLIENT REPLY SKIP\r\nKEYS *\r\nPING\r\n", "+PONG\r\n", "+PONG\r\n"),
    ] {
        h.feed(c, commands.as_bytes());
        let reply = String::from_utf8(h.settle(c)).unwrap();
        assert!(reply.starts_with(begin), "{commands}: {:?}", reply.get(..80));
        assert!(reply.ends_with(end), "{commands}: the end");
        let found = list(&reply);
        let all = found == keys && reply.matches("key:").count() == KEYS;
        assert!(all || !begin.contains("6000"), "{commands}: {} keys", found.len());
    }
}
