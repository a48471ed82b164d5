//! Policies of prefixes: plugins that know nothing of sessions.

use super::Harness;
use crate::config::{Config, apply_file};

fn harness(file: &str) -> Harness {
    let mut config = Config::default();
    apply_file(&mut config, file).unwrap();
    Harness::with(config)
}

#[test]
fn a_plain_session_that_was_deleted_is_not_written_again() {
    let mut h = harness("[prefix.\"sess:\"]\nfinal-logout = true\nrevoked-ttl = 100");
    let c = h.connect();
    let revoked = "-REVOKED this session was ended; its id cannot be written any more";
    h.script(
        c,
        &[
            ("SETEX sess:1 50 data", "+OK"),
            ("SETEX sess:1 50 data", "+OK"),
            ("SET cache:1 x", "+OK"),
            ("DEL sess:1 cache:1 sess:none", ":2"),
            ("GET sess:1", "$-1"),
            ("SETEX sess:1 50 data", revoked),
            ("SET cache:1 x", "+OK"),
            ("SETEX sess:none 50 new", "+OK"),
        ],
    );
    let mut h = h.reopened();
    assert_eq!(h.ask(c, "SETEX sess:1 50 data"), revoked);
    let info = h.ask(c, "INFO prefixes");
    assert!(
        info.contains("prefix_sess::writes=2,identical_sets=1,logouts=1,revoked_writes=2,"),
        "{info}"
    );
    assert_eq!(h.ask(c, "CONFIG RESETSTAT"), "+OK");
    let info = h.ask(c, "INFO prefixes");
    assert!(
        info.contains("prefix_sess::writes=0,identical_sets=0,logouts=0,revoked_writes=0,"),
        "{info}"
    );
    h.advance(100_000);
    assert_eq!(h.ask(c, "SETEX sess:1 50 data"), "+OK");
}

#[test]
fn times_to_live_and_sizes_are_kept_within_bounds() {
    let mut h = harness("[prefix.\"s:\"]\ndefault-ttl = 60\nmax-ttl = 100\nmax-value = \"8\"");
    let c = h.connect();
    h.script(
        c,
        &[
            ("SET s:a 1", "+OK"),
            ("TTL s:a", ":60"),
            ("SET s:a 1 EX 500", "+OK"),
            ("TTL s:a", ":100"),
            ("EXPIRE s:a 5000", ":1"),
            ("TTL s:a", ":100"),
            ("PERSIST s:a", ":1"),
            ("TTL s:a", ":60"),
            (
                "SET s:a 123456789",
                "-ERR the value of 9 bytes is longer than max-value of its prefix, 8 bytes",
            ),
            (
                "MSET s:b 1 s:c 123456789",
                "-ERR the value of 9 bytes is longer than max-value of its prefix, 8 bytes",
            ),
            ("EXISTS s:b", ":0"),
            ("SET other 123456789", "+OK"),
            ("TTL other", ":-1"),
        ],
    );
}
