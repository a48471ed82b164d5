//! What a checkpoint does to those who are served meanwhile: it is written in slices, and none of
//! them may hold up the event loop.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};

use super::server::{Client, Server, push};
use super::{Bar, Section, Settings, Table};

/// Bytes of a value that is written over and over, so that the log grows to the next checkpoint.
const VALUE_BYTES: usize = 64 << 10;
/// Such values in a round, written one by one.
const ROUND: u64 = 8;

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let entries = settings.pick(10_000_000, 100_000);
    let arguments =
        ["--maxmemory", "512mb", "--disk-limit", "8gb", "--ack", "memory", "--compression", "no"];
    let mut section = Section::new(
        "Checkpoints",
        format!(
            "{entries} keys of 8 bytes, `{}`. Then one client writes values of {} KiB, one at a time with a \
             pause of 1 ms, until two checkpoints have been taken, and asks after every {ROUND} for the longest \
             turn of the event loop since it last asked. A round belongs to a checkpoint if a file of one was \
             written in it.",
            arguments.join(" "),
            VALUE_BYTES >> 10,
        ),
    );
    let folder = settings.folder()?;
    let dir = folder.path().join("data");
    let server = Server::start(&settings.emberlog, settings.port, &dir, &arguments)?;
    let mut client = server.client()?;
    let load = |out: &mut Vec<u8>, number: u64| {
        push(out, &[b"SET", format!("key:{number:09}").as_bytes(), b"12345678"]);
    };
    client.pipeline(entries, 16, load, |_, _| Ok(()))?;
    let (during, between) = write_until(&mut client, &dir, 2)?;
    ensure!(!during.turns_ms.is_empty(), "no checkpoint was seen");
    let mut table = Table::new("Turns", &["", "rounds", "longest turn ms", "p99 of rounds ms"]);
    table.row(between.cells("between checkpoints"));
    table.row(during.cells("while one is written"));
    section.bars = vec![Bar::at_most(
        "longest turn while a checkpoint is written",
        during.longest(),
        5.0,
        "ms",
    )];
    section.tables.push(table);
    Ok(section)
}

/// Longest turns of rounds, in milliseconds.
#[derive(Default)]
struct Rounds {
    /// In order of length.
    turns_ms: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, turn_ms: f64) {
        let at = self.turns_ms.partition_point(|turn| *turn <= turn_ms);
        self.turns_ms.insert(at, turn_ms);
    }

    fn longest(&self) -> f64 {
        self.turns_ms.last().copied().unwrap_or(0.0)
    }

    fn cells(&self, name: &str) -> [String; 4] {
        let p99 = self.turns_ms.get(self.turns_ms.len() * 99 / 100).copied().unwrap_or(0.0);
        let longest = format!("{:.2}", self.longest());
        [name.to_owned(), self.turns_ms.len().to_string(), longest, format!("{p99:.2}")]
    }
}

/// Writes until `checkpoints` more have been taken; the rounds while one was written, and the others.
fn write_until(client: &mut Client, dir: &Path, checkpoints: u64) -> Result<(Rounds, Rounds)> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut bytes = vec![0; 2 * VALUE_BYTES];
    random.fill(&mut bytes);
    let (mut during, mut between) = (Rounds::default(), Rounds::default());
    let end = client.info("checkpoints")? + checkpoints as f64;
    let began = Instant::now();
    client.line("CONFIG RESETSTAT")?;
    let mut written = written_at(dir);
    let mut number = 0;
    while client.info("checkpoints")? < end {
        ensure!(began.elapsed() < Duration::from_secs(900), "no checkpoint in 15 minutes");
        for _ in 0..ROUND {
            let from = random.usize(..VALUE_BYTES);
            let value = &bytes[from..from + VALUE_BYTES];
            client.ask(&[b"SET", format!("value:{}", number % 64).as_bytes(), value])?;
            number += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        let turn_ms = client.info("turn_us_max")? / 1e3;
        client.line("CONFIG RESETSTAT")?;
        let now = written_at(dir);
        let rounds = if now == written { &mut between } else { &mut during };
        rounds.add(turn_ms);
        written = now;
    }
    Ok((during, between))
}

/// When each checkpoint file was last written to.
fn written_at(dir: &Path) -> [Option<SystemTime>; 3] {
    [0, 1, 2].map(|file| {
        dir.join(format!("checkpoint-{file}")).metadata().and_then(|meta| meta.modified()).ok()
    })
}
