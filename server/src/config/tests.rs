//! Settings: every key reads back what it shows, errors name the key and the fix.

use super::*;

#[test]
fn every_key_reads_back_what_it_shows() {
    let mut config = Config::default();
    for key in keys() {
        let shown = key.show(&config);
        set(&mut config, key.name, &shown).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(key.show(&config), shown, "{}", key.name);
        assert!(find(key.name).is_some_and(|found| std::ptr::eq(found, key)), "{}", key.name);
    }
}

#[test]
fn sizes_are_those_of_redis_conf() {
    for (text, bytes) in [
        ("0", 0),
        ("1k", 1_000),
        ("1kb", 1_024),
        ("256mb", 256 << 20),
        ("1GB", 1 << 30),
        ("2 gib", 2 << 30),
        ("1t", 1_000_000_000_000),
    ] {
        assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
    }
    for text in ["", "mb", "1x", "-1", "99999999999gb", "1.5gb"] {
        assert!(parse_bytes(text).is_err(), "{text}");
    }
    for bytes in [0, 1, 1 << 10, 1500, 3 << 20, 1 << 30, (1 << 30) + 1] {
        assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
    }
}

#[test]
fn errors_name_the_key_and_the_fix() {
    let mut config = Config::default();
    for (key, value, expected) in [
        ("maxmemry", "1gb", "maxmemry: is not a setting of emberlog; did you mean maxmemory?"),
        ("zzz", "1", "zzz: is not a setting of emberlog; emberlog --help lists them"),
        ("port", "70000", "port: '70000' is not a number from 0 to 65535"),
        ("ack", "later", "ack: 'later' is not one of durable, interval[:milliseconds], memory"),
        ("maxmemory", "1mb", "maxmemory: '1mb' is too little; write at least 64mb"),
    ] {
        let error = set(&mut config, key, value).map_err(|error| error.to_string());
        assert_eq!(error, Err(expected.to_owned()));
    }
}

#[test]
fn a_file_has_the_same_keys() {
    let mut config = Config::default();
    let text = "port = 7000\nbind = [\"10.0.0.1\", \"::1\"]\nprotected_mode = false\n\
        maxmemory = \"256mb\"\nack = \"interval:200ms\"\n";
    apply_file(&mut config, text).unwrap();
    assert_eq!((config.port, config.maxmemory), (7000, 256 << 20));
    assert_eq!(config.bind, ["10.0.0.1", "::1"]);
    assert_eq!(config.ack, Ack::Interval { ms: 200 });
    assert!(!config.protected_mode);
    let error = apply_file(&mut config, "prot = 1").map_err(|error| error.to_string());
    assert_eq!(error, Err("prot: is not a setting of emberlog; did you mean port?".into()));
    let error = apply_file(&mut config, "[port]\nx = 1").map_err(|error| error.key);
    assert_eq!(error, Err("port".into()));
    assert!(apply_file(&mut config, "port 7000").is_err());
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let alone = Config { port: 0, ..Config::default() };
    assert_eq!(alone.validate().map_err(|error| error.key), Err("port".into()));
    let buffers = Config { client_query_buffer_limit: 1 << 20, ..Config::default() };
    assert!(buffers.validate().is_err());
    assert_eq!(Config::default().validate(), Ok(()));
}
