//! Attacks on the disk: no space, no permission, no folder, and a second server on the same folder.

use anyhow::{Context, Result, ensure};
use emberlog_tests::resp::{Client, Reply};
use emberlog_tests::server::{Server, ServerCommand, free_port};
use emberlog_tests::value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Small segments, so that a full disk comes soon.
const TIGHT: [&str; 6] = ["--ack", "durable", "--maxmemory", "128mb", "--segment-size", "1mb"];

const VALUE_BYTES: usize = 20_000;

fn key(number: u64) -> Vec<u8> {
    format!("full:{number}").into_bytes()
}

/// Writes new keys until one is refused. Returns how many were acknowledged and the refusal.
fn fill(client: &mut Client, from: u64, most: u64) -> Result<(u64, String)> {
    for number in from..most {
        let key = key(number);
        let reply = client.call(&[b"SET", &key, &value::make(&key, number, VALUE_BYTES)])?;
        if let Some(text) = reply.error() {
            return Ok((number, text.to_owned()));
        }
    }
    anyhow::bail!("{most} values of {VALUE_BYTES} bytes were taken: the disk is not full")
}

/// Every acknowledged value is there, byte by byte.
fn verify(client: &mut Client, numbers: impl Iterator<Item = u64>) -> Result<()> {
    for number in numbers {
        let key = key(number);
        let reply = client.call(&[b"GET", &key])?;
        let expected = value::make(&key, number, VALUE_BYTES);
        ensure!(reply == Reply::Bulk(expected), "value {number}: {:?}", reply.error());
    }
    Ok(())
}

/// Writes again and again until a write is taken: space returns in the background.
fn wait_for_room(client: &mut Client, number: u64) -> Result<()> {
    let begin = Instant::now();
    loop {
        let key = key(number);
        let reply = client.call(&[b"SET", &key, &value::make(&key, number, VALUE_BYTES)])?;
        if reply.is_ok() {
            return Ok(());
        }
        ensure!(begin.elapsed() < Duration::from_secs(20), "still refused: {reply:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The life of a full store: refused writes, good reads, deletes, room again, and the same after kill -9.
fn a_full_store_lives_on(command: &ServerCommand, folder: &Path) -> Result<()> {
    let mut server = Server::start(command, folder)?;
    let mut client = server.client()?;
    let (count, refusal) = fill(&mut client, 0, 100_000)?;
    println!("{count} values of {VALUE_BYTES} bytes, then -{refusal}");
    ensure!(refusal.starts_with("OOM") || refusal.starts_with("IOERR"), "unclear: -{refusal}");
    ensure!(count >= 100, "only {count} values before the disk was full");
    verify(&mut client, 0..count).context("reading from a full store")?;

    server.kill()?;
    server = Server::start(command, folder).context("starting on a full disk")?;
    client = server.client()?;
    verify(&mut client, 0..count).context("after kill -9 with a full disk")?;

    for number in (0..count).filter(|number| number % 4 != 0) {
        let reply = client.call(&[b"DEL", &key(number)])?;
        ensure!(reply == Reply::Int(1), "a full store must still delete: {reply:?}");
    }
    wait_for_room(&mut client, count + 1)?;
    let kept: Vec<u64> = (0..count).filter(|number| number % 4 == 0).chain([count + 1]).collect();
    verify(&mut client, kept.iter().copied())?;

    server.kill()?;
    server = Server::start(command, folder)?;
    client = server.client()?;
    verify(&mut client, kept.iter().copied()).context("after deletes and kill -9")?;
    for number in (0..count).filter(|number| number % 4 != 0) {
        let reply = client.call(&[b"GET", &key(number)])?;
        ensure!(reply == Reply::Nil, "deleted value {number} is back");
    }
    ensure!(!server.log_text().contains("panicked"), "{}", server.log_tail());
    Ok(())
}

#[test]
fn the_disk_limit_refuses_writes_and_nothing_else() -> Result<()> {
    let command = ServerCommand::under_test()?.with(&TIGHT).with(&["--disk-limit", "24mb"]);
    if !command.is_emberlog() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    a_full_store_lives_on(&command, &folder.path().join("data"))
}

/// A file system of its own, unmounted in the end. `None` where this needs rights that we do not have.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(folder: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder);
        let mounted = mount.status().is_ok_and(|status| status.success());
        if !mounted {
            println!("not allowed to mount: this part is not tested on this machine");
        }
        mounted.then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because a server may still be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_file_system_that_is_full_refuses_writes_and_nothing_else() -> Result<()> {
    let command = ServerCommand::under_test()?.with(&TIGHT).with(&["--disk-limit", "400mb"]);
    let folder = tempfile::tempdir()?;
    let Some(_mount) = Mount::tmpfs(&folder.path().join("small"), "size=24m") else {
        return Ok(());
    };
    if !command.is_emberlog() {
        return Ok(());
    }
    a_full_store_lives_on(&command, &folder.path().join("small/data"))
}

/// Starts a server that must refuse, and returns what it said.
fn refuses(command: &ServerCommand, folder: &Path) -> Result<String> {
    let logs = tempfile::tempdir()?;
    let log = logs.path().join("log");
    let mut server = Server::spawn_logging(command, folder, free_port()?, &log)?;
    let status = server.wait_end(Duration::from_secs(20))?;
    let text = server.log_text();
    ensure!(!status.success(), "exit code 0 on an unusable folder\n{text}");
    ensure!(!text.contains("panicked"), "a panic is no error message\n{text}");
    Ok(text)
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_error() -> Result<()> {
    let command = ServerCommand::under_test()?.with(&TIGHT);
    if !command.is_emberlog() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    fs::write(&file, "no folder")?;
    let text = refuses(&command, &file)?;
    assert!(text.contains(&file.display().to_string()), "which folder?\n{text}");
    let text = refuses(&command, &file.join("below"))?;
    assert!(text.contains("below"), "which folder?\n{text}");

    let closed = folder.path().join("closed");
    if let Some(_mount) = Mount::tmpfs(&closed, "size=1m,ro") {
        let text = refuses(&command, &closed)?;
        assert!(text.to_lowercase().contains("read-only"), "why not?\n{text}");
        let text = refuses(&command, &closed.join("data"))?;
        assert!(text.to_lowercase().contains("read-only"), "why not?\n{text}");
    }
    Ok(())
}

#[test]
fn a_second_server_stays_out() -> Result<()> {
    let command = ServerCommand::under_test()?.with(&TIGHT);
    if !command.is_emberlog() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let first = Server::start(&command, &data)?;
    let mut client = first.client()?;
    ensure!(client.words("SET k v")?.is_ok());
    let text = refuses(&command, &data)?;
    let says = text.to_lowercase();
    assert!(
        ["lock", "in use", "another"].iter().any(|word| says.contains(word)),
        "why not?\n{text}"
    );
    ensure!(client.words("SET k w")?.is_ok(), "the first server was disturbed");
    first.kill()?;
    let again = Server::start(&command, &data).context("the lock outlived its owner")?;
    assert_eq!(again.client()?.words("GET k")?, Reply::Bulk(b"w".to_vec()));
    Ok(())
}

#[test]
fn wrong_settings_name_the_key_and_the_fix() -> Result<()> {
    let command = ServerCommand::under_test()?;
    if !command.is_emberlog() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let wrong = [
        (["--maxmemory", "lots"], "maxmemory"),
        (["--maxmemory", "1kb"], "maxmemory"),
        (["--disk-limit", "1kb"], "disk-limit"),
        (["--ack", "perhaps"], "ack"),
        (["--no-such-flag", "1"], "no-such-flag"),
    ];
    for (flags, name) in wrong {
        let text = refuses(&command.with(&flags), &folder.path().join("data"))?;
        assert!(text.contains(name), "{flags:?} gives\n{text}");
    }
    Ok(())
}
