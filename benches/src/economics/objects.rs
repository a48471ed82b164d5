//! Sessions as objects, beside what plugins make of them on the peer: RAM of an idle session, and the
//! bytes that reach the disk for a page view that changes nothing.

use std::io::Write;

use anyhow::{Result, ensure};

use super::server::{Client, Reply, Server, push};
use super::{Bar, Section, Settings, Table};

/// Bytes of the serialised security context: what an application keeps in a session.
const CONTEXT_BYTES: usize = 600;
/// What Java makes of a number, in bytes.
const JAVA_LONG_BYTES: usize = 82;
/// Commands in flight.
const DEPTH: u64 = 64;
const INDEX: &str =
    "org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME";
const OURS: [&str; 4] = ["--maxmemory", "256mb", "--disk-limit", "4gb"];
const THEIRS: [&str; 8] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "everysec",
    "--save",
    "",
    "--auto-aof-rewrite-percentage",
    "0",
];

/// A session id as Java makes them: 36 characters.
fn id(number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    let (a, b, c) = (random.u32(..), random.u64(..), random.u16(..));
    format!(
        "{a:08x}-{c:04x}-4{:03x}-a{:03x}-{:012x}",
        b >> 52,
        b >> 40 & 0xfff,
        b & 0xffff_ffff_ffff
    )
}

fn bytes(number: u64, count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number ^ 0x5e55);
    let mut bytes = vec![0; count];
    random.fill(&mut bytes);
    bytes
}

/// A string as Java serialises it.
fn java(text: &str) -> Vec<u8> {
    let mut bytes = b"\xac\xed\x00\x05t\x00".to_vec();
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The commands of Spring Session (indexed) for a new session of a user of its own.
fn spring(out: &mut Vec<u8>, number: u64) {
    let (id, user, context) = (id(number), format!("user-{number}"), bytes(number, CONTEXT_BYTES));
    let (hash, shadow) =
        (format!("spring:session:sessions:{id}"), format!("spring:session:sessions:expires:{id}"));
    // Sessions that began over half an hour: a set for each minute.
    let minute = format!("spring:session:expirations:{}", 1_790_000_000_000 + number % 30 * 60_000);
    let index = format!("spring:session:index:{INDEX}:{user}");
    let long = [0; JAVA_LONG_BYTES];
    let principal = format!("sessionAttr:{INDEX}");
    push(
        out,
        &[
            b"HMSET",
            hash.as_bytes(),
            b"creationTime",
            &long,
            b"lastAccessedTime",
            &long,
            b"maxInactiveInterval",
            &long[1..],
            b"sessionAttr:SPRING_SECURITY_CONTEXT",
            &context,
            principal.as_bytes(),
            &java(&user),
        ],
    );
    push(out, &[b"SADD", index.as_bytes(), &java(&id)]);
    push(out, &[b"SADD", minute.as_bytes(), &java(&format!("expires:{id}"))]);
    push(out, &[b"PEXPIRE", minute.as_bytes(), b"2100000"]);
    push(out, &[b"APPEND", shadow.as_bytes(), b""]);
    push(out, &[b"PEXPIRE", shadow.as_bytes(), b"1800000"]);
    push(out, &[b"PEXPIRE", hash.as_bytes(), b"2100000"]);
}

/// The same session as an object, with an absolute deadline, which Spring has not.
fn create(out: &mut Vec<u8>, number: u64) {
    let (id, user, context) = (id(number), format!("user-{number}"), bytes(number, CONTEXT_BYTES));
    push(
        out,
        &[
            b"SESSION.CREATE",
            id.as_bytes(),
            b"USER",
            user.as_bytes(),
            b"IDLE",
            b"1800",
            b"ABSOLUTE",
            b"43200",
            b"FIELDS",
            b"1",
            b"context",
            &context,
        ],
    );
}

/// RAM of `count` sessions.
struct Ram {
    /// Resident set beyond that of a server without sessions.
    resident: f64,
    /// What the server itself says that they take.
    counted: f64,
}

fn per_session(with: u64, without: u64, count: u64) -> f64 {
    with.saturating_sub(without) as f64 / count as f64
}

/// Sessions made, then the server started again, so that their values are on the disk only.
fn our_ram(settings: &Settings, count: u64) -> Result<Ram> {
    let folder = settings.folder()?;
    let dir = folder.path().join("data");
    let start = || Server::start(&settings.emberlog, settings.port, &dir, &OURS);
    let stop = |server: Server| -> Result<()> {
        let mut client = server.client()?;
        let _ = client.ask(&[b"SHUTDOWN"]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(server);
        Ok(())
    };
    stop(start()?)?;
    let server = start()?;
    let empty = server.resident_bytes();
    server.client()?.pipeline(count, DEPTH, create, |_, _| Ok(()))?;
    stop(server)?;
    let server = start()?;
    let mut client = server.client()?;
    ensure!(client.line("DBSIZE")? == Reply::Number(i64::try_from(count)?), "all sessions");
    ensure!(client.line("SESSION.COUNT user-7")? == Reply::Number(1), "the user index");
    // The labels of sessions are part of it.
    let counted = client.info("index_bytes")?;
    let resident = per_session(server.resident_bytes(), empty, count);
    Ok(Ram { resident, counted: counted / count as f64 })
}

fn their_ram(settings: &Settings, count: u64) -> Result<Ram> {
    let folder = settings.folder()?;
    let arguments = ["--appendonly", "no", "--save", ""];
    let server = Server::start(&settings.peer, settings.port + 1, folder.path(), &arguments)?;
    let mut client = server.client()?;
    let (empty, used) = (server.resident_bytes(), client.info("used_memory")?);
    let mut out = Vec::new();
    spring(&mut out, 0);
    let commands = 7;
    let all = |out: &mut Vec<u8>, number: u64| {
        if number.is_multiple_of(commands) {
            spring(out, number / commands);
        }
    };
    client.pipeline(count * commands, DEPTH * commands, all, |_, _| Ok(()))?;
    let counted = (client.info("used_memory")? - used) / count as f64;
    Ok(Ram { resident: per_session(server.resident_bytes(), empty, count), counted })
}

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

impl View {
    fn commands(self) -> u64 {
        if matches!(self, View::Object) { 1 } else { 2 }
    }

    fn fill(self, out: &mut Vec<u8>, number: u64) {
        let (id, value) = (id(number), bytes(number, CONTEXT_BYTES));
        if matches!(self, View::Object) {
            let fixed: [&[u8]; 6] = [b"IDLE", b"86400", b"FIELDS", b"1", b"context", &value];
            let name: [&[u8]; 2] = [b"SESSION.CREATE", id.as_bytes()];
            push(out, &[&name[..], &fixed].concat());
        } else {
            push(out, &[b"SET", format!("sess:{id}").as_bytes(), &value, b"EX", b"86400"]);
        }
    }

    fn view(self, out: &mut Vec<u8>, number: u64, step: u64) {
        let id = id(number);
        let key = format!("sess:{id}");
        match (self, step) {
            (View::Object, _) => push(out, &[b"SESSION.GET", id.as_bytes()]),
            (_, 0) => push(out, &[b"GET", key.as_bytes()]),
            (View::Express, _) => push(out, &[b"EXPIRE", key.as_bytes(), b"86400"]),
            (View::Flask, _) => {
                let value = bytes(number, CONTEXT_BYTES);
                push(out, &[b"SET", key.as_bytes(), &value, b"EX", b"86400"]);
            }
        }
    }
}

/// Bytes per page view, by a counter of the server.
fn bytes_per_view(
    client: &mut Client,
    view: View,
    (sessions, views): (u64, u64),
    counter: &str,
) -> Result<f64> {
    client.pipeline(sessions, DEPTH, |out, n| view.fill(out, n), |_, _| Ok(()))?;
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let before = client.info(counter)?;
    let steps = view.commands();
    let one = |out: &mut Vec<u8>, n: u64| view.view(out, n / steps % sessions, n % steps);
    client.pipeline(views * steps, DEPTH * steps, one, |_, _| Ok(()))?;
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    Ok((client.info(counter)? - before) / views as f64)
}

fn our_views(settings: &Settings, view: View, load: (u64, u64)) -> Result<f64> {
    let folder = settings.folder()?;
    let dir = folder.path().join("data");
    let server = Server::start(&settings.emberlog, settings.port, &dir, &OURS)?;
    bytes_per_view(&mut server.client()?, view, load, "device_bytes_written")
}

fn their_views(settings: &Settings, view: View, load: (u64, u64)) -> Result<f64> {
    let folder = settings.folder()?;
    let port = settings.port + 1;
    let server = Server::start(&settings.peer, port, folder.path(), &THEIRS)?;
    bytes_per_view(&mut server.client()?, view, load, "aof_current_size")
}

fn ram(settings: &Settings, section: &mut Section) -> Result<()> {
    let count = settings.pick(100_000, 2_000);
    let (ours, theirs) = (our_ram(settings, count)?, their_ram(settings, count)?);
    let mut table = Table::new(
        format!("RAM per idle session, {count} sessions of as many users, bytes"),
        &["", "resident set", "counted by the server"],
    );
    for (name, ram) in [
        ("Emberlog, SESSION.CREATE, values cold", &ours),
        ("peer, keys of Spring Session indexed", &theirs),
    ] {
        table.row([name.to_owned(), format!("{:.0}", ram.resident), format!("{:.0}", ram.counted)]);
    }
    section.tables.push(table);
    let least = 10.0;
    section.bars.push(Bar::at_least(
        "peer's RAM per session over ours, resident set",
        theirs.resident / ours.resident.max(1.0),
        least,
        "x",
    ));
    section.bars.push(Bar::at_least(
        "the same, counted by the servers",
        theirs.counted / ours.counted,
        least,
        "x",
    ));
    Ok(())
}

fn views(settings: &Settings, section: &mut Section) -> Result<()> {
    let load = settings.pick((1_000, 100_000), (50, 1_000));
    let express = their_views(settings, View::Express, load)?;
    let flask = their_views(settings, View::Flask, load)?;
    let mut table = Table::new(
        format!(
            "Bytes to the disk per page view that changes nothing, {} views of {} sessions",
            load.1, load.0
        ),
        &["", "bytes per view"],
    );
    let mut row = |name: &str, value: f64| table.row([name.to_owned(), format!("{value:.1}")]);
    row("peer, express-session (GET, EXPIRE)", express);
    row("peer, Flask-Session (GET, SET of the same bytes)", flask);
    for (name, view, peer) in [
        ("Emberlog, express-session (GET, EXPIRE)", View::Express, express),
        ("Emberlog, Flask-Session (GET, SET of the same bytes)", View::Flask, flask),
        ("Emberlog, SESSION.GET", View::Object, express),
    ] {
        let ours = our_views(settings, view, load)?;
        row(name, ours);
        let ratio = peer / ours.max(0.01);
        section.bars.push(Bar::at_least(format!("peer over {name}"), ratio, 20.0, "x"));
    }
    section.tables.push(table);
    let mut note = Vec::new();
    write!(
        note,
        "Views follow one another as fast as they can, {DEPTH} at a time. The first touch of a session after a write is \
         journaled, then one whenever its expiry leaves its cell: 896 s at 24 hours, 56 s at 30 minutes. So with a pause \
         of 10 s between two views of a session, 1 of 90 views is journaled at 24 hours and 1 of 5.6 at 30 minutes, each \
         14 bytes and its share of a batch. The peer's number is what its append-only file grows by, before any rewrite."
    )?;
    section.notes.push(String::from_utf8_lossy(&note).into_owned());
    Ok(())
}

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let mut section = Section::new(
        "Sessions",
        format!(
            "Each session holds {CONTEXT_BYTES} random bytes. RAM: idle 30 minutes, absolute 12 hours, its user's only \
             session; Emberlog (`{}`) is stopped and started again, so no value is in RAM; the peer (no persistence) \
             holds the keys of Spring Session indexed (hash, shadow key, expirations of a minute, index of the \
             principal), without an absolute deadline. Page views: expiry 24 hours; Emberlog with `--ack durable`, the \
             peer with `--appendonly yes --appendfsync everysec`",
            OURS.join(" ")
        ),
    );
    ram(settings, &mut section)?;
    views(settings, &mut section)?;
    Ok(section)
}
