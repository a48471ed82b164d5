//! One connection under load: plans a pipeline, sends it, judges every reply, until the server dies.
//!
//! Owns: the order "enter into the books, send, judge, acknowledge". Must never know: when the kill comes.

use super::judge::{Look, Sin, Violation, observe, observe_between, read_verb};
use super::model::{Class, Millis};
use super::plan::{self, Expect, Write};
use super::{Shared, lock, now_ms};
use crate::resp::{Client, Reply};
use fastrand::Rng;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// More than this many bytes are not sent before replies are read.
const PIPELINE_BYTES: usize = 1 << 20;

/// What a queued command waits for.
enum Waiting {
    Write(Write),
    Read { writer: usize, key: usize, from: u64, to: Option<u64> },
}

/// Counts of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Write operations answered.
    pub writes: u64,
    /// Reads answered and judged.
    pub reads: u64,
    /// Write operations without an answer when the server died.
    pub in_flight: u64,
    /// Whether a write was refused because the disk was ill, which ends the connection's work: 0 or 1.
    pub refused: u64,
    /// Reads that were answered by an error because the disk was ill.
    pub unread: u64,
}

/// After a SIGTERM the server has this long to close the connection.
const GOODBYE: Duration = Duration::from_secs(20);

/// Works until the connection breaks or a promise is broken. The load goes on while the server ends.
pub fn work(shared: &Shared, id: usize, mut client: Client, mut rng: Rng) -> Tally {
    let mut tally = Tally::default();
    let watcher = rng.u32(..4) == 0;
    let mut asked_to_stop: Option<Instant> = None;
    loop {
        if shared.stop.load(Ordering::Relaxed)
            && asked_to_stop.get_or_insert_with(Instant::now).elapsed() > GOODBYE
        {
            let text = format!("connection {id} is still served {GOODBYE:?} after SIGTERM");
            shared.report(Violation::new(Sin::Died, text));
            break;
        }
        match round(shared, (id, watcher), &mut client, &mut rng, &mut tally) {
            Ok(()) => {}
            Err(Broken::Promise(violation)) => {
                shared.report(violation);
                break;
            }
            // It stays in the books as a write that was never answered.
            Err(Broken::Refused) => {
                tally.refused = 1;
                break;
            }
            // A server that can acknowledge nothing more says so and hangs up.
            Err(Broken::Connection(_)) if shared.ill.load(Ordering::SeqCst) => {
                tally.refused = 1;
                break;
            }
            Err(Broken::Connection(error)) => {
                if !shared.stop.load(Ordering::SeqCst) {
                    shared.report(Violation::new(Sin::Died, format!("connection {id}: {error}")));
                }
                break;
            }
        }
    }
    let writer = lock(&shared.writers[id]);
    tally.in_flight = writer.issued - writer.acked;
    tally
}

/// Why a worker stops.
enum Broken {
    Promise(Violation),
    Refused,
    Connection(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

impl From<Violation> for Broken {
    fn from(violation: Violation) -> Self {
        Self::Promise(violation)
    }
}

fn round(
    shared: &Shared,
    (id, watcher): (usize, bool),
    client: &mut Client,
    rng: &mut Rng,
    tally: &mut Tally,
) -> Result<(), Broken> {
    let sent = now_ms();
    let mut waiting = Vec::new();
    // A watcher sends single reads, which are answered while the writes of others are in flight.
    let most = if shared.may_fail { 1 } else { 16 };
    let (length, write_share) = if watcher { (1, 0) } else { (rng.usize(1..=most), 70) };
    for _ in 0..length {
        if client.queued_bytes() > PIPELINE_BYTES {
            break;
        }
        if rng.u32(..100) < write_share {
            let mut write = plan::write(&mut lock(&shared.writers[id]), rng, sent);
            if shared.scripts && rng.bool() {
                write = write.as_script();
                if write.commands.len() == 1 && write.keys.len() > 1 {
                    lock(&shared.writers[id]).is_script(write.op, &write.keys, sent);
                }
            }
            for command in &write.commands {
                queue(client, command);
            }
            let decides = write.decides();
            waiting.push(Waiting::Write(write));
            if decides {
                break;
            }
        } else {
            let (read, large) = plan_read(shared, id, rng);
            queue_read(shared, client, &read);
            waiting.push(read);
            // A large reply ends the pipeline: a server may stop reading from a client with much to fetch.
            if large {
                break;
            }
        }
    }
    client.flush()?;
    for item in waiting {
        match item {
            Waiting::Write(write) => {
                finish_write(shared, id, client, &write)?;
                tally.writes += 1;
            }
            Waiting::Read { writer, key, from, to } => {
                let reply = client.reply()?;
                if matches!(reply, Reply::Error(_)) && shared.ill.load(Ordering::SeqCst) {
                    tally.unread += 1;
                    continue;
                }
                let look = Look { reply, pttl: None, sent, got: now_ms() };
                let mut writer = lock(&shared.writers[writer]);
                match to {
                    Some(to) => observe_between(&mut writer, key, (from, to), &look)?,
                    None => observe(&mut writer, key, from, &look)?,
                }
                tally.reads += 1;
            }
        }
    }
    Ok(())
}

/// Reads go to the own keys, where the pipeline fixes the state exactly, or to anybody's, preferably while it is being changed.
fn plan_read(shared: &Shared, id: usize, rng: &mut Rng) -> (Waiting, bool) {
    let own = rng.u32(..100) < 30;
    let target = if own { id } else { rng.usize(..shared.writers.len()) };
    let writer = lock(&shared.writers[target]);
    let key = match rng.u32(..8) {
        0 => writer.brief_key(rng),
        1..5 => writer.hot_key(rng),
        _ => rng.usize(..writer.keys.len()),
    };
    let large = writer.keys[key].class == Class::Large;
    let read = if target == id {
        Waiting::Read { writer: id, key, from: writer.issued, to: Some(writer.issued) }
    } else {
        Waiting::Read { writer: target, key, from: writer.floor, to: None }
    };
    (read, large)
}

fn queue_read(shared: &Shared, client: &mut Client, read: &Waiting) {
    if let Waiting::Read { writer, key, .. } = read {
        let writer = lock(&shared.writers[*writer]);
        let key = &writer.keys[*key];
        client.queue(&[read_verb(key.class), &key.name]);
    }
}

fn queue(client: &mut Client, command: &[Vec<u8>]) {
    let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    client.queue(&args);
}

fn finish_write(
    shared: &Shared,
    id: usize,
    client: &mut Client,
    write: &Write,
) -> Result<(), Broken> {
    let mut found_expired = false;
    for (command, expect) in write.commands.iter().zip(&write.expects) {
        let reply = client.reply()?;
        found_expired |= matches!(expect, Expect::OneUntil(_)) && reply == Reply::Int(0);
        if matches!(reply, Reply::Error(_)) && shared.ill.load(Ordering::SeqCst) {
            return Err(Broken::Refused);
        }
        if !fits(expect, &reply) {
            return Err(Broken::Promise(wrong_reply(command, expect, &reply)));
        }
    }
    let answered: Millis = now_ms();
    let mut writer = lock(&shared.writers[id]);
    writer.ack(write.op, &write.keys, answered);
    if found_expired {
        writer.found_expired(write.op, write.keys[0], answered);
    }
    Ok(())
}

fn fits(expect: &Expect, reply: &Reply) -> bool {
    match (expect, reply) {
        (Expect::Ok, reply) => reply.is_ok(),
        (Expect::Int(number), Reply::Int(found)) => number == found,
        (Expect::ZeroOrOne, Reply::Int(found)) => (0..=1).contains(found),
        (Expect::OneUntil(_), Reply::Int(1)) => true,
        (Expect::OneUntil(moment), Reply::Int(0)) => now_ms() >= *moment,
        (Expect::Queued, Reply::Simple(text)) => text == "QUEUED",
        (Expect::Exec(expects), Reply::Array(replies)) => {
            expects.len() == replies.len() && expects.iter().zip(replies).all(|(e, r)| fits(e, r))
        }
        _ => false,
    }
}

fn wrong_reply(command: &[Vec<u8>], expect: &Expect, reply: &Reply) -> Violation {
    let mut text = String::new();
    for arg in command {
        let shown = if arg.len() > 40 {
            format!("<{} bytes>", arg.len())
        } else {
            arg.escape_ascii().to_string()
        };
        text.push_str(&shown);
        text.push(' ');
    }
    Violation::new(Sin::Reply, format!("{text}: expected {expect:?}, got {reply:?}"))
}
