//! Restart after kill -9: how long until the first correct answer, with and without a checkpoint,
//! beside the peer's restart from its append-only file.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::server::{Client, PEER_KEEPS, Reply, Server, push};
use super::{Bar, Plot, Section, Series, Settings, Table};

/// Bytes of a session.
const VALUE_BYTES: usize = 400;
/// Longest wait for a first answer.
const LIMIT: Duration = Duration::from_secs(600);
/// Seconds that an expiry is away.
const TTL_SECS: &[u8] = b"86400";

fn key(number: u64) -> String {
    format!("session:{number:016x}")
}

/// Content of a session: its number, then bytes that do not compress.
pub(super) fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut random = fastrand::Rng::with_seed(number);
    let mut value = [0; VALUE_BYTES];
    random.fill(&mut value);
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// Writes sessions `0..count`, each with an expiry.
pub(super) fn fill(client: &mut Client, count: u64) -> Result<()> {
    let set = |out: &mut Vec<u8>, number| {
        push(out, &[b"SET", key(number).as_bytes(), &value(number), b"EX", TTL_SECS]);
    };
    client.pipeline(count, 256, set, |_, _| Ok(()))
}

/// One restart.
struct Restart {
    first_answer: Duration,
    /// As the server says; none for the peer.
    recovered: Option<(f64, f64)>,
}

/// Starts a server and waits for the first correct answer about one of `count` sessions.
fn restart(
    binary: &Path,
    port: u16,
    dir: &Path,
    arguments: &[&str],
    count: u64,
) -> Result<Restart> {
    let begin = Instant::now();
    let mut server = Server::spawn(binary, port, dir, arguments)?;
    let wanted = count / 3;
    let mut wrong = None;
    server.wait_for(LIMIT, |client| match client.ask(&[b"GET", key(wanted).as_bytes()]) {
        Ok(Reply::Bulk(found)) => {
            wrong = found.is_none_or(|found| found != value(wanted)).then_some(wanted);
            true
        }
        // -LOADING, or not there yet.
        _ => false,
    })?;
    let first_answer = begin.elapsed();
    ensure!(wrong.is_none(), "the first answer is wrong: session {wanted}");
    let mut client = server.client()?;
    ensure!(client.line("DBSIZE")? == Reply::Number(i64::try_from(count)?), "all sessions");
    // A sample, so that the first is not a lucky one.
    for number in (0..count).step_by(usize::try_from(count / 1000)?.max(1)) {
        let reply = client.ask(&[b"GET", key(number).as_bytes()])?;
        ensure!(reply == Reply::Bulk(Some(value(number).to_vec())), "session {number}: {reply:?}");
    }
    let recovered = client.info("recovery_ms").ok();
    let records = client.info("recovery_records").ok();
    server.kill()?;
    Ok(Restart { first_answer, recovered: recovered.zip(records) })
}

/// Fills a store, kills its server when everything is durable, and restarts it, first as it is and
/// then with its checkpoints gone.
fn ours(settings: &Settings, count: u64) -> Result<(Restart, Restart)> {
    let folder = settings.folder()?;
    let dir = folder.path().join("data");
    let arguments = [
        "--maxmemory",
        "1gb",
        "--disk-limit",
        "16gb",
        "--ack",
        "memory",
        "--rebuild-may-resurrect",
        "yes",
    ];
    let server = Server::start(&settings.emberlog, settings.port, &dir, &arguments)?;
    let mut client = server.client()?;
    fill(&mut client, count)?;
    while client.info("durable_lsn")? < client.info("appended_lsn")? {
        std::thread::sleep(Duration::from_millis(50));
    }
    server.kill()?;
    let with = restart(&settings.emberlog, settings.port, &dir, &arguments, count)?;
    for number in 0..3 {
        let file = dir.join(format!("checkpoint-{number}"));
        if let Ok(metadata) = file.metadata() {
            // Not removed, but bad: the harder case.
            std::fs::write(&file, vec![0xA5; usize::try_from(metadata.len())?])?;
        }
    }
    let without = restart(&settings.emberlog, settings.port, &dir, &arguments, count)?;
    Ok((with, without))
}

fn theirs(settings: &Settings, count: u64) -> Result<Restart> {
    let folder = settings.folder()?;
    let port = settings.port + 1;
    let server = Server::start(&settings.peer, port, folder.path(), &PEER_KEEPS)?;
    fill(&mut server.client()?, count)?;
    std::thread::sleep(Duration::from_secs(2));
    server.kill()?;
    restart(&settings.peer, port, folder.path(), &PEER_KEEPS, count)
}

fn millions(count: u64) -> String {
    format!("{} M", count as f64 / 1e6)
}

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let (both, large) = (settings.pick(2_000_000, 20_000), settings.pick(10_000_000, 50_000));
    let mut section = Section::new(
        "Restart after kill -9",
        format!(
            "Sessions of {VALUE_BYTES} random bytes with an expiry. Killed with signal 9 when everything was \
             durable (Emberlog: `--maxmemory 1gb --disk-limit 16gb --ack memory`; peer: `--appendonly yes \
             --appendfsync everysec`, no rewrite). Time from the start of the process to the first GET \
             answered with the right value, asked every millisecond; then DBSIZE and 1,000 sessions are \
             checked. *No checkpoint*: all checkpoint files are overwritten with garbage first. The page cache \
             is not dropped: the peer reads its file through it, Emberlog reads around it. Bar: {} \
             sessions in 3 s.",
            millions(large)
        ),
    );
    let head = ["", "sessions", "first answer s", "sessions/s", "recovery ms", "records replayed"];
    let mut table = Table::new("Restarts", &head);
    let mut row = |name: &str, count: u64, restart: &Restart| {
        let seconds = restart.first_answer.as_secs_f64();
        let (millis, records) = restart.recovered.map_or(("-".to_owned(), "-".to_owned()), |r| {
            (format!("{:.0}", r.0), format!("{:.0}", r.1))
        });
        let (first, rate) = (format!("{seconds:.2}"), format!("{:.0}", count as f64 / seconds));
        table.row([name.to_owned(), millions(count), first, rate, millis, records]);
        seconds
    };
    let peer = theirs(settings, both)?;
    let peer = row("peer, append-only file", both, &peer);
    let mut lines = [Vec::new(), Vec::new()];
    for count in [both, large] {
        let (with, without) = ours(settings, count)?;
        lines[0].push((count as f64, row("emberlog", count, &with)));
        lines[1].push((count as f64, row("emberlog, no checkpoint", count, &without)));
    }
    let [with, without] = [lines[0][1].1, lines[1][1].1];
    section.bars = vec![
        Bar::at_most(format!("first answer, {} sessions", millions(large)), with, 3.0, "s"),
        Bar::at_most(
            format!("first answer, {} sessions, no checkpoint", millions(large)),
            without,
            3.0,
            "s",
        ),
        Bar::at_least(
            format!("peer's time over ours, {} sessions", millions(both)),
            peer / lines[0][0].1,
            1.0,
            "x",
        ),
    ];
    section.tables.push(table);
    let [with, without] = lines;
    section.plots.push(Plot {
        file: "restart",
        title: "Time to the first correct answer after kill -9".to_owned(),
        axes: ("sessions", "seconds"),
        log: (false, false),
        series: vec![
            Series { name: "emberlog".into(), points: with },
            Series { name: "no checkpoint".into(), points: without },
            Series { name: "peer, AOF".into(), points: vec![(0.0, 0.0), (both as f64, peer)] },
        ],
    });
    Ok(section)
}
