//! Sessions as objects, beside what plugins make of them on the peer: RAM of an idle session, and (in
//! `views`) the bytes that reach the disk for a page view that changes nothing.

use anyhow::{Result, ensure};

use super::server::{Reply, Server, push};
use super::{Bar, Section, Settings, Table, views};

/// Bytes of the serialised security context: what an application keeps in a session.
pub(super) const CONTEXT_BYTES: usize = 600;
/// What Java makes of a number, in bytes.
const JAVA_LONG_BYTES: usize = 82;
/// Commands in flight.
pub(super) const DEPTH: u64 = 64;
const INDEX: &str =
    "org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME";
pub(super) const OURS: [&str; 4] = ["--maxmemory", "256mb", "--disk-limit", "4gb"];

/// A session id as Java makes them: 36 characters.
pub(super) fn id(number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    let (a, b, c) = (random.u32(..), random.u64(..), random.u16(..));
    format!(
        "{a:08x}-{c:04x}-4{:03x}-a{:03x}-{:012x}",
        b >> 52,
        b >> 40 & 0xfff,
        b & 0xffff_ffff_ffff
    )
}

pub(super) fn bytes(number: u64, count: usize) -> Vec<u8> {
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

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let mut section = Section::new(
        "Sessions",
        format!(
            "Each session holds {CONTEXT_BYTES} random bytes. RAM: idle 30 minutes, absolute 12 hours, its user's only \
             session; Emberlog (`{}`) is stopped and started again, so no value is in RAM; the peer (no persistence) \
             holds the keys of Spring Session indexed (hash, shadow key, expirations of a minute, index of the \
             principal), without an absolute deadline. Page views: Emberlog with `--ack durable`, the peer with \
             `--appendonly yes --appendfsync everysec`, no rewrite",
            OURS.join(" ")
        ),
    );
    ram(settings, &mut section)?;
    views::run(settings, &mut section)?;
    Ok(section)
}
