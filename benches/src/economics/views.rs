//! Bytes that reach the disk for a page view that changes nothing, beside the peer's append-only file.
//!
//! How many of our touches are journaled depends on how long the time to live is and how long a visitor
//! pauses, so visitors pause here, in real time. The peer writes for each view, whatever the time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::objects::{CONTEXT_BYTES, DEPTH, OURS, bytes, id};
use super::server::{Client, PEER_KEEPS, Server, push};
use super::{Bar, Section, Settings, Table};

const DAY_S: u64 = 86_400;
const HALF_HOUR_S: u64 = 1_800;
/// Peer's bytes over ours.
const LEAST: f64 = 20.0;
/// Slices of a second in which views are sent.
const SLICES: u64 = 10;

/// What a page view sends, per plugin.
#[derive(Clone, Copy)]
enum View {
    /// express-session: GET, EXPIRE.
    Express,
    /// Flask-Session: GET, SET of the same bytes.
    Flask,
    /// SESSION.GET.
    Object,
}

/// Visitors with one plugin, one time to live and one pause between their views.
#[derive(Clone, Copy)]
struct Case {
    view: View,
    idle_s: u64,
    pause_s: u64,
}

const fn case(view: View, idle_s: u64, pause_s: u64) -> Case {
    Case { view, idle_s, pause_s }
}

const CASES: [Case; 8] = [
    case(View::Express, DAY_S, 10),
    case(View::Flask, DAY_S, 10),
    case(View::Object, DAY_S, 10),
    case(View::Express, HALF_HOUR_S, 10),
    case(View::Flask, HALF_HOUR_S, 10),
    case(View::Object, HALF_HOUR_S, 10),
    case(View::Express, HALF_HOUR_S, 30),
    case(View::Object, HALF_HOUR_S, 30),
];

impl View {
    fn name(self) -> &'static str {
        match self {
            View::Express => "express-session (GET, EXPIRE)",
            View::Flask => "Flask-Session (GET, SET of the same bytes)",
            View::Object => "SESSION.GET",
        }
    }

    fn commands(self) -> u64 {
        if matches!(self, View::Object) { 1 } else { 2 }
    }
}

impl Case {
    fn name(self) -> String {
        let idle = if self.idle_s == DAY_S { "24 hours" } else { "30 minutes" };
        format!("{}, {idle}, a view every {} s", self.view.name(), self.pause_s)
    }

    fn fill(self, out: &mut Vec<u8>, number: u64) {
        let (id, value, idle) = (id(number), bytes(number, CONTEXT_BYTES), self.idle_s.to_string());
        if matches!(self.view, View::Object) {
            let fixed: [&[u8]; 6] = [b"IDLE", idle.as_bytes(), b"FIELDS", b"1", b"context", &value];
            let name: [&[u8]; 2] = [b"SESSION.CREATE", id.as_bytes()];
            push(out, &[&name[..], &fixed].concat());
        } else {
            push(out, &[b"SET", format!("sess:{id}").as_bytes(), &value, b"EX", idle.as_bytes()]);
        }
    }

    /// Command number `step` of a view of session `number`.
    fn view(self, out: &mut Vec<u8>, number: u64, step: u64) {
        let (id, idle) = (id(number), self.idle_s.to_string());
        let key = format!("sess:{id}");
        match (self.view, step) {
            (View::Object, _) => push(out, &[b"SESSION.GET", id.as_bytes()]),
            (_, 0) => push(out, &[b"GET", key.as_bytes()]),
            (View::Express, _) => push(out, &[b"EXPIRE", key.as_bytes(), idle.as_bytes()]),
            (View::Flask, _) => {
                let value = bytes(number, CONTEXT_BYTES);
                push(out, &[b"SET", key.as_bytes(), &value, b"EX", idle.as_bytes()]);
            }
        }
    }

    /// Views of sessions `first..first + count` of `sessions`, round and round.
    fn look(self, client: &mut Client, first: u64, count: u64, sessions: u64) -> Result<()> {
        let steps = self.view.commands();
        let one =
            |out: &mut Vec<u8>, n: u64| self.view(out, (first + n / steps) % sessions, n % steps);
        client.pipeline(count * steps, DEPTH * steps, one, |_, _| Ok(()))
    }
}

/// How much is sent.
#[derive(Clone, Copy)]
struct Load {
    sessions: u64,
    /// Seconds that count: whole cells of the journal, 56 s at half an hour and 896 s at a day.
    window_s: u64,
    /// Views that the peer gets.
    peer_views: u64,
}

/// Sends views for `seconds`, each visitor's at its own moment. Returns how many.
fn stroll(case: Case, client: &mut Client, load: Load, seconds: u64, first: u64) -> Result<u64> {
    let begin = Instant::now();
    let (mut sent, slices) = (0, seconds * SLICES);
    for slice in 1..=slices {
        let until = load.sessions * slice / (case.pause_s * SLICES);
        case.look(client, first + sent, until - sent, load.sessions)?;
        sent = until;
        let due = begin + Duration::from_millis(slice * 1000 / SLICES);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(sent)
}

/// Bytes that have gone to the disk; a footer adds some 32 bytes for a record of many touches.
fn written(client: &mut Client) -> Result<f64> {
    client.info("device_bytes_written")
}

/// Our bytes per view.
fn ours(settings: &Settings, case: Case, load: Load, port: u16) -> Result<f64> {
    let folder = settings.folder()?;
    let server = Server::start(&settings.emberlog, port, &folder.path().join("data"), &OURS)?;
    let mut client = server.client()?;
    client.pipeline(load.sessions, DEPTH, |out, n| case.fill(out, n), |_, _| Ok(()))?;
    // The first touch after a write is journaled at once; what follows is the steady state.
    let first = stroll(case, &mut client, load, case.pause_s, 0)?;
    thread::sleep(Duration::from_secs(3));
    let before = written(&mut client)?;
    let views = stroll(case, &mut client, load, load.window_s, first)?;
    thread::sleep(Duration::from_secs(3));
    Ok((written(&mut client)? - before) / views as f64)
}

/// The peer's bytes per view: what its append-only file grows by.
fn theirs(settings: &Settings, view: View, load: Load) -> Result<f64> {
    let folder = settings.folder()?;
    let server = Server::start(&settings.peer, settings.port + 9, folder.path(), &PEER_KEEPS)?;
    let (mut client, case) = (server.client()?, case(view, DAY_S, 0));
    client.pipeline(load.sessions, DEPTH, |out, n| case.fill(out, n), |_, _| Ok(()))?;
    thread::sleep(Duration::from_secs(3));
    let before = client.info("aof_current_size")?;
    case.look(&mut client, 0, load.peer_views, load.sessions)?;
    thread::sleep(Duration::from_secs(3));
    Ok((client.info("aof_current_size")? - before) / load.peer_views as f64)
}

/// Measures all cases, ours side by side, and adds them to the section.
pub(super) fn run(settings: &Settings, section: &mut Section) -> Result<()> {
    let load = Load {
        sessions: settings.pick(10_000, 200),
        window_s: settings.pick(896, 4),
        peer_views: settings.pick(100_000, 1_000),
    };
    let (express, flask) =
        (theirs(settings, View::Express, load)?, theirs(settings, View::Flask, load)?);
    let measured: Vec<Result<f64>> = thread::scope(|scope| {
        let ports = settings.port..;
        let threads: Vec<_> = CASES
            .iter()
            .zip(ports)
            .map(|(case, port)| scope.spawn(move || ours(settings, *case, load, port)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<f64>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    let mut table = Table::new(
        format!(
            "Bytes to the disk per page view that changes nothing, {} sessions, {} s",
            load.sessions, load.window_s
        ),
        &["", "bytes per view"],
    );
    for (name, value) in [(View::Express.name(), express), (View::Flask.name(), flask)] {
        table.row([format!("peer, {name}"), format!("{value:.1}")]);
    }
    for (case, measured) in CASES.into_iter().zip(measured) {
        let (measured, peer) =
            (measured?, if matches!(case.view, View::Flask) { flask } else { express });
        table.row([format!("Emberlog, {}", case.name()), format!("{measured:.1}")]);
        let what = format!("peer over Emberlog, {}", case.name());
        section.bars.push(Bar::at_least(what, peer / measured.max(0.01), LEAST, "x"));
    }
    section.tables.push(table);
    section.notes.push(
        "SESSION.GET is held against the peer's express-session. What the peer writes for a view depends on neither \
         time; what we write does: a session's touches are journaled once in a cell (895 s at 24 hours, 55 s at 30 \
         minutes), in a row of 7 bytes that waits to fill the padding of a batch which is written anyway, or else for \
         its share of a batch."
            .to_owned(),
    );
    Ok(())
}
