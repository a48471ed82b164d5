//! Attacks by number and by silence: crowds, readers that never read, clients that never finish, wrong passwords.

use anyhow::{Result, ensure};
use emberlog_tests::attack::{Target, read_until_silent};
use emberlog_tests::process::{RssWatch, cpu_seconds, raise_open_files, rss_bytes};
use emberlog_tests::resp::{Client, Reply, encode};
use emberlog_tests::value;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// Writes until everything is sent, the peer closes, or it has accepted nothing for two seconds.
fn push(client: &mut Client, bytes: &[u8], times: usize) -> Result<usize> {
    let stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut sent = 0;
    for _ in 0..times {
        let mut rest = bytes;
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(count) => {
                    rest = &rest[count..];
                    sent += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Held back or thrown out: both end the attack.
                Err(_) => return Ok(sent),
            }
        }
    }
    Ok(sent)
}

#[test]
fn ten_thousand_half_open_connections() -> Result<()> {
    let wanted = 10_000;
    let allowed = usize::try_from(raise_open_files())?;
    let count = wanted.min(allowed.saturating_sub(200));
    if count < wanted {
        println!("the system allows {allowed} open files: {count} connections instead of {wanted}");
    }
    let mut target = Target::start(&["--maxclients", "12000"])?;
    let before = rss_bytes(target.server.pid())?;
    let mut crowd = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = target.server.client()?;
        let begun = match number % 4 {
            0 => &b""[..],
            1 => b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nbegin",
            2 => b"*1000\r\n$4\r\nMGET\r\n$1\r\na\r\n",
            _ => b"GET half-a-li",
        };
        client.stream().write_all(begun)?;
        crowd.push(client);
    }
    target.serves(None)?;
    let each = rss_bytes(target.server.pid())?.saturating_sub(before) / count as u64;
    println!("{count} half-open connections cost {each} bytes each");
    assert!(each < 20_000, "{each} bytes for a connection that has said nothing");

    std::thread::sleep(Duration::from_secs(1));
    let cpu = cpu_seconds(target.server.pid())?;
    std::thread::sleep(Duration::from_secs(3));
    let later = cpu_seconds(target.server.pid())?;
    let idle = later.user + later.system - cpu.user - cpu.system;
    println!("and {:.1} % of a core while all are silent", idle / 3.0 * 100.0);
    assert!(idle < 0.6, "{idle} s of CPU in 3 s with nothing to do");
    drop(crowd);
    target.serves(None)
}

#[test]
fn more_clients_than_allowed_are_told_so() -> Result<()> {
    let target = Target::start(&["--maxclients", "50"])?;
    let mut crowd = Vec::new();
    for _ in 0..50 {
        let mut client = target.server.client()?;
        if client.words("PING").is_ok_and(|reply| reply.error().is_none()) {
            crowd.push(client);
        }
    }
    ensure!(crowd.len() >= 40, "only {} of 50 clients were let in", crowd.len());
    let mut extra = target.server.client()?;
    let (answer, closed) = read_until_silent(&mut extra, Duration::from_secs(2))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(closed && answer.contains("max number of clients"), "got {answer:?}, closed {closed}");
    crowd.truncate(10);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(target.server.client()?.words("PING")?, Reply::Simple("PONG".into()));
    Ok(())
}

#[test]
fn a_reader_that_never_reads_costs_little_and_hinders_nobody() -> Result<()> {
    let mut target = Target::start(&[])?;
    let big = value::make(b"big", 1, 1 << 20);
    target.server.client()?.call(&[b"SET", b"big", &big])?;
    let before = rss_bytes(target.server.pid())?;
    let watch = RssWatch::start(target.server.pid());
    let mut deaf: Vec<Client> = Vec::new();
    for _ in 0..8 {
        let mut client = target.server.client()?;
        let mut request = Vec::new();
        encode(&mut request, &[b"GET", b"big"]);
        push(&mut client, &request, 500)?;
        deaf.push(client);
    }
    for _ in 0..10 {
        target.serves(None)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let grown = watch.peak_bytes().saturating_sub(before) / MIB;
    println!("8 deaf readers asked for 4000 MiB; the server grew by {grown} MiB");
    // Redis keeps all 4000 MiB unless it is configured otherwise.
    assert!(!target.is_emberlog() || grown < 160, "{grown} MiB for replies that nobody reads");
    drop(deaf);
    target.serves(None)
}

#[test]
fn a_slow_reader_gets_everything_in_order() -> Result<()> {
    let target = Target::start(&[])?;
    let mut client = target.server.client()?;
    let mut keys = Vec::new();
    for number in 0..24_u64 {
        let key = format!("slow:{number}").into_bytes();
        client.call(&[b"SET", &key, &value::make(&key, number, 700_000)])?;
        keys.push(key);
    }
    for key in keys.iter().cycle().take(96) {
        client.queue(&[b"GET", key]);
    }
    client.flush()?;
    for (number, key) in keys.iter().cycle().take(96).enumerate() {
        if number % 8 == 0 {
            std::thread::sleep(Duration::from_millis(30));
        }
        let expected = value::make(key, (number % 24) as u64, 700_000);
        ensure!(client.reply()? == Reply::Bulk(expected), "reply {number} is wrong");
    }
    Ok(())
}

#[test]
fn a_transaction_that_never_ends_is_bounded() -> Result<()> {
    let mut target = Target::start(&[])?;
    let before = rss_bytes(target.server.pid())?;
    let watch = RssWatch::start(target.server.pid());
    let mut client = target.server.client()?;
    let mut request = Vec::new();
    encode(&mut request, &[b"MULTI"]);
    push(&mut client, &request, 1)?;
    request.clear();
    encode(&mut request, &[b"SET", b"k", &value::make(b"k", 1, 1 << 20)]);
    let sent = push(&mut client, &request, 1200)?;
    target.serves(None)?;
    let grown = watch.peak_bytes().saturating_sub(before) / MIB;
    println!("an endless MULTI sent {} MiB; the server grew by {grown} MiB", sent as u64 / MIB);
    assert!(!target.is_emberlog() || grown < 400, "{grown} MiB of queued commands");
    drop(client);
    target.serves(None)
}

#[test]
fn a_pipeline_of_a_million_commands_is_served_in_order() -> Result<()> {
    let target = Target::start(&[])?;
    let watch = RssWatch::start(target.server.pid());
    let mut client = target.server.client()?;
    // Sent from a thread of its own, because a server may stop reading until replies are read.
    let mut writer = client.stream().try_clone()?;
    let mut bytes = Vec::new();
    for _ in 0..50_000 {
        encode(&mut bytes, &[b"PING"]);
    }
    let sender = std::thread::spawn(move || (0..20).try_for_each(|_| writer.write_all(&bytes)));
    for number in 0..1_000_000 {
        let reply = client.reply()?;
        ensure!(reply == Reply::Simple("PONG".into()), "reply {number} is {reply:?}");
    }
    ensure!(sender.join().is_ok_and(|sent| sent.is_ok()), "the pipeline was not taken whole");
    assert!(watch.peak_bytes() < 300 * MIB, "{} bytes of RSS", watch.peak_bytes());
    Ok(())
}

#[test]
fn passwords() -> Result<()> {
    let mut target = Target::start(&["--requirepass", "s3cret"])?;
    let mut client = target.server.client()?;
    let error = |client: &mut Client, line: &str| -> Result<String> {
        let reply = client.words(line)?;
        Ok(reply.error().map_or_else(|| format!("no error but {reply:?}"), str::to_owned))
    };
    for line in
        ["GET canary", "SET canary x", "INFO", "MULTI", "SUBSCRIBE c", "CONFIG GET *", "DBSIZE"]
    {
        let text = error(&mut client, line)?;
        assert!(text.starts_with("NOAUTH"), "{line}: {text}");
    }
    for line in [
        "AUTH wrong",
        "AUTH default wrong",
        "AUTH nobody s3cret",
        "HELLO 3 AUTH default wrong",
        "AUTH s3cre",
        "AUTH s3crett",
    ] {
        let text = error(&mut client, line)?;
        assert!(text.starts_with("WRONGPASS"), "{line}: {text}");
    }
    assert!(
        error(&mut client, "GET canary")?.starts_with("NOAUTH"),
        "a wrong password let somebody in"
    );
    assert!(client.words("AUTH default s3cret")?.is_ok());
    assert_eq!(client.words("GET canary")?, Reply::Nil);
    target.serves(Some("s3cret"))
}

#[test]
fn strangers_have_tight_limits() -> Result<()> {
    let mut target = Target::start(&["--requirepass", "s3cret"])?;
    let attacks: [&[u8]; 3] = [b"*11\r\n", b"*1048576\r\n", b"*2\r\n$4\r\nAUTH\r\n$16385\r\n"];
    for attack in attacks {
        let mut client = target.server.client()?;
        client.stream().write_all(attack)?;
        let (answer, closed) = read_until_silent(&mut client, Duration::from_secs(2))?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("-ERR Protocol error: unauthenticated"), "{answer:?}");
        assert!(closed, "{} leaves the stranger connected", attack.escape_ascii());
    }
    // Errors that nobody reads must not pile up, CVE-2025-21605.
    let before = rss_bytes(target.server.pid())?;
    let watch = RssWatch::start(target.server.pid());
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut client = target.server.client()?;
        push(&mut client, &b"GET canary\r\n".repeat(10_000), 50)?;
        deaf.push(client);
    }
    target.serves(Some("s3cret"))?;
    let grown = watch.peak_bytes().saturating_sub(before) / MIB;
    println!("4 strangers sent 2,000,000 commands; the server grew by {grown} MiB");
    assert!(!target.is_emberlog() || grown < 48, "{grown} MiB for strangers");
    drop(deaf);
    Ok(())
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() -> Result<()> {
    let mut target = Target::start(&[])?;
    let round = |target: &Target| -> Result<()> {
        for number in 0..3000 {
            let mut client = target.server.client()?;
            match number % 4 {
                0 => drop(client.words("WATCH k")?),
                1 => drop(client.words("MULTI")?),
                2 => client.stream().write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$90000\r\nxxx")?,
                _ => drop(client.words("SUBSCRIBE news")?),
            }
        }
        Ok(())
    };
    round(&target)?;
    let before = rss_bytes(target.server.pid())?;
    round(&target)?;
    round(&target)?;
    let begin = Instant::now();
    while target.server.client()?.info("connected_clients")? > Some(1) {
        ensure!(begin.elapsed() < Duration::from_secs(10), "closed clients are still counted");
        std::thread::sleep(Duration::from_millis(20));
    }
    let grown = rss_bytes(target.server.pid())?.saturating_sub(before) / MIB;
    assert!(grown < 24, "6000 gone clients left {grown} MiB behind");
    target.serves(None)
}
