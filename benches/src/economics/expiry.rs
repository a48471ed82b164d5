//! How late a key's `expired` event is, among few and many other volatile keys, beside the peer; and
//! what watching over them costs.
//!
//! The method is the one by which the peer's lag was published: 1,000 probe keys with a time to live of
//! about a second, the lag of an event from the moment that its key is due until a subscriber has
//! it, and three minutes of patience.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::server::{Client, Reply, Server, push};
use super::{Bar, Plot, Section, Series, Settings, Table};

/// Probe keys in one measurement.
const PROBES: u64 = 1000;
/// How long events are waited for.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the idle server's processor time is measured.
const IDLE: Duration = Duration::from_secs(20);

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Lags in milliseconds, sorted; events that never came are missing.
struct Lags(Vec<u64>);

impl Lags {
    /// The lag that the share `per_mille` of all probes does not exceed; none if too few came.
    fn quantile(&self, per_mille: u64) -> Option<u64> {
        let rank = (PROBES * per_mille).div_ceil(1000).max(1);
        self.0.get(usize::try_from(rank - 1).ok()?).copied()
    }

    /// The same for a picture, where what never came stands at the end of patience.
    fn height(&self, per_mille: u64) -> f64 {
        self.quantile(per_mille).map_or(PATIENCE.as_secs_f64() * 1000.0, |lag| lag.max(1) as f64)
    }

    fn cell(&self, per_mille: u64) -> String {
        self.quantile(per_mille).map_or_else(|| "> 180000".to_owned(), |lag| lag.to_string())
    }

    fn cells(&self, name: String) -> Vec<String> {
        let mut cells = vec![name, self.0.len().to_string()];
        cells.extend([500, 990, 999, 1000].map(|per_mille| self.cell(per_mille)));
        cells
    }
}

/// Keys that expire some time within the next day.
fn fill(client: &mut Client, count: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(count);
    let set = |out: &mut Vec<u8>, number: u64| {
        let ttl = random.u64(3_600..86_400).to_string();
        let key = format!("other:{number}");
        push(out, &[b"SET", key.as_bytes(), b"1234567890", b"EX", ttl.as_bytes()]);
    };
    client.pipeline(count, 1000, set, |_, _| Ok(()))
}

/// Sets the probes, to expire from `after_ms` on, spread over a second. Their names say when.
fn set_probes(client: &mut Client, after_ms: u64) -> Result<()> {
    let begin = now_ms()? + after_ms;
    let set = |out: &mut Vec<u8>, number: u64| {
        let due = (begin + number).to_string();
        push(out, &[b"SET", format!("probe:{due}").as_bytes(), b"x", b"PXAT", due.as_bytes()]);
    };
    client.pipeline(PROBES, 100, set, |_, _| Ok(()))
}

/// Takes events until all probes were told, or patience ends.
fn take_events(listener: &mut Client) -> Result<Lags> {
    let begin = Instant::now();
    let mut lags = Vec::new();
    while lags.len() < usize::try_from(PROBES)? && begin.elapsed() < PATIENCE {
        let event = match listener.message(Duration::from_secs(1)) {
            Ok(event) => event,
            Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(is_timeout) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let now = now_ms()?;
        let Reply::Array(parts) = event else { continue };
        let Some(Reply::Bulk(Some(key))) = parts.last() else { continue };
        let due = std::str::from_utf8(key)?.strip_prefix("probe:");
        if let Some(due) = due {
            let due: u64 = due.parse()?;
            ensure!(now >= due, "an event {} ms before its key is due", due - now);
            lags.push(now - due);
        }
    }
    lags.sort_unstable();
    Ok(Lags(lags))
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What one server showed among `count` other keys.
struct Shown {
    lags: Lags,
    /// The same for keys that are on disk only, after a restart.
    cold: Option<Lags>,
    /// Percent of a core while nothing happens.
    idle_percent: f64,
}

fn measure(
    settings: &Settings,
    binary: &Path,
    arguments: &[&str],
    count: u64,
    restarts: bool,
) -> Result<Shown> {
    let folder = settings.folder()?;
    let dir = folder.path().to_owned();
    let server = Server::start(binary, settings.port, &dir, arguments)?;
    let mut client = server.client()?;
    fill(&mut client, count)?;
    let mut listener = server.client()?;
    listener.line("SUBSCRIBE __keyevent@0__:expired")?;
    let (begin, before) = (Instant::now(), server.processor_seconds());
    std::thread::sleep(settings.pick(IDLE, Duration::from_secs(2)));
    let idle_percent =
        (server.processor_seconds() - before) / begin.elapsed().as_secs_f64() * 100.0;
    set_probes(&mut client, 1000)?;
    let lags = take_events(&mut listener)?;
    let mut cold = None;
    if restarts {
        set_probes(&mut client, 20_000)?;
        server.kill()?;
        let server = Server::start(binary, settings.port, &dir, arguments)?;
        let mut listener = server.client()?;
        listener.line("SUBSCRIBE __keyevent@0__:expired")?;
        cold = Some(take_events(&mut listener)?);
    }
    Ok(Shown { lags, cold, idle_percent })
}

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let mut section = Section::new(
        "Expiry",
        "1,000 keys that expire within two seconds, among others that expire within a day. Lag from the \
         moment that a key is due to its `expired` event at a subscriber, in whole milliseconds; events \
         that have not come after 180 s are counted as later. Emberlog with its defaults (`--ack durable`) \
         and `--maxmemory 2gb`, the peer without persistence, both with `notify-keyspace-events Ex`. Idle: \
         processor time of the server over 20 s in which nothing happens but that somebody listens. On \
         disk only: the server was killed and started again before the keys were due",
    );
    let ours = ["--notify-keyspace-events", "Ex", "--maxmemory", "2gb", "--disk-limit", "8gb"];
    let theirs = ["--notify-keyspace-events", "Ex", "--save", "", "--appendonly", "no"];
    let head = ["other keys, server", "events", "p50 ms", "p99 ms", "p99.9 ms", "last ms"];
    let mut table = Table::new("Lag of `expired` events.", &head);
    let mut idle = Table::new("Percent of a core, idle.", &["other keys", "Emberlog", "peer"]);
    let counts: &[u64] = settings.pick(&[1, 10_000, 100_000, 1_000_000, 10_000_000], &[1, 10_000]);
    let (mut drawn, mut drawn_peer) = (Vec::new(), Vec::new());
    for &count in counts {
        let restarts = count == settings.pick(1_000_000, 10_000);
        let mine = measure(settings, &settings.emberlog, &ours, count, restarts)?;
        eprintln!("   {count}: p99.9 {} ms", mine.lags.cell(999));
        let peer = measure(settings, &settings.peer, &theirs, count, false)?;
        eprintln!("   {count}: peer p50 {} ms, {} events", peer.lags.cell(500), peer.lags.0.len());
        table.row(mine.lags.cells(format!("{count}, Emberlog")));
        drawn.push((count as f64, mine.lags.height(999)));
        drawn_peer.push((count as f64, peer.lags.height(999)));
        if let Some(cold) = &mine.cold {
            table.row(cold.cells(format!("{count}, Emberlog, on disk only")));
            let worst = cold.quantile(999).context("events of keys on disk")?;
            let what = format!("p99.9 lag among {count} keys, on disk only");
            section.bars.push(Bar::at_most(what, worst as f64, 10.0, "ms"));
        }
        table.row(peer.lags.cells(format!("{count}, peer")));
        idle.row([
            count.to_string(),
            format!("{:.2}", mine.idle_percent),
            format!("{:.2}", peer.idle_percent),
        ]);
        let worst = mine.lags.quantile(999).context("events")?;
        let what = format!("p99.9 lag among {count} keys");
        section.bars.push(Bar::at_most(what, worst as f64, 10.0, "ms"));
        if count == 10_000_000 {
            let what = "core taken by 10^7 volatile keys, idle";
            section.bars.push(Bar::at_most(what, mine.idle_percent, 2.0, "%"));
        }
    }
    section.tables = vec![table, idle];
    section.plots.push(Plot {
        file: "expiry",
        title: "p99.9 lag of expired events (at 180,000 ms: had not come)".to_owned(),
        axes: ("other volatile keys", "ms"),
        log: (true, true),
        series: vec![
            Series { name: "emberlog".into(), points: drawn },
            Series { name: "peer".into(), points: drawn_peer },
        ],
    });
    Ok(section)
}
