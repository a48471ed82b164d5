//! What it costs to list keys that are not in RAM.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use super::restart::fill;
use super::server::{Client, Reply, Server};
use super::{Section, Settings, Table};

/// A full SCAN with this COUNT: keys found, each once.
fn scan(client: &mut Client, count: u32) -> Result<usize> {
    let mut seen = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let Reply::Array(mut reply) = client.line(&format!("SCAN {cursor} COUNT {count}"))? else {
            bail!("SCAN answers something else");
        };
        let (Some(Reply::Array(keys)), Some(Reply::Bulk(Some(next)))) = (reply.pop(), reply.pop())
        else {
            bail!("SCAN answers something else");
        };
        seen.extend(keys.into_iter().filter_map(|key| match key {
            Reply::Bulk(Some(key)) => Some(key),
            _ => None,
        }));
        cursor = String::from_utf8(next)?;
        if cursor == "0" {
            return Ok(seen.len());
        }
    }
}

/// Lists all keys; how many there are.
type Listing = fn(&mut Client) -> Result<usize>;

/// Runs the part.
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let keys = settings.pick(1_000_000, 20_000);
    let folder = settings.folder()?;
    let dir = folder.path().join("data");
    let arguments = ["--maxmemory", "64mb", "--disk-limit", "4gb", "--ack", "memory"];
    let server = Server::start(&settings.emberlog, settings.port, &dir, &arguments)?;
    let mut client = server.client()?;
    fill(&mut client, keys)?;
    let mut section = Section::new(
        "Listing keys",
        format!(
            "{keys} sessions of 400 bytes, `{}`: hardly a value is in RAM. Time, device reads and bytes read \
             per million keys listed, and the longest that others waited for a turn of the event loop.",
            arguments.join(" ")
        ),
    );
    let head = ["", "s / M keys", "reads / M keys", "MB read / M keys", "longest turn ms"];
    let mut table = Table::new("Cost", &head);
    let millions = keys as f64 / 1e6;
    let listings: [(&str, Listing); 3] = [
        ("SCAN, COUNT 100", |client| scan(client, 100)),
        ("SCAN, COUNT 10000", |client| scan(client, 10_000)),
        ("KEYS *", |client| match client.line("KEYS *")? {
            Reply::Array(keys) => Ok(keys.len()),
            other => bail!("KEYS answers {other:?}"),
        }),
    ];
    for (name, listing) in listings {
        client.line("CONFIG RESETSTAT")?;
        let before = (client.info("device_reads")?, client.info("device_bytes_read")?);
        let start = Instant::now();
        let found = listing(&mut client)?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(found as u64 == keys, "{name} finds {found} of {keys} keys");
        let reads = (client.info("device_reads")? - before.0) / millions;
        let bytes = (client.info("device_bytes_read")? - before.1) / millions / 1e6;
        let turn = client.info("turn_us_max")? / 1e3;
        table.row([
            name.to_owned(),
            format!("{:.2}", seconds / millions),
            format!("{reads:.0}"),
            format!("{bytes:.0}"),
            format!("{turn:.1}"),
        ]);
    }
    let start = Instant::now();
    for _ in 0..1000 {
        client.line("DBSIZE")?;
    }
    let dbsize = start.elapsed().as_secs_f64() * 1e3;
    let start = Instant::now();
    for _ in 0..1000 {
        client.line("RANDOMKEY")?;
    }
    let random = start.elapsed().as_secs_f64() * 1e3;
    section.notes.push(format!(
        "DBSIZE answers in {dbsize:.0} us, RANDOMKEY in {random:.0} us, one after the other."
    ));
    section.tables.push(table);
    Ok(section)
}
