//! Large values: how fast they stream in and out, in how much memory, and what it costs to read or change ten
//! bytes of one, beside the peer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::server::{PEER_KEEPS, Reply, Server};
use super::{Bar, Section, Settings, Table};

/// RAM that Emberlog may use.
const BUDGET: f64 = 128.0;
const OURS: [&str; 4] = ["--maxmemory", "128mb", "--disk-limit", "4gb"];
/// Bytes that are sent and taken at a time.
const PIECE: usize = 1 << 20;
/// Ranges read for a median.
const RANGES: u64 = 200;
const MIB: f64 = (1 << 20) as f64;

/// What was measured of one server.
struct Measured {
    set_mb_s: f64,
    get_mb_s: f64,
    /// MiB.
    peak: f64,
    /// Microseconds, the median.
    range_us: f64,
    /// Reads of the device, each.
    range_reads: f64,
    /// Microseconds, and bytes that reach the disk.
    append_us: f64,
    append_bytes: f64,
}

/// Random bytes, which no compression makes less.
fn piece() -> Vec<u8> {
    let mut bytes = vec![0; PIECE];
    fastrand::Rng::with_seed(512).fill(&mut bytes);
    bytes
}

/// Bytes that the server has written to its disk: by its own count, or the length of its log.
fn written(server: &Server, own: bool) -> Result<f64> {
    server.client()?.info(if own { "device_bytes_written" } else { "aof_current_size" })
}

fn set(server: &Server, len: usize, peak: &mut u64) -> Result<f64> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", server.port))?);
    let (piece, start) = (piece(), Instant::now());
    write!(stream.get_mut(), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n")?;
    for _ in 0..len / PIECE {
        stream.get_mut().write_all(&piece)?;
        *peak = (*peak).max(server.resident_bytes());
    }
    stream.get_mut().write_all(b"\r\n")?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line == "+OK\r\n", "SET: {line}");
    *peak = (*peak).max(server.resident_bytes());
    Ok(len as f64 / 1e6 / start.elapsed().as_secs_f64())
}

fn get(server: &Server, len: usize, peak: &mut u64) -> Result<f64> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", server.port))?);
    let (expected, mut got, start) = (piece(), piece(), Instant::now());
    stream.get_mut().write_all(b"GET k\r\n")?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line == format!("${len}\r\n"), "GET: {line}");
    for _ in 0..len / PIECE {
        stream.read_exact(&mut got)?;
        ensure!(got == expected, "GET: wrong bytes");
        *peak = (*peak).max(server.resident_bytes());
    }
    stream.read_exact(&mut [0; 2])?;
    Ok(len as f64 / 1e6 / start.elapsed().as_secs_f64())
}

fn measure(binary: &Path, port: u16, own: bool, settings: &Settings) -> Result<Measured> {
    let folder = settings.folder()?;
    let data = folder.path().join("data");
    if !own {
        std::fs::create_dir_all(&data)?;
    }
    let arguments: &[&str] = if own { &OURS } else { &PEER_KEEPS };
    let server = Server::start(binary, port, &data, arguments)?;
    let len = settings.pick(511 << 20, 32 << 20);
    let mut peak = 0;
    let set_mb_s = set(&server, len, &mut peak)?;
    let get_mb_s = get(&server, len, &mut peak)?;

    let mut client = server.client()?;
    let reads = |own: bool| -> Result<f64> {
        if own { server.client()?.info("device_reads") } else { Ok(0.0) }
    };
    let (before, mut micros) = (reads(own)?, Vec::new());
    for number in 0..RANGES {
        let from = number * (len as u64 / RANGES) + 7;
        let start = Instant::now();
        let reply = client.line(&format!("GETRANGE k {from} {}", from + 9))?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
        ensure!(matches!(reply, Reply::Bulk(Some(bytes)) if bytes.len() == 10), "GETRANGE");
    }
    let range_reads = (reads(own)? - before) / RANGES as f64;
    micros.sort_by(f64::total_cmp);

    // What is still to be written of what was before comes first.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let before = written(&server, own)?;
    let start = Instant::now();
    let reply = client.line("APPEND k 0123456789")?;
    let append_us = start.elapsed().as_secs_f64() * 1e6;
    ensure!(reply == Reply::Number(i64::try_from(len)? + 10), "APPEND: {reply:?}");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let append_bytes = written(&server, own)? - before;
    ensure!(client.line("STRLEN k")? == Reply::Number(i64::try_from(len)? + 10), "STRLEN");
    Ok(Measured {
        set_mb_s,
        get_mb_s,
        peak: peak as f64 / MIB,
        range_us: micros[micros.len() / 2],
        range_reads,
        append_us,
        append_bytes,
    })
}

/// The part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let ours = measure(&settings.emberlog, settings.port, true, settings)?;
    let theirs = measure(&settings.peer, settings.port + 1, false, settings)?;
    let mut section = Section::new(
        "Large values",
        "One value of 511 MiB that does not compress, over one connection on this machine: SET and GET of \
         it (MB/s, the client's own work included), the highest resident memory seen meanwhile, the median \
         of GETRANGE of 10 bytes at 200 places, and one APPEND of 10 bytes. Emberlog with `--maxmemory \
         128mb` and `--ack durable`; the peer holds the value in RAM and syncs its log every second",
    );
    let head = [
        "",
        "SET MB/s",
        "GET MB/s",
        "peak MiB",
        "GETRANGE us",
        "reads each",
        "APPEND us",
        "APPEND bytes written",
    ];
    let mut table = Table::new("A value of 511 MiB", &head);
    for (name, own, of) in [("Emberlog", true, &ours), ("peer", false, &theirs)] {
        table.row([
            name.to_owned(),
            format!("{:.0}", of.set_mb_s),
            format!("{:.0}", of.get_mb_s),
            format!("{:.0}", of.peak),
            format!("{:.0}", of.range_us),
            if own { format!("{:.2}", of.range_reads) } else { "0".to_owned() },
            format!("{:.0}", of.append_us),
            format!("{:.0}", of.append_bytes),
        ]);
    }
    section.tables.push(table);
    section.bars = vec![
        Bar::at_most("resident memory, peak", ours.peak, BUDGET * 1.05, "MiB"),
        Bar::at_most("device reads of GETRANGE of 10 bytes", ours.range_reads, 1.0, "reads"),
        Bar::at_most("APPEND of 10 bytes, written", ours.append_bytes / 1024.0, 300.0, "KiB"),
    ];
    Ok(section)
}
