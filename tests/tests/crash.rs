//! A short kill -9 loop against the server under test (the long one is the `killloop` binary), and what it relies on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use emberlog_tests::killloop::{self, Options};
use emberlog_tests::server::{Server, ServerCommand};

#[test]
fn nothing_acknowledged_is_lost_in_a_few_kills() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let seed = fastrand::u64(..1 << 32);
    let small = ["--ack", "durable", "--maxmemory", "64mb", "--disk-limit", "512mb"];
    let options = Options {
        command: ServerCommand::under_test()?.with(&small),
        folder: folder.path().join("data"),
        seed,
        kills: 8,
        connections: 8,
        scale: 1,
        load_ms: 500,
        variety: true,
        scripts: true,
    };
    println!("seed {seed}, replay: killloop --seed {seed} --kills 8 --load-ms 500");
    let report = killloop::run(&options)?;
    println!("{report}");
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.writes > 200 && report.keys_verified > 8 * 8 * 200, "hardly any load: {report}");
    Ok(())
}

/// The flag that makes our own server lie: acknowledged means written nowhere. If the loop does not object, it is blind.
#[test]
fn acknowledging_from_memory_is_caught() -> Result<()> {
    let command = ServerCommand::under_test()?;
    let flags: &[&str] = if command.is_emberlog() {
        &["--ack", "memory", "--maxmemory", "64mb", "--disk-limit", "512mb"]
    } else {
        &["--appendonly", "no", "--save", ""]
    };
    let folder = tempfile::tempdir()?;
    let options = Options {
        command: command.with(flags),
        folder: folder.path().join("data"),
        seed: 1,
        kills: 10,
        connections: 4,
        scale: 1,
        load_ms: 500,
        variety: false,
        scripts: false,
    };
    let report = killloop::run(&options)?;
    println!("{report}");
    assert!(!report.violations.is_empty(), "--ack memory survived {} kills", report.kills);
    Ok(())
}

/// The engine is told the time however steadily commands come: the last batch of a quiet log is confirmed after a second
/// though somebody reads all the while.
#[test]
fn the_last_batch_is_confirmed_while_readers_go_on() -> Result<()> {
    let command = ServerCommand::under_test()?;
    if !command.is_emberlog() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let server = Server::start(&command, folder.path())?;
    let mut client = server.client()?;
    client.words("SET k v")?;
    let appended = client.info("appended_lsn")?;
    let begin = Instant::now();
    while client.info("appended_lsn")? == appended {
        ensure!(begin.elapsed() < Duration::from_secs(20), "nothing confirms the last batch");
        std::thread::sleep(Duration::from_millis(50));
    }
    server.kill()
}
