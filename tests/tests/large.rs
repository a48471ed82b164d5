//! Large values against a real server: streamed both ways in bounded memory, cut off by crashes and hang-ups.

use anyhow::{Context, Result, ensure};
use emberlog_tests::process::RssWatch;
use emberlog_tests::resp::Reply;
use emberlog_tests::server::{Server, ServerCommand};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const BUDGET_MIB: u64 = 128;
const FLAGS: [&str; 4] = ["--maxmemory", "128mb", "--disk-limit", "3gb"];
const LIMIT: Duration = Duration::from_secs(60);

/// Byte by byte the same for the same seed, not compressible, and told apart at every place.
struct Pattern(u64);

impl Pattern {
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let mixed = self.0 ^ (self.0 >> 29);
            word.copy_from_slice(&mixed.to_le_bytes()[..word.len()]);
        }
    }
}

/// The bytes of a pattern from `from` on; `from` and `len` are multiples of 8.
fn part(seed: u64, from: usize, len: usize) -> Vec<u8> {
    let (mut pattern, mut skipped) = (Pattern(seed), [0; 8]);
    (0..from / 8).for_each(|_| pattern.fill(&mut skipped));
    let mut bytes = vec![0; len];
    pattern.fill(&mut bytes);
    bytes
}

/// A connection that never holds a value as a whole.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn connect(server: &Server) -> Result<Raw> {
        let stream = TcpStream::connect(server.address())?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Raw(BufReader::with_capacity(256 << 10, stream)))
    }

    /// Sends `SET key` and the first `sent` of the `len` bytes of a pattern.
    fn begin_set(&mut self, key: &str, seed: u64, len: usize, sent: usize) -> Result<()> {
        let stream = self.0.get_mut();
        write!(stream, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${len}\r\n", key.len())?;
        let (mut pattern, mut bytes) = (Pattern(seed), vec![0; 256 << 10]);
        for from in (0..sent).step_by(bytes.len()) {
            let count = bytes.len().min(sent - from);
            pattern.fill(&mut bytes[..count]);
            stream.write_all(&bytes[..count])?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, seed: u64, len: usize) -> Result<()> {
        self.begin_set(key, seed, len, len)?;
        self.0.get_mut().write_all(b"\r\n")?;
        let line = self.line()?;
        ensure!(line == "+OK", "SET answers {line}");
        Ok(())
    }

    fn send(&mut self, line: &str) -> Result<()> {
        Ok(self.0.get_mut().write_all(format!("{line}\r\n").as_bytes())?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Reads `len` bytes, which must be those of a pattern.
    fn same(&mut self, pattern: &mut Pattern, len: usize) -> Result<()> {
        let (mut got, mut expected) = (vec![0; 256 << 10], vec![0; 256 << 10]);
        for from in (0..len).step_by(got.len()) {
            let count = got.len().min(len - from);
            self.0.read_exact(&mut got[..count]).with_context(|| format!("at byte {from}"))?;
            pattern.fill(&mut expected[..count]);
            ensure!(got[..count] == expected[..count], "wrong bytes behind byte {from}");
        }
        Ok(())
    }

    /// Sends GET, and reads a bulk string that must be a pattern of `len` bytes.
    fn get(&mut self, key: &str, seed: u64, len: usize) -> Result<()> {
        self.send(&format!("GET {key}"))?;
        self.bulk(seed, len)
    }

    fn bulk(&mut self, seed: u64, len: usize) -> Result<()> {
        let line = self.line()?;
        ensure!(line == format!("${len}"), "the reply begins with {line}");
        self.same(&mut Pattern(seed), len)?;
        ensure!(self.line()?.is_empty(), "the reply does not end");
        Ok(())
    }
}

fn command() -> Result<Option<ServerCommand>> {
    let command = ServerCommand::under_test()?.with(&FLAGS);
    Ok(command.is_emberlog().then_some(command))
}

/// Waits until a field of INFO is `value`.
fn wait_for(server: &Server, field: &str, value: u64) -> Result<()> {
    let (begin, mut client) = (Instant::now(), server.client()?);
    loop {
        let now = client.info(field)?;
        if now == Some(value) {
            return Ok(());
        }
        ensure!(begin.elapsed() < LIMIT, "{field} is {now:?}, not {value}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn no_panic(server: &Server) -> Result<()> {
    ensure!(!server.log_text().contains("panicked"), "{}", server.log_tail());
    Ok(())
}

#[test]
fn half_a_gibibyte_passes_through_a_quarter_of_that_memory() -> Result<()> {
    let Some(command) = command()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    // Less than `proto-max-bulk-len` by what is appended.
    let len = 511 * MIB;
    let server = Server::start(&command, &data)?;
    let watch = RssWatch::start(server.pid());
    let mut raw = Raw::connect(&server)?;
    let begin = Instant::now();
    raw.set("k", 1, len)?;
    println!(
        "SET of 511 MiB: {:.1} s, peak {} MiB",
        begin.elapsed().as_secs_f64(),
        watch.peak_bytes() >> 20
    );
    let begin = Instant::now();
    raw.get("k", 1, len)?;
    println!(
        "GET of 511 MiB: {:.1} s, peak {} MiB",
        begin.elapsed().as_secs_f64(),
        watch.peak_bytes() >> 20
    );

    let mut client = server.client()?;
    assert_eq!(client.words("STRLEN k")?, Reply::Int(i64::try_from(len)?));
    let reads = client.info("device_reads")?.context("no device_reads")?;
    let from = 300 * MIB + 16;
    let line = format!("GETRANGE k {from} {}", from + 15);
    assert_eq!(client.words(&line)?, Reply::Bulk(part(1, from, 16)));
    let reads = client.info("device_reads")?.context("no device_reads")? - reads;
    assert!(reads <= 1, "{reads} device reads for 16 bytes");
    let written = client.info("user_bytes_written")?.context("no user_bytes_written")?;
    assert_eq!(client.words("APPEND k 0123456789")?, Reply::Int(i64::try_from(len)? + 10));
    let written = client.info("user_bytes_written")?.context("no user_bytes_written")? - written;
    assert!(written <= 300 << 10, "{written} bytes written for 10 appended");
    let budget = BUDGET_MIB << 20;
    let peak = watch.peak_bytes();
    assert!(peak <= budget + budget / 20, "{} MiB of RAM", peak >> 20);

    server.kill()?;
    let server = Server::start(&command, &data)?;
    let mut client = server.client()?;
    assert_eq!(client.words("GETRANGE k -10 -1")?, Reply::Bulk(b"0123456789".to_vec()));
    assert_eq!(client.words("DEL k")?, Reply::Int(1));
    wait_for(&server, "chunks", 0)?;
    no_panic(&server)
}

fn crash_in_mid_upload(command: &ServerCommand, data: &Path) -> Result<Server> {
    let server = Server::start(command, data)?;
    let mut raw = Raw::connect(&server)?;
    raw.set("old", 1, 20 * MIB)?;
    raw.begin_set("old", 2, 200 * MIB, 100 * MIB)?;
    // What has arrived is on its way to the disk.
    let (begin, mut client) = (Instant::now(), server.client()?);
    while client.info("chunks")?.unwrap_or(0) < 300 {
        ensure!(begin.elapsed() < LIMIT, "the upload does not come in");
        std::thread::sleep(Duration::from_millis(5));
    }
    ensure!(client.words("SET x y")?.is_ok());
    server.kill()?;
    Server::start(command, data)
}

#[test]
fn an_upload_that_a_crash_cuts_off_leaves_no_chunk() -> Result<()> {
    let Some(command) = command()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = crash_in_mid_upload(&command, &data)?;
    wait_for(&server, "chunks", 80)?;
    wait_for(&server, "uploads", 0)?;
    let mut raw = Raw::connect(&server)?;
    raw.get("old", 1, 20 * MIB)?;
    // And one that a hang-up cuts off.
    raw.begin_set("old", 2, 200 * MIB, 50 * MIB)?;
    drop(raw);
    wait_for(&server, "uploads", 0)?;
    wait_for(&server, "chunks", 80)?;
    Raw::connect(&server)?.get("old", 1, 20 * MIB)?;
    no_panic(&server)
}

#[test]
fn a_slow_reader_gets_what_it_asked_for_and_delays_nobody() -> Result<()> {
    let Some(command) = command()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let server = Server::start(&command, &folder.path().join("data"))?;
    let watch = RssWatch::start(server.pid());
    let len = 64 * MIB;
    let mut writer = Raw::connect(&server)?;
    writer.set("k", 1, len)?;
    let mut slow = Raw::connect(&server)?;
    slow.send("GET k\r\nPING")?;
    ensure!(slow.line()? == format!("${len}"));
    let mut pattern = Pattern(1);
    slow.same(&mut pattern, 8 * MIB)?;
    writer.set("k", 2, len)?;
    let mut client = server.client()?;
    let begin = Instant::now();
    assert_eq!(client.words("DEL k")?, Reply::Int(1));
    assert_eq!(client.words("GET k")?, Reply::Nil);
    assert!(begin.elapsed() < Duration::from_secs(5), "others had to wait {:?}", begin.elapsed());
    writer.set("k", 3, len)?;
    slow.same(&mut pattern, len - 8 * MIB)?;
    ensure!(slow.line()?.is_empty() && slow.line()? == "+PONG");
    writer.get("k", 3, len)?;
    wait_for(&server, "chunks", (len >> 18) as u64)?;
    let budget = BUDGET_MIB << 20;
    assert!(watch.peak_bytes() <= budget + budget / 20, "{} MiB", watch.peak_bytes() >> 20);
    no_panic(&server)
}

#[test]
fn sixteen_uploads_at_a_time_share_the_memory() -> Result<()> {
    let Some(command) = command()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let server = Server::start(&command, &folder.path().join("data"))?;
    let watch = RssWatch::start(server.pid());
    std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..16)
            .map(|number| {
                let server = &server;
                scope.spawn(move || -> Result<()> {
                    let mut raw = Raw::connect(server)?;
                    let key = format!("k{number}");
                    raw.set(&key, number, 32 * MIB)?;
                    raw.get(&key, number, 32 * MIB)
                })
            })
            .collect();
        uploads.into_iter().try_for_each(|upload| upload.join().expect("a client panicked"))
    })?;
    let budget = BUDGET_MIB << 20;
    let peak = watch.peak_bytes();
    println!("peak {} MiB", peak >> 20);
    assert!(peak <= budget + budget / 20, "{} MiB of RAM", peak >> 20);
    no_panic(&server)
}
