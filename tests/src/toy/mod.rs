//! A toy server that can be told to lie, so that the checker is itself proved: an honest run must pass, and each lie
//! must be caught under its own name.
//!
//! Owns: the sockets and the journal. `store` executes commands. Must never know: the checker.
//! Invariant: without a lie, an answer is only sent after its journal entry was written, which is all that SIGKILL asks for.

mod store;

use crate::killloop::{lock, now_ms};
use crate::resp::{Reply, encode, read_reply};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Args, Store};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Lie {
    /// Nothing.
    None,
    /// Answers before the journal is written.
    Forget,
    /// Does not journal some deletions.
    Undelete,
    /// Counts times to live from the restart.
    Unexpire,
    /// Journals a MULTI group command by command.
    Tear,
    /// Shows writes to others before they are journaled.
    DirtyRead,
    /// Skips some journal entries on recovery.
    Stale,
    /// Flips a bit of some values on recovery.
    Flip,
}

/// State of the server.
struct Toy {
    store: Store,
    journal: File,
    unwritten: Vec<u8>,
    entries: u64,
    lie: Lie,
}

/// Serves until killed.
///
/// # Errors
/// When the journal or the port cannot be opened.
pub fn serve(port: u16, folder: &Path, lie: Lie) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut options = File::options();
    let mut journal =
        options.create(true).truncate(false).read(true).write(true).open(folder.join("journal"))?;
    let store = recover(&mut journal, lie)?;
    let toy = Arc::new(Mutex::new(Toy { store, journal, unwritten: Vec::new(), entries: 0, lie }));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let (stream, _) = listener.accept()?;
        let toy = Arc::clone(&toy);
        std::thread::spawn(move || {
            // A broken connection is the client's end, nothing to report.
            let _ = converse(&toy, stream);
        });
    }
}

/// Replays the whole entries of the journal and cuts off a torn last one.
fn recover(journal: &mut File, lie: Lie) -> Result<Store> {
    let mut bytes = Vec::new();
    journal.read_to_end(&mut bytes)?;
    let mut rest = &bytes[..];
    let mut store = Store::default();
    let mut whole = 0;
    for number in 1_u64.. {
        let Ok(Reply::Array(parts)) = read_reply(&mut rest) else { break };
        whole = bytes.len() - rest.len();
        if lie == Lie::Stale && number % 50 == 0 {
            continue;
        }
        let mut parts =
            parts.iter().map(args_of).collect::<Option<Vec<Args>>>().context("journal entry")?;
        let written_at = String::from_utf8(parts.remove(0).remove(0))?.parse()?;
        let now = if lie == Lie::Unexpire { now_ms() } else { written_at };
        for args in &parts {
            store.execute(args, now);
        }
    }
    if lie == Lie::Flip {
        store.flip_a_bit();
    }
    journal.set_len(whole as u64)?;
    journal.seek(SeekFrom::End(0))?;
    Ok(store)
}

fn args_of(reply: &Reply) -> Option<Args> {
    let Reply::Array(items) = reply else { return None };
    let bytes = items.iter().map(|item| match item {
        Reply::Bulk(bytes) => Some(bytes.clone()),
        _ => None,
    });
    bytes.collect()
}

fn converse(toy: &Mutex<Toy>, stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let mut group: Option<Vec<Args>> = None;
    loop {
        let args = args_of(&read_reply(&mut input)?).context("not a command")?;
        let verb = args.first().context("empty command")?.to_ascii_uppercase();
        let reply = match (&verb[..], &mut group) {
            (b"MULTI", _) => {
                group = Some(Vec::new());
                Reply::Simple("OK".into())
            }
            (b"EXEC", _) => Reply::Array(run(toy, &group.take().context("EXEC without MULTI")?)?),
            (_, Some(group)) => {
                group.push(args);
                Reply::Simple("QUEUED".into())
            }
            (_, None) => run(toy, &[args])?.remove(0),
        };
        let mut bytes = Vec::new();
        write_reply(&mut bytes, &reply);
        output.write_all(&bytes)?;
    }
}

/// Executes and journals a group of commands as one.
fn run(toy: &Mutex<Toy>, commands: &[Args]) -> Result<Vec<Reply>> {
    let now = now_ms();
    let mut guard = lock(toy);
    let replies = commands.iter().map(|args| guard.store.execute(args, now)).collect();
    let writes: Vec<&Args> = commands.iter().filter(|args| store::is_write(args)).collect();
    if writes.is_empty() {
        return Ok(replies);
    }
    if guard.lie == Lie::DirtyRead {
        drop(guard);
        std::thread::sleep(Duration::from_millis(3));
        guard = lock(toy);
    }
    if guard.lie == Lie::Tear {
        for write in writes {
            guard.journal(now, &[write])?;
            std::thread::sleep(Duration::from_millis(1));
        }
    } else {
        guard.journal(now, &writes)?;
    }
    Ok(replies)
}

impl Toy {
    fn journal(&mut self, now: i64, commands: &[&Args]) -> Result<()> {
        self.entries += 1;
        if self.lie == Lie::Undelete && commands[0][0] == b"DEL" && self.entries.is_multiple_of(3) {
            return Ok(());
        }
        let out = &mut self.unwritten;
        out.extend_from_slice(format!("*{}\r\n", commands.len() + 1).as_bytes());
        encode(out, &[now.to_string().as_bytes()]);
        for args in commands {
            encode(out, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        if self.lie == Lie::Forget && !self.entries.is_multiple_of(64) {
            return Ok(());
        }
        self.journal.write_all(out)?;
        out.clear();
        Ok(())
    }
}

fn write_reply(out: &mut Vec<u8>, reply: &Reply) {
    let line = match reply {
        Reply::Simple(text) => format!("+{text}\r\n"),
        Reply::Error(text) => format!("-{text}\r\n"),
        Reply::Int(number) => format!(":{number}\r\n"),
        Reply::Nil => String::from("$-1\r\n"),
        Reply::Bulk(bytes) => format!("${}\r\n", bytes.len()),
        Reply::Array(items) => format!("*{}\r\n", items.len()),
    };
    out.extend_from_slice(line.as_bytes());
    match reply {
        Reply::Bulk(bytes) => {
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Array(items) => items.iter().for_each(|item| write_reply(out, item)),
        _ => {}
    }
}
