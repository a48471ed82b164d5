//! Attacks on the parser: whatever arrives, the server answers an error or nothing, keeps its memory, and serves others.

use anyhow::{Result, ensure};
use emberlog_tests::attack::{Target, read_until_silent};
use emberlog_tests::process::rss_bytes;
use emberlog_tests::resp::{Reply, encode};
use fastrand::Rng;
use std::io::Write;
use std::time::Duration;

/// What an attacker's bytes may cost in memory.
const SLACK_BYTES: u64 = 48 << 20;
const SILENCE: Duration = Duration::from_millis(150);

/// Sends bytes on a new connection and returns what came back, and whether the server closed.
fn provoke(target: &Target, bytes: &[u8]) -> Result<(Vec<u8>, bool)> {
    let mut client = target.server.client()?;
    // The server may close in the middle of a long attack: that is an answer too.
    let sent = client.stream().write_all(bytes);
    let (answer, closed) = read_until_silent(&mut client, SILENCE)?;
    Ok((answer, closed || sent.is_err()))
}

#[test]
fn absurd_lengths_and_counts_are_refused_without_allocating() -> Result<()> {
    let mut target = Target::start(&[])?;
    let before = rss_bytes(target.server.pid())?;
    let refused: [&[u8]; 14] = [
        b"*2147483647\r\n",
        b"*1048577\r\n",
        b"*99999999999999999999999\r\n",
        b"*9223372036854775807\r\n",
        b"*a\r\n",
        b"*1x\r\n",
        b"*1\r\n$-5\r\n",
        b"*1\r\n$999999999999\r\n",
        b"*1\r\n$9223372036854775807\r\n",
        b"*1\r\n$99999999999999999999999\r\n",
        b"*1\r\n$1073741825\r\n",
        b"*1\r\n$a\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n+PING\r\n",
    ];
    // Redis allows two thousand million arguments and only counts what has come.
    let first = if target.is_emberlog() { 0 } else { 2 };
    for attack in &refused[first..] {
        let (answer, closed) = provoke(&target, attack)?;
        let (attack, answer) = (attack.escape_ascii(), answer.escape_ascii());
        assert!(answer.to_string().starts_with("-ERR Protocol error"), "{attack} got {answer}");
        assert!(closed, "{attack} is left open");
    }
    // Legal beginnings whose rest never comes, and counts that mean nothing.
    let waiting: [&[u8]; 7] = [
        b"*1048576\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$50000000\r\nbegin",
        b"*0\r\n*-1\r\n*-2147483648\r\n",
        b"\r\n\r\n\r\n",
        b"*1\r\n$4\r\nPI",
        b"*1\r",
        b"PIN",
    ];
    for attack in waiting {
        let (answer, closed) = provoke(&target, attack)?;
        assert!(
            answer.is_empty() && !closed,
            "{} got {}",
            attack.escape_ascii(),
            answer.escape_ascii()
        );
    }
    let grown = rss_bytes(target.server.pid())?.saturating_sub(before);
    assert!(grown < SLACK_BYTES, "{grown} bytes more after a few hundred bytes of attack");
    target.serves(None)
}

#[test]
fn an_endless_line_is_cut_off() -> Result<()> {
    let mut target = Target::start(&[])?;
    for start in [&b"SET "[..], b"*", b"*1\r\n$"] {
        let mut attack = start.to_vec();
        attack.resize(1 << 20, b'1');
        let (answer, closed) = provoke(&target, &attack)?;
        let answer = answer.escape_ascii().to_string();
        assert!(closed, "an endless {} is left open", start.escape_ascii());
        assert!(answer.is_empty() || answer.starts_with("-ERR Protocol error"), "{answer}");
    }
    target.serves(None)
}

#[test]
fn random_bytes_never_hurt() -> Result<()> {
    let mut target = Target::start(&[])?;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let before = rss_bytes(target.server.pid())?;
    for round in 0..1500 {
        let attack = random_attack(&mut rng);
        let mut client = target.server.client()?;
        // A close in the middle of sending is a fine answer.
        let _ = client.stream().write_all(&attack);
        if round % 8 == 0 {
            read_until_silent(&mut client, Duration::from_millis(5))?;
        }
        if round % 250 == 249 {
            target.serves(None).map_err(|error| error.context(format!("seed {seed}")))?;
        }
    }
    let grown = rss_bytes(target.server.pid())?.saturating_sub(before);
    ensure!(grown < 2 * SLACK_BYTES, "{grown} bytes more after random bytes, seed {seed}");
    Ok(())
}

/// Pure noise, or a good pipeline with some bytes changed, left out or doubled.
fn random_attack(rng: &mut Rng) -> Vec<u8> {
    if rng.u8(..4) == 0 {
        return (0..rng.usize(1..4096)).map(|_| rng.u8(..)).collect();
    }
    let words: [&[u8]; 16] = [
        b"GET",
        b"SET",
        b"HSET",
        b"EXPIRE",
        b"MULTI",
        b"EXEC",
        b"DEL",
        b"SCAN",
        b"EVAL",
        b"HELLO",
        b"k",
        b"\0\xff",
        b"-1",
        b"9223372036854775807",
        b"",
        b"3",
    ];
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..20) {
        let args: Vec<&[u8]> =
            (0..rng.usize(1..6)).map(|_| words[rng.usize(..words.len())]).collect();
        encode(&mut bytes, &args);
    }
    for _ in 0..rng.usize(..6) {
        let at = rng.usize(..bytes.len());
        match rng.u8(..3) {
            0 => bytes[at] = rng.u8(..),
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, bytes[at]),
        }
        if bytes.is_empty() {
            bytes.push(b'*');
        }
    }
    bytes
}

/// Commands of every shape, whose replies do not depend on time, and from the second run on not on the runs before.
fn script() -> Vec<u8> {
    let mut bytes = b"PING\r\n".to_vec();
    let commands: [&[&[u8]]; 12] = [
        &[b"DEL", b"a", b"h", b"m"],
        &[b"SET", b"a", b"binary \r\n\0\xff value"],
        &[b"GET", b"a"],
        &[b"SET", b"a", b""],
        &[b"GET", b"a"],
        &[b"HSET", b"h", b"f", b"v", b"g", b"w"],
        &[b"HGET", b"h", b"g"],
        &[b"MULTI"],
        &[b"SET", b"m", b"1"],
        &[b"EXEC"],
        &[b"nosuch", b"x\r\ny"],
        &[b"GET", b"h"],
    ];
    for command in commands {
        encode(&mut bytes, command);
    }
    bytes.extend_from_slice(
        b"*0\r\nSET inline \"quoted \\x41\"\r\nGET inline\r\n*1\r\n$4\r\nPING\r\n",
    );
    bytes
}

#[test]
fn a_request_split_at_any_byte_means_the_same() -> Result<()> {
    let target = Target::start(&[])?;
    let script = script();
    let (_, _) = provoke(&target, &script)?;
    let (expected, closed) = provoke(&target, &script)?;
    println!("{}", expected.escape_ascii());
    assert!(expected.ends_with(b"+PONG\r\n") && expected.starts_with(b"+PONG\r\n") && !closed);
    assert_eq!(
        expected.windows(3).filter(|window| window == b"\r\n-").count(),
        2,
        "two commands are wrong"
    );
    for cut in 1..script.len() {
        let mut client = target.server.client()?;
        client.stream().write_all(&script[..cut])?;
        // Long enough, most of the time, for the server to see the first part alone.
        std::thread::sleep(Duration::from_micros(300));
        client.stream().write_all(&script[cut..])?;
        let mut answer = vec![0; expected.len()];
        std::io::Read::read_exact(client.stream(), &mut answer)?;
        assert!(answer == expected, "cut at {cut}: {}", answer.escape_ascii());
    }
    Ok(())
}

#[test]
fn a_request_that_drips_in_means_the_same() -> Result<()> {
    let target = Target::start(&[])?;
    let script = script();
    let (_, _) = provoke(&target, &script)?;
    let (expected, _) = provoke(&target, &script)?;
    let mut client = target.server.client()?;
    for byte in &script {
        client.stream().write_all(&[*byte])?;
        std::thread::sleep(Duration::from_micros(100));
    }
    let mut answer = vec![0; expected.len()];
    std::io::Read::read_exact(client.stream(), &mut answer)?;
    assert!(answer == expected, "{}", answer.escape_ascii());
    Ok(())
}

#[test]
fn a_million_arguments_are_served_and_given_back() -> Result<()> {
    let mut target = Target::start(&[])?;
    let mut client = target.server.client()?;
    let args: Vec<&[u8]> =
        std::iter::once(&b"DEL"[..]).chain((1..1_048_576).map(|_| &b"k"[..])).collect();
    assert_eq!(client.call(&args)?, Reply::Int(0));
    target.serves(None)
}

#[test]
fn numbers_at_the_edge_are_answers_not_crashes() -> Result<()> {
    let mut target = Target::start(&[])?;
    let mut client = target.server.client()?;
    let numbers = [
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "-1",
        "0",
        "1e400",
        "nan",
        "inf",
        "",
        "-0",
        "+1",
        " 1",
        "0x10",
        "18446744073709551616",
    ];
    let shapes: [&[&str]; 24] = [
        &["SET", "k", "v", "EX", "#"],
        &["SET", "k", "v", "PX", "#"],
        &["SET", "k", "v", "EXAT", "#"],
        &["SET", "k", "v", "PXAT", "#"],
        &["SETEX", "k", "#", "v"],
        &["PSETEX", "k", "#", "v"],
        &["EXPIRE", "k", "#"],
        &["PEXPIRE", "k", "#"],
        &["EXPIREAT", "k", "#"],
        &["PEXPIREAT", "k", "#"],
        &["GETEX", "k", "PX", "#"],
        &["INCRBY", "n", "#"],
        &["DECRBY", "n", "#"],
        &["HINCRBY", "h", "f", "#"],
        &["SCAN", "#"],
        &["SCAN", "0", "COUNT", "#"],
        &["HSCAN", "h", "#"],
        &["SELECT", "#"],
        &["HELLO", "#"],
        &["WAIT", "0", "#"],
        &["WAITAOF", "0", "#", "1"],
        &["CLIENT", "KILL", "ID", "#"],
        &["SLOWLOG", "GET", "#"],
        &["EVAL", "return 1", "#"],
    ];
    for shape in shapes {
        client.words("SET k v")?;
        client.words("SET n 5")?;
        for number in numbers {
            let args: Vec<&[u8]> =
                shape.iter().map(|w| if *w == "#" { number } else { w }.as_bytes()).collect();
            let reply = client.call(&args)?;
            if let Some(text) = reply.error() {
                assert!(!text.is_empty(), "{shape:?} with {number:?}");
            }
            client.words("SELECT 0")?;
        }
    }
    target.serves(None)
}

#[test]
fn patterns_cannot_take_the_processor_away() -> Result<()> {
    let mut target = Target::start(&[])?;
    let mut client = target.server.client()?;
    let key = "a".repeat(2000);
    client.call(&[b"SET", key.as_bytes(), b"v"])?;
    let pattern = format!("{}b", "a*".repeat(1000));
    let begin = std::time::Instant::now();
    assert_eq!(client.call(&[b"KEYS", pattern.as_bytes()])?, Reply::Array(Vec::new()));
    let brackets = "[a-".repeat(5000);
    client.call(&[b"KEYS", brackets.as_bytes()])?;
    assert!(begin.elapsed() < Duration::from_secs(5), "patterns took {:?}", begin.elapsed());
    target.serves(None)
}

#[test]
fn an_error_cannot_smuggle_a_reply() -> Result<()> {
    let target = Target::start(&[])?;
    let mut client = target.server.client()?;
    for evil in ["x\r\n+OK", "x\n:1", "\r\n$-1\r\n"] {
        client.queue(&[evil.as_bytes(), evil.as_bytes()]);
        client.queue(&[b"SET", b"k", b"v", evil.as_bytes()]);
        client.queue(&[b"CONFIG", b"SET", evil.as_bytes(), b"1"]);
        client.queue(&[b"CLIENT", evil.as_bytes()]);
        client.queue(&[b"PING", b"end"]);
        client.flush()?;
        for _ in 0..4 {
            let reply = client.reply()?;
            assert!(reply.error().is_some(), "{evil:?} got {reply:?}");
        }
        assert_eq!(client.reply()?, Reply::Bulk(b"end".to_vec()), "after {evil:?}");
    }
    Ok(())
}
