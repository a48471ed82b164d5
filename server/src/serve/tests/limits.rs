//! Passwords, limits, timeouts, and clients that misbehave.

use super::{Harness, request};
use crate::command;
use crate::config::Config;

fn locked() -> Config {
    Config { requirepass: "secret".to_owned(), ..Config::default() }
}

#[test]
fn a_password_is_asked_for() {
    let mut h = Harness::with(locked());
    let c = h.connect();
    let needed = "-NOAUTH Authentication required.";
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    h.script(c, &[("GET a", needed), ("PING", needed), ("AUTH nope", wrong)]);
    h.script(c, &[("AUTH default nope", wrong), ("AUTH other secret", wrong)]);
    assert!(h.ask(c, "HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert_eq!(h.ask(c, "HELLO 3 AUTH default nope"), wrong);
    h.script(c, &[("AUTH default secret", "+OK"), ("GET a", "$-1"), ("RESET", "+RESET")]);
    h.script(c, &[("GET a", needed), ("AUTH secret", "+OK"), ("GET a", "$-1")]);
    let d = h.connect();
    assert!(h.ask(d, "HELLO 3 AUTH default secret").starts_with("%8"));
    assert_eq!(h.server.state.stats.auth_failures, 4);
}

#[test]
fn who_has_not_authenticated_gets_little_room() {
    for (input, error) in [
        (&b"*11\r\n"[..], "unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length"),
    ] {
        let mut h = Harness::with(locked());
        let c = h.connect();
        h.feed(c, input);
        let expected = format!("-ERR Protocol error: {error}\r\n");
        assert_eq!(h.settle(c), expected.as_bytes());
        assert!(h.server.is_finished(c));
    }
}

#[test]
fn half_open_and_idle_clients_are_closed() {
    let mut h = Harness::with(Config { timeout: 300, ..locked() });
    let (silent, partial, idle) = (h.connect(), h.connect(), h.connect());
    for client in [partial, idle] {
        assert_eq!(h.ask(client, "AUTH secret"), "+OK");
    }
    h.feed(partial, b"*2\r\n$3\r\nGET\r\n$100\r\nabc");
    h.advance(61_000);
    h.server.sweep();
    assert!(h.server.is_finished(silent), "never authenticated");
    assert!(h.server.is_finished(partial), "stopped in the middle of a command");
    assert!(!h.server.is_finished(idle));
    h.advance(240_000);
    h.server.sweep();
    assert!(h.server.is_finished(idle));
}

#[test]
fn a_client_that_never_reads_is_stopped_and_then_closed() {
    let mut h = Harness::new();
    let c = h.connect();
    h.ask(c, "CONFIG SET client-output-buffer-limit \"normal 4mb 0 0\"");
    let value = vec![b'x'; 300_000];
    h.feed(c, &request(&[b"SET", b"k", &value]));
    assert_eq!(h.settle(c), b"+OK\r\n");
    for _ in 0..100 {
        h.feed(c, b"GET k\r\n");
    }
    let pending = h.server.clients.at(c).map_or(0, |client| client.connection.output.pending());
    assert!((1 << 20..2 << 20).contains(&pending), "{pending}");
    assert!(!h.server.is_finished(c), "it is only not read from");
    // One reply above the hard limit closes it.
    let d = h.connect();
    let mut args: Vec<&[u8]> = vec![b"MGET"];
    args.extend([&b"k"[..]; 20]);
    h.feed(d, &request(&args));
    assert!(h.server.is_finished(d));
}

#[test]
fn a_browser_cannot_be_made_to_send_commands() {
    for request in ["POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut h = Harness::new();
        let c = h.connect();
        h.feed(c, format!("{request}\r\nSET hacked 1\r\n").as_bytes());
        assert!(h.server.is_finished(c), "{request}");
        let c = h.connect();
        assert_eq!(h.ask(c, "EXISTS hacked"), ":0");
    }
}

#[test]
fn only_this_machine_may_connect_without_a_password() {
    let mut h = Harness::new();
    assert!(h.server.admit(true).is_ok());
    let refusal = h.server.admit(false).map_err(|refusal| refusal.0);
    assert!(refusal.is_err_and(|text| text.starts_with("-DENIED ")));
    assert!(Harness::with(locked()).server.admit(false).is_ok());
    let open = Config { protected_mode: false, ..Config::default() };
    assert!(Harness::with(open).server.admit(false).is_ok());
    let mut full = Harness::with(Config { maxclients: 1, ..Config::default() });
    full.connect();
    let refusal = full.server.admit(true).map_err(|refusal| refusal.0);
    assert_eq!(refusal, Err("-ERR max number of clients reached\r\n"));
}

#[test]
fn every_command_refuses_a_wrong_number_of_arguments() {
    let mut h = Harness::new();
    let c = h.connect();
    let mut check = |prefix: &[&str], command: &command::Command| {
        let least = usize::from(command.arity.unsigned_abs());
        let mut words: Vec<&str> = prefix.to_vec();
        words.push(command.name);
        if least <= words.len() && command.arity < 0 {
            return;
        }
        // One argument too few, or, if it needs none, one too many.
        if least > words.len() {
            words.resize(least - 1, "x");
        } else {
            words.push("x");
        }
        let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        h.feed(c, &request(&args));
        let reply = String::from_utf8(h.settle(c)).unwrap();
        let full_name = words[..=prefix.len()].join("|");
        let expected = format!("-ERR wrong number of arguments for '{full_name}' command\r\n");
        assert_eq!(reply, expected);
    };
    for command in command::all() {
        if command.subcommands.is_empty() {
            check(&[], command);
        }
        for sub in command.subcommands {
            check(&[command.name], sub);
        }
    }
}

/// Every command with hostile arguments in every place: whatever it answers, it answers, and the
/// server goes on.
#[test]
fn hostile_arguments_never_panic() {
    const HOSTILE: [&[u8]; 12] = [
        b"9223372036854775807",
        b"-9223372036854775808",
        b"-1",
        b"0",
        b"",
        b"nan",
        b"inf",
        b"\xff\xfe\0\r\n",
        b"*[^",
        b"match",
        b"1e400",
        b"k",
    ];
    let mut h = Harness::new();
    for command in command::all() {
        let with_sub = command.subcommands.iter().map(|sub| vec![command.name, sub.name]);
        let alone = command.subcommands.is_empty().then(|| vec![command.name]);
        for words in with_sub.chain(alone) {
            if ["shutdown", "monitor"].contains(&words[0]) {
                continue;
            }
            for (position, first) in HOSTILE.iter().enumerate() {
                for count in 0..5 {
                    let c = h.connect();
                    h.feed(c, &request(&[b"SET", b"k", b"5"]));
                    let mut args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
                    args.extend((0..count).map(|n| {
                        if n == 0 { *first } else { HOSTILE[(position * 5 + n * 7) % 12] }
                    }));
                    h.feed(c, &request(&args));
                    h.server.disconnect(c);
                }
            }
            h.drive_once();
        }
    }
    let c = h.connect();
    h.script(c, &[("CLIENT UNPAUSE", "+OK"), ("PING", "+PONG")]);
}
