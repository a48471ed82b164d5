//! RAM per entry, all in, and the longest pause while the index grows: alone, and in the server.

use anyhow::{Result, ensure};
use emberlog_engine::index::Index;

use super::server::{Reply, Server, push};
use super::{Bar, Section, Settings, Table};
use crate::index::{insert_all, longest_common, resident_bytes};

/// Requests sent before their replies are taken: a turn of the event loop is short then.
const DEPTH: u64 = 16;

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let entries = settings.pick(10_000_000, 100_000);
    let mut section = Section::new(
        "Index",
        format!(
            "{entries} entries. *Alone*: inserted one by one into an empty index; resident memory of the \
             process before and after; the longest pause of an insert that three runs share, because \
             the work is the same in each. *Server*: SETs of 8-byte values, {DEPTH} at a time, with \
             `--maxmemory 64mb --disk-limit 4gb --ack memory`, so that the hot set is at its least, 4 MiB, \
             and values are cold; resident memory before and after, with all that grows meanwhile in it."
        ),
    );
    let mut table =
        Table::new("RAM per entry", &["", "entries", "RSS B/entry", "longest pause ms"]);

    let before = resident_bytes();
    let mut index = Index::new();
    let (pauses, most_bytes) = insert_all(&mut index, entries);
    let alone = (resident_bytes() - before) as f64 / entries as f64;
    drop(index);
    let mut runs = vec![pauses];
    for _ in 0..2 {
        runs.push(insert_all(&mut Index::new(), entries).0);
    }
    let pause_ms = longest_common(&runs).as_secs_f64() * 1e3;
    table.row([
        "alone".to_owned(),
        entries.to_string(),
        format!("{alone:.2} (at most {most_bytes:.2} on the way, counted)"),
        format!("{pause_ms:.2}"),
    ]);

    let server = in_server(settings, entries)?;
    table.row([
        "server".to_owned(),
        entries.to_string(),
        format!("{:.2}", server.bytes_per_entry),
        format!("{:.2} (a turn of the event loop)", server.pause_ms),
    ]);
    section.bars = vec![
        Bar::at_most("RAM per entry, index alone", alone, 16.0, "B"),
        Bar::at_most("RAM per entry, server, all in", server.bytes_per_entry, 16.0, "B"),
        Bar::at_most("longest pause of an insert while growing", pause_ms, 5.0, "ms"),
        Bar::at_most("longest turn of the server's event loop", server.pause_ms, 5.0, "ms"),
    ];
    section.tables.push(table);
    Ok(section)
}

struct InServer {
    bytes_per_entry: f64,
    pause_ms: f64,
}

fn in_server(settings: &Settings, entries: u64) -> Result<InServer> {
    let folder = settings.folder()?;
    let arguments = ["--maxmemory", "64mb", "--disk-limit", "4gb", "--ack", "memory"];
    let dir = folder.path().join("data");
    let server = Server::start(&settings.emberlog, settings.port, &dir, &arguments)?;
    let mut client = server.client()?;
    // What it takes before it has any key: code, buffers, and the hot set's least.
    let fill = |from: u64| {
        move |out: &mut Vec<u8>, number: u64| {
            let key = format!("key:{:09}", from + number);
            push(out, &[b"SET", key.as_bytes(), b"12345678"]);
        }
    };
    let warm = entries / 50;
    client.pipeline(warm, DEPTH, fill(0), |_, _| Ok(()))?;
    let before = server.resident_bytes();
    client.pipeline(entries, DEPTH, fill(warm), |_, _| Ok(()))?;
    let after = server.resident_bytes();
    let count = i64::try_from(entries + warm)?;
    ensure!(client.line("DBSIZE")? == Reply::Number(count), "every key is there");
    let pause_ms = client.info("turn_us_max")? / 1e3;
    Ok(InServer { bytes_per_entry: (after - before) as f64 / entries as f64, pause_ms })
}
