//! Scripts against the store: cold keys, atomicity, what is left of one that fails or is stopped.

use std::cell::Cell;

use super::{Harness, request};

/// Sends EVAL and shows its reply, line ends as blanks.
fn eval(h: &mut Harness, client: usize, body: &str, keys: &[&str], argv: &[&str]) -> String {
    let count = keys.len().to_string();
    let mut args: Vec<&[u8]> = vec![b"EVAL", body.as_bytes(), count.as_bytes()];
    args.extend(keys.iter().chain(argv).map(|arg| arg.as_bytes()));
    h.feed(client, &request(&args));
    let reply = h.settle(client);
    String::from_utf8_lossy(&reply).trim_end().replace("\r\n", " ")
}

#[test]
fn scripts_that_plugins_send() {
    let mut h = Harness::new();
    let c = h.connect();
    let release = "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return \
                   redis.call(\"del\",KEYS[1]) else return 0 end";
    let sha = "b70c2384248f88e6b75b9f89241a180f856ad852";
    h.ask(c, "SET k_LOCK me NX PX 1000");
    assert_eq!(
        h.ask(c, &format!("EVALSHA {sha} 1 k_LOCK me")),
        "-NOSCRIPT No matching script. Please use EVAL."
    );
    assert_eq!(eval(&mut h, c, release, &["k_LOCK"], &["other"]), ":0");
    assert_eq!(h.ask(c, &format!("EVALSHA {sha} 1 k_LOCK me")), ":1");
    assert_eq!(h.ask(c, &format!("SCRIPT EXISTS {sha} {}", "0".repeat(40))), "*2 :1 :0");
    assert_eq!(h.ask(c, "SCRIPT FLUSH"), "+OK");
    assert_eq!(h.ask(c, &format!("SCRIPT EXISTS {sha}")), "*1 :0");
    let add =
        "return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])";
    assert_eq!(eval(&mut h, c, add, &["a"], &["v", "100"]), "+OK");
    assert_eq!(eval(&mut h, c, add, &["a"], &["v", "100"]), "$-1");
    assert_eq!(h.ask(c, "TTL a"), ":100");
}

#[test]
fn keys_that_nobody_declared_may_be_cold_even_after_a_write() {
    let mut h = Harness::new();
    let c = h.connect();
    for n in 0..20 {
        h.ask(c, &format!("SET k{n} {n}"));
    }
    h.ask(c, "SET count 0");
    let mut h = h.reopened();
    // Each key is come upon after a write; if any run counted twice, the sum would tell.
    let body = "local sum = 0
        for n = 0, 19 do
            redis.call('incr', 'count')
            redis.call('append', 'k' .. n, '0')
            sum = sum + tonumber(redis.call('get', 'k' .. n))
        end
        return {sum, redis.call('get', 'count')}";
    assert_eq!(eval(&mut h, c, body, &[], &[]), "*2 :1900 $2 20");
    assert_eq!(h.ask(c, "MGET count k0 k19"), "*3 $2 20 $2 00 $3 190");
    assert!(h.server.state.stats.cold_commands >= 20);
    let mut h = h.reopened();
    assert_eq!(h.ask(c, "MGET count k0 k19"), "*3 $2 20 $2 00 $3 190");
}

#[test]
fn a_script_sees_its_own_writes_and_nobody_else_sees_half() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "MSET old 1 gone 1 kept 1");
    let body = "local r = {}
        redis.call('set', 'new', 'x', 'EX', 100)
        redis.call('del', 'gone', 'nothing')
        redis.call('expire', 'kept', 50)
        r[1] = redis.call('exists', 'new', 'gone', 'kept')
        r[2] = redis.call('dbsize')
        r[3] = redis.call('ttl', 'new')
        r[4] = redis.call('ttl', 'kept')
        local keys = redis.call('keys', '*')
        table.sort(keys)
        r[5] = table.concat(keys, ',')
        redis.call('rename', 'new', 'newer')
        redis.call('hset', 'h', 'f', 'v')
        redis.call('select', 3)
        redis.call('set', 'elsewhere', '1')
        r[6] = redis.call('dbsize')
        return r";
    assert_eq!(eval(&mut h, c, body, &[], &[]), "*6 :2 :3 :100 :50 $12 kept,new,old :1");
    h.script(
        c,
        &[
            ("EXISTS new newer gone kept old h", ":4"),
            ("TTL newer", ":100"),
            ("HGET h f", "$1 v"),
            ("EXISTS elsewhere", ":0"),
            ("SELECT 3", "+OK"),
            ("GET elsewhere", "$1 1"),
            ("SELECT 0", "+OK"),
        ],
    );
    let body = "redis.call('set', 'a', '1') redis.call('flushdb') redis.call('set', 'b', '2')
        return {redis.call('dbsize'), redis.call('get', 'a'), redis.call('exists', 'old')}";
    assert_eq!(eval(&mut h, c, body, &[], &[]), "*3 :1 $-1 :0");
    h.script(c, &[("KEYS *", "*1 $1 b"), ("DBSIZE", ":1")]);
    let mut h = h.reopened();
    h.script(c, &[("KEYS *", "*1 $1 b"), ("GET b", "$1 2")]);
}

#[test]
fn what_was_written_before_an_error_stays_as_in_redis() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "SET s text");
    let reply = eval(&mut h, c, "redis.call('set', 'a', 1) redis.call('incr', 's')", &[], &[]);
    assert!(reply.starts_with("-ERR value is not an integer or out of range script: "), "{reply}");
    assert_eq!(h.ask(c, "GET a"), "$1 1");
}

thread_local! {
    static MICROS: Cell<u64> = const { Cell::new(0) };
}

/// A clock that goes on by a millisecond whenever it is looked at.
fn hasty() -> u64 {
    MICROS.with(|micros| {
        micros.set(micros.get() + 1_000);
        micros.get()
    })
}

#[test]
fn a_stopped_script_has_done_nothing() {
    let mut h = Harness::new();
    h.server.clock_us = hasty;
    let c = h.connect();
    h.ask(c, "CONFIG SET lua-time-limit 50");
    h.ask(c, "SUBSCRIBE news");
    let d = h.connect();
    let body = "redis.call('set', 'a', 1) redis.call('publish', 'news', 'x') while true do end";
    assert_eq!(
        eval(&mut h, d, body, &[], &[]),
        "-ERR the script was stopped after 50 ms (lua-time-limit); none of its writes were made"
    );
    h.script(d, &[("EXISTS a", ":0"), ("MULTI", "+OK"), ("SET b 1", "+QUEUED")]);
    h.feed(d, &request(&[b"EVAL", body.as_bytes(), b"0"]));
    h.settle(d);
    assert_eq!(
        h.ask(d, "EXEC"),
        "*2 +OK -ERR the script was stopped after 50 ms (lua-time-limit); none of its writes were made"
    );
    h.script(d, &[("EXISTS a", ":0"), ("GET b", "$1 1")]);
    assert_eq!(h.take(c), b"", "its message was not sent");
    assert_eq!(eval(&mut h, d, "return redis.call('publish', 'news', 'y')", &[], &[]), ":1");
    assert_eq!(h.settle(c), b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\ny\r\n");
}

#[test]
fn scripts_in_transactions_come_upon_cold_keys_too() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "MSET n 1 x 5 y 6");
    let mut h = h.reopened();
    h.script(c, &[("MULTI", "+OK"), ("INCR n", "+QUEUED")]);
    let body = b"redis.call('incr', 'x') return redis.call('incr', 'y') + redis.call('get', 'n')";
    h.feed(c, &request(&[b"EVAL", body, b"0"]));
    assert_eq!(h.settle(c), b"+QUEUED\r\n");
    h.script(c, &[("INCR n", "+QUEUED"), ("KEYS ?", "+QUEUED")]);
    assert_eq!(h.ask(c, "EXEC"), "*4 :2 :9 :3 *3 $1 n $1 x $1 y");
    assert_eq!(h.ask(c, "MGET n x y"), "*3 $1 3 $1 6 $1 7");
}

#[test]
fn watchers_and_listeners_hear_of_a_script_once() {
    let mut h = Harness::new();
    let (a, b) = (h.connect(), h.connect());
    h.ask(a, "SET cold 1");
    let mut h = h.reopened();
    h.ask(a, "CONFIG SET notify-keyspace-events KEA");
    h.ask(b, "PSUBSCRIBE __keyevent*");
    h.script(a, &[("WATCH k", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED")]);
    let d = h.connect();
    eval(&mut h, d, "redis.call('set', 'k', 1) return redis.call('get', 'cold')", &[], &[]);
    assert_eq!(h.ask(a, "EXEC"), "*-1");
    let heard = String::from_utf8(h.settle(b)).unwrap();
    assert_eq!(heard.matches("__keyevent@0__:set").count(), 1, "{heard}");
}

#[test]
fn what_scripts_may_not_do() {
    let mut h = Harness::new();
    let c = h.connect();
    for (body, error) in [
        ("return redis.call('nope')", "ERR Unknown Redis command called from script"),
        ("return redis.call('get')", "ERR Wrong number of args calling Redis command from script"),
        (
            "return redis.call('eval', 'return 1', 0)",
            "ERR This Redis command is not allowed from script",
        ),
        (
            "return redis.call('subscribe', 'x')",
            "ERR This Redis command is not allowed from script",
        ),
        (
            "return redis.call('config', 'get', '*')",
            "ERR This Redis command is not allowed from script",
        ),
        ("return redis.call('multi')", "ERR This Redis command is not allowed from script"),
        (
            "#!lua flags=no-writes\nreturn redis.call('set', 'a', 1)",
            "ERR Write commands are not allowed from read-only scripts.",
        ),
    ] {
        let reply = eval(&mut h, c, body, &[], &[]);
        assert!(reply.starts_with(&format!("-{error} script: ")), "{body}: {reply}");
    }
    h.script(
        c,
        &[
            ("EVAL \"return 1\" -1", "-ERR Number of keys can't be negative"),
            ("EVAL \"return 1\" 1", "-ERR Number of keys can't be greater than number of args"),
            ("EVAL_RO \"return redis.call('get', 'a')\" 0", "$-1"),
            ("SCRIPT KILL", "-NOTBUSY No scripts in execution right now."),
            ("CONFIG SET lua no", "+OK"),
            ("EVAL \"return 1\" 0", "-ERR scripts are turned off by the setting lua"),
            ("SCRIPT LOAD \"return 1\"", "-ERR scripts are turned off by the setting lua"),
        ],
    );
    h.ask(c, "CONFIG SET lua yes");
    let reply = h.ask(c, "EVAL_RO \"return redis.call('set', 'a', 1)\" 0");
    assert!(reply.starts_with("-ERR Write commands are not allowed"), "{reply}");
    let reply = eval(
        &mut h,
        c,
        "for n = 1, 70 do redis.call('set', n, string.rep('x', 400000)) end",
        &[],
        &[],
    );
    assert!(reply.starts_with("-OOM") || reply.starts_with("-ERR the script writes"), "{reply}");
}

#[test]
fn a_key_that_a_stopped_script_found_expired_is_told_all_the_same() {
    let mut h = Harness::new();
    let (a, b) = (h.connect(), h.connect());
    h.ask(a, "SET cold 1");
    let mut h = h.reopened();
    h.ask(a, "CONFIG SET notify-keyspace-events Ex");
    h.ask(b, "PSUBSCRIBE __keyevent*");
    h.ask(a, "SET short 1 PX 5");
    h.now = h.now.plus(5);
    h.server.set_now(h.now);
    // The first run finds it expired and then stops at the cold key.
    let body = "return {redis.call('exists', 'short'), redis.call('get', 'cold')}";
    assert_eq!(eval(&mut h, a, body, &[], &[]), "*2 :0 $1 1");
    let heard = String::from_utf8(h.settle(b)).unwrap();
    assert_eq!(heard.matches("__keyevent@0__:expired").count(), 1, "{heard}");
}
