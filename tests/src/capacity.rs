//! What the capacity test is made of: a load of distinct values, and watches over memory and disk.
//!
//! Owns: which value stands under which key. Invariant: each key has one connection, so its version is known.

use crate::process::{RssWatch, disk_bytes};
use crate::resp::{Client, Reply};
use crate::server::{REPLY_LIMIT, Server};
use crate::value;
use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Requests on their way at once, per connection.
const PIPELINE: usize = 32;

/// All keys with their versions, split over connections.
pub struct Load {
    address: SocketAddr,
    seed: u64,
    /// `versions[connection][index]`
    versions: Vec<Vec<u32>>,
}

fn key(connection: usize, index: usize) -> Vec<u8> {
    format!("capacity:{connection}:{index}").into_bytes()
}

/// Sizes as sessions and cache entries have them: mostly around 1 KiB, some up to 32 KiB.
fn length(seed: u64, connection: usize, index: usize, version: u32) -> usize {
    let mix = seed ^ ((connection as u64) << 56) ^ ((index as u64) << 16) ^ u64::from(version);
    let mut rng = Rng::with_seed(mix);
    match rng.u8(..16) {
        0..12 => rng.usize(200..2000),
        12..15 => rng.usize(2000..6000),
        _ => rng.usize(6000..32_000),
    }
}

impl Load {
    /// Plans distinct values of `bytes` in total.
    pub fn new(address: SocketAddr, seed: u64, bytes: u64, connections: u64) -> Self {
        let mut versions = Vec::new();
        for connection in 0..usize::try_from(connections).unwrap_or(1) {
            let mut planned = 0;
            let mut count = 0;
            while planned < bytes / connections {
                planned += length(seed, connection, count, 1) as u64;
                count += 1;
            }
            versions.push(vec![0; count]);
        }
        Self { address, seed, versions }
    }

    /// Number of keys.
    pub fn count(&self) -> usize {
        self.versions.iter().map(Vec::len).sum()
    }

    /// After a restart the server has another port.
    pub fn reconnect(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Writes every key once. Returns operations and bytes of values.
    ///
    /// # Errors
    /// When a write is refused.
    pub fn write_all(&mut self) -> Result<(u64, u64)> {
        self.each(|client, seed, connection, versions| {
            let order: Vec<usize> = (0..versions.len()).collect();
            write(client, seed, connection, versions, order.into_iter())
        })
    }

    /// Overwrites random keys until `bytes` are written.
    ///
    /// # Errors
    /// As [`Load::write_all`].
    pub fn overwrite(&mut self, bytes: u64) -> Result<(u64, u64)> {
        let share = bytes / self.versions.len() as u64;
        self.each(|client, seed, connection, versions| {
            let mut rng = Rng::with_seed(seed ^ connection as u64);
            let mut total = (0, 0);
            while total.1 < share {
                let order: Vec<usize> = (0..1000).map(|_| rng.usize(..versions.len())).collect();
                let done = write(client, seed, connection, versions, order.into_iter())?;
                total = (total.0 + done.0, total.1 + done.1);
            }
            Ok(total)
        })
    }

    fn each(
        &mut self,
        body: impl Fn(&mut Client, u64, usize, &mut [u32]) -> Result<(u64, u64)> + Sync,
    ) -> Result<(u64, u64)> {
        let (address, seed, body) = (self.address, self.seed, &body);
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .versions
                .iter_mut()
                .enumerate()
                .map(|(connection, versions)| {
                    scope.spawn(move || {
                        let mut client = Client::connect(address, REPLY_LIMIT)?;
                        body(&mut client, seed, connection, versions)
                    })
                })
                .collect();
            sum(threads.into_iter().map(std::thread::ScopedJoinHandle::join))
        })
    }

    /// Reads every key in random order and compares every byte.
    ///
    /// # Errors
    /// At the first value that is not right.
    pub fn read_all(&self) -> Result<(u64, u64)> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .versions
                .iter()
                .enumerate()
                .map(|(connection, versions)| {
                    scope.spawn(move || self.read_connection(connection, versions))
                })
                .collect();
            sum(threads.into_iter().map(std::thread::ScopedJoinHandle::join))
        })
    }

    fn read_connection(&self, connection: usize, versions: &[u32]) -> Result<(u64, u64)> {
        let mut client = Client::connect(self.address, REPLY_LIMIT)?;
        let mut order: Vec<usize> = (0..versions.len()).collect();
        Rng::with_seed(self.seed).shuffle(&mut order);
        let mut bytes = 0;
        for round in order.chunks(PIPELINE) {
            for &index in round {
                client.queue(&[b"GET", &key(connection, index)]);
            }
            client.flush()?;
            for &index in round {
                let (key, version) = (key(connection, index), versions[index]);
                let wanted = length(self.seed, connection, index, version);
                let right = value::make(&key, version.into(), wanted);
                match client.reply()? {
                    Reply::Bulk(found) => ensure!(
                        found == right,
                        "{}: expected version {version}, found {}",
                        String::from_utf8_lossy(&key),
                        value::describe(&key, &found)
                    ),
                    other => anyhow::bail!("{}: {other:?}", String::from_utf8_lossy(&key)),
                }
                bytes += wanted as u64;
            }
        }
        Ok((order.len() as u64, bytes))
    }
}

type Joined = std::thread::Result<Result<(u64, u64)>>;

fn sum(results: impl Iterator<Item = Joined>) -> Result<(u64, u64)> {
    let mut total = (0, 0);
    for result in results {
        let (operations, bytes) =
            result.map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
        total = (total.0 + operations, total.1 + bytes);
    }
    Ok(total)
}

fn write(
    client: &mut Client,
    seed: u64,
    connection: usize,
    versions: &mut [u32],
    order: impl Iterator<Item = usize>,
) -> Result<(u64, u64)> {
    let (mut operations, mut bytes, mut waiting) = (0, 0, 0);
    for index in order {
        versions[index] += 1;
        let (key, version) = (key(connection, index), versions[index]);
        let length = length(seed, connection, index, version);
        client.queue(&[b"SET", &key, &value::make(&key, version.into(), length)]);
        (operations, bytes, waiting) = (operations + 1, bytes + length as u64, waiting + 1);
        if waiting == PIPELINE {
            take_oks(client, std::mem::take(&mut waiting))?;
        }
    }
    take_oks(client, waiting)?;
    Ok((operations, bytes))
}

fn take_oks(client: &mut Client, count: usize) -> Result<()> {
    client.flush()?;
    for _ in 0..count {
        let reply = client.reply()?;
        ensure!(reply.is_ok(), "SET is answered {reply:?}");
    }
    Ok(())
}

/// Peaks of memory and disk, sampled while the server works.
pub struct Watch {
    rss: RssWatch,
    rss_peak: u64,
    segments: Arc<AtomicU64>,
    others: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Watches a process and its data folder.
    pub fn start(pid: u32, folder: &Path) -> Self {
        let watch = Self {
            rss: RssWatch::start(pid),
            rss_peak: 0,
            segments: Arc::default(),
            others: Arc::default(),
            stop: Arc::default(),
        };
        let (segments, others) = (Arc::clone(&watch.segments), Arc::clone(&watch.others));
        let (stop, folder): (_, PathBuf) = (Arc::clone(&watch.stop), folder.to_owned());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // A file that is renamed in the middle of a walk is counted in the next one.
                if let (Ok(all), Ok(part)) =
                    (disk_bytes(&folder), disk_bytes(&folder.join("segments")))
                {
                    segments.fetch_max(part, Ordering::Relaxed);
                    others.fetch_max(all.saturating_sub(part), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        watch
    }

    /// Highest RSS so far, in bytes.
    pub fn rss_peak(&self) -> u64 {
        self.rss_peak.max(self.rss.peak_bytes())
    }

    /// Most bytes that the segment files have occupied.
    pub fn segments_peak(&self) -> u64 {
        self.segments.load(Ordering::Relaxed)
    }

    /// Most bytes that superblock, checkpoints and the rest have occupied.
    pub fn others_peak(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One line of the table.
pub struct Phase {
    name: &'static str,
    begin: Instant,
    written: u64,
}

impl Phase {
    /// Column titles of [`Phase::end`].
    pub const HEADER: &'static str =
        "phase         seconds   operations    MiB/s   op/s   RSS peak   segments   written/user";

    /// Starts a phase, whose RSS peak is its own.
    ///
    /// # Errors
    /// When INFO cannot be read.
    pub fn begin(name: &'static str, watch: &mut Watch, server: &Server) -> Result<Self> {
        watch.rss_peak = watch.rss_peak();
        watch.rss.reset();
        let written = server.client()?.info("device_bytes_written")?.unwrap_or(0);
        Ok(Self { name, begin: Instant::now(), written })
    }

    /// Ends the phase and describes it.
    ///
    /// # Errors
    /// When INFO cannot be read.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn end(
        &mut self,
        watch: &Watch,
        server: &Server,
        operations: u64,
        bytes: u64,
    ) -> Result<impl fmt::Display> {
        let seconds = self.begin.elapsed().as_secs_f64();
        let now = server.client()?.info("device_bytes_written")?.context("no such field")?;
        let (name, mib) = (self.name, bytes as f64 / f64::from(1 << 20));
        let rss = watch.rss.peak_bytes() >> 20;
        let segments = watch.segments_peak() >> 20;
        let amplification = (now - self.written) as f64 / bytes as f64;
        Ok(format!(
            "{name:<12} {seconds:>8.1} {operations:>12} {:>8.1} {:>6.0} {rss:>6} MiB {segments:>6} MiB {amplification:>8.2}",
            mib / seconds,
            operations as f64 / seconds,
        ))
    }
}
