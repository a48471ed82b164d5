//! Commands for operators and tools.

use super::{Harness, request};

#[test]
fn a_dump_is_restored_and_a_damaged_one_refused() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[("SET s value PX 5000", "+OK"), ("HSET h f v g w", ":2"), ("DUMP nothing", "$-1")],
    );
    let mut payload = |key: &[u8]| {
        h.feed(c, &request(&[b"DUMP", key]));
        let reply = h.settle(c);
        let start = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        reply[start..reply.len() - 2].to_vec()
    };
    let (string, hash) = (payload(b"s"), payload(b"h"));
    let send = |h: &mut Harness, args: &[&[u8]]| {
        h.feed(c, &request(args));
        String::from_utf8_lossy(&h.settle(c)).trim_end().replace("\r\n", " ")
    };
    let broken = [&hash[..hash.len() - 1], b"x"].concat();
    let at = (h.now.0 + 7_000).to_string();
    let steps: [(&[&[u8]], &str); 13] = [
        (&[b"RESTORE", b"s", b"0", &string], "-BUSYKEY Target key name already exists."),
        (&[b"RESTORE", b"s2", b"-1", &string], "-ERR Invalid TTL value, must be >= 0"),
        (&[b"RESTORE", b"s2", b"0", &broken], "-ERR DUMP payload version or checksum are wrong"),
        (
            &[b"RESTORE", b"s2", b"0", &string, b"FREQ", b"256"],
            "-ERR Invalid FREQ value, must be >= 0 and <= 255",
        ),
        (
            &[b"RESTORE", b"s2", b"0", &string, b"IDLETIME", b"-1"],
            "-ERR Invalid IDLETIME value, must be >= 0",
        ),
        (&[b"RESTORE", b"s2", b"0", &string, b"NOPE"], "-ERR syntax error"),
        (&[b"RESTORE", b"s2", b"0", &string], "+OK"),
        (&[b"RESTORE", b"s", b"3000", &hash, b"REPLACE", b"IDLETIME", b"5", b"FREQ", b"3"], "+OK"),
        (&[b"HGETALL", b"s"], "*4 $1 f $1 v $1 g $1 w"),
        (&[b"PTTL", b"s"], ":3000"),
        (&[b"RESTORE", b"h", at.as_bytes(), &string, b"ABSTTL", b"REPLACE"], "+OK"),
        (&[b"PTTL", b"h"], ":7000"),
        (&[b"RESTORE", b"h", b"1", &string, b"ABSTTL", b"REPLACE"], "+OK"),
    ];
    for (args, expected) in steps {
        assert_eq!(send(&mut h, args), expected, "{}", args[0].escape_ascii());
    }
    h.script(c, &[("EXISTS h", ":0"), ("GET s2", "$5 value"), ("TTL s2", ":-1")]);
}

#[test]
fn what_is_not_there_says_so() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("ACL WHOAMI", "$7 default"),
            ("ACL USERS", "*1 $7 default"),
            ("ACL LIST", "*1 $51 user default on nopass sanitize-payload ~* &* +@all"),
            ("ACL GETUSER nobody", "$-1"),
            ("ACL CAT nope", "-ERR Unknown category 'nope'"),
            ("ACL DRYRUN default GET x", "+OK"),
            ("ACL DRYRUN default GET", "-ERR wrong number of arguments for 'get' command"),
            ("ACL DRYRUN you GET x", "-ERR User 'you' not found"),
            ("ACL DELUSER default", "-ERR The 'default' user cannot be removed"),
            ("ACL LOG", "*0"),
            ("FUNCTION LIST", "*0"),
            ("FCALL f 0", "-ERR Function not found"),
            ("FUNCTION LOAD x", "-ERR functions are not supported; send scripts with EVAL"),
            ("MODULE LIST", "*0"),
            ("REPLICAOF NO ONE", "+OK"),
            ("REPLICAOF host 1", "-ERR emberlog does not replicate from other servers"),
            ("CLIENT TRACKINGINFO", "*6 $5 flags *1 $3 off $8 redirect :-1 $8 prefixes *0"),
            ("COMMAND GETKEYSANDFLAGS SET a b", "*1 *2 $1 a *2 +RW +update"),
            ("COMMAND GETKEYSANDFLAGS GET a", "*1 *2 $1 a *2 +RO +access"),
            ("BGREWRITEAOF", "+Background append only file rewriting started"),
            ("MEMORY PURGE", "+OK"),
            ("OBJECT FREQ a", "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."),
        ],
    );
    assert!(h.ask(c, "ACL CAT scripting").contains("$4 eval"));
    assert_eq!(h.ask(c, "ACL GENPASS 5").len(), "$2 xx".len());
    assert!(h.ask(c, "MEMORY STATS").starts_with("*16 $14 peak.allocated :"));
}

#[test]
fn slow_commands_are_remembered_as_asked() {
    fn hasty() -> u64 {
        use std::sync::atomic::{AtomicU64, Ordering};
        static MICROS: AtomicU64 = AtomicU64::new(0);
        MICROS.fetch_add(20_000, Ordering::Relaxed)
    }
    let mut h = Harness::new();
    h.server.clock_us = hasty;
    let c = h.connect();
    let second = h.now.0 / 1000;
    h.script(c, &[("LATENCY LATEST", "*0"), ("KEYS *", "*0"), ("LATENCY LATEST", "*0")]);
    h.ask(c, "CONFIG SET latency-monitor-threshold 5");
    h.ask(c, "KEYS *");
    let latest = h.ask(c, "LATENCY LATEST");
    assert!(latest.starts_with(&format!("*1 *4 $7 command :{second} :")), "{latest}");
    assert!(h.ask(c, "LATENCY HISTORY command").starts_with(&format!("*1 *2 :{second} :")));
    let histogram = h.ask(c, "LATENCY HISTOGRAM keys");
    assert!(histogram.starts_with("*2 $4 keys *4 $5 calls :2 $14 histogram_usec *"), "{histogram}");
    h.script(
        c,
        &[("LATENCY RESET", ":1"), ("LATENCY LATEST", "*0"), ("LATENCY HISTORY command", "*0")],
    );
    assert!(h.ask(c, "SLOWLOG GET 1").contains("$4 KEYS $1 *"));
}

#[test]
fn monitor_shows_what_transactions_and_scripts_do() {
    let mut h = Harness::new();
    let (a, b) = (h.connect(), h.connect());
    h.ask(a, "SET cold x");
    let mut h = h.reopened();
    h.ask(b, "MONITOR");
    h.script(a, &[("MULTI", "+OK"), ("SET k v", "+QUEUED"), ("EXEC", "*1 +OK")]);
    h.ask(a, "EVAL \"redis.call('set','k','w') return redis.call('get','cold')\" 0");
    h.ask(a, "CONFIG GET port");
    let shown = String::from_utf8(h.settle(b)).unwrap();
    let lines: Vec<&str> =
        shown.lines().filter_map(|line| line.split_once("[0 ")).map(|(_, l)| l).collect();
    assert_eq!(
        lines,
        [
            "127.0.0.1:1] \"MULTI\"",
            "127.0.0.1:1] \"SET\" \"k\" \"v\"",
            "127.0.0.1:1] \"EXEC\"",
            "127.0.0.1:1] \"EVAL\" \"redis.call('set','k','w') return redis.call('get','cold')\" \"0\"",
            "lua] \"set\" \"k\" \"w\"",
            "lua] \"get\" \"cold\"",
        ]
    );
}

#[test]
fn commands_are_listed_by_name_category_and_module() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("COMMAND LIST FILTERBY PATTERN xy*", "*0"),
            ("COMMAND LIST FILTERBY PATTERN eval", "*1 $4 eval"),
            ("COMMAND LIST FILTERBY MODULE x", "*0"),
            ("COMMAND LIST FILTERBY NOPE x", "-ERR syntax error"),
            (
                "COMMAND LIST FILTERBY ACLCAT transaction",
                "*5 $5 multi $4 exec $7 discard $5 watch $7 unwatch",
            ),
            ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1"),
        ],
    );
    assert!(h.ask(c, "COMMAND LIST").contains("$10 config|get"));
}
