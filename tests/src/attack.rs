//! What the attack tests have in common: a server with a folder of its own, and the proof that it still serves.
//!
//! Owns: the temporary folder. Must never know: the attacks.

use crate::resp::{Client, Reply};
use crate::server::{Server, ServerCommand};
use anyhow::{Result, ensure};
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A budget that is small enough for a leak to show.
pub const SMALL: [&str; 6] = ["--ack", "durable", "--maxmemory", "128mb", "--disk-limit", "512mb"];

/// Nobody may wait longer for a simple command while others attack. Generous: it tells hanging from serving.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A server under attack.
pub struct Target {
    /// The process.
    pub server: Server,
    /// How it was started.
    pub command: ServerCommand,
    folder: TempDir,
}

impl Target {
    /// Starts the server under test with [`SMALL`] and more flags.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(flags: &[&str]) -> Result<Self> {
        let command = ServerCommand::under_test()?.with(&SMALL).with(flags);
        let folder = tempfile::tempdir()?;
        let server = Server::start(&command, &folder.path().join("data"))?;
        if let Some(at) = flags.iter().position(|flag| *flag == "--requirepass") {
            wait_until_open(&server, flags[at + 1])?;
        }
        Ok(Self { server, command, folder })
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// False when the harness is tried on another server, which promises less.
    pub fn is_emberlog(&self) -> bool {
        self.command.is_emberlog()
    }

    /// Proves that the process runs and answers a new client in time.
    ///
    /// # Errors
    /// With the end of the log, if not.
    pub fn serves(&mut self, password: Option<&str>) -> Result<()> {
        let tail = self.server.log_tail();
        ensure!(self.server.is_running(), "the server has ended\n{tail}");
        ensure!(!tail.contains("panicked"), "the server has panicked\n{tail}");
        let begin = Instant::now();
        let mut client = self.server.client()?;
        if let Some(password) = password {
            ensure!(client.words(&format!("AUTH {password}"))?.is_ok(), "AUTH is refused");
        }
        let written = client.words("SET canary alive")?;
        ensure!(written.is_ok(), "SET is answered {written:?}");
        let read = client.words("GET canary")?;
        ensure!(read == Reply::Bulk(b"alive".to_vec()), "GET is answered {read:?}");
        let took = begin.elapsed();
        ensure!(took < PATIENCE, "a simple client waited {took:?}");
        Ok(())
    }
}

/// To a stranger a server that is still loading looks like one that is ready.
fn wait_until_open(server: &Server, password: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let mut client = server.client()?;
        client.words(&format!("AUTH {password}"))?;
        if client.words("PING")?.error().is_none() {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "still loading\n{}", server.log_tail());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads until the peer closes or stays silent for `silence`. Returns the bytes and whether it closed.
///
/// # Errors
/// When reading fails otherwise.
pub fn read_until_silent(client: &mut Client, silence: Duration) -> Result<(Vec<u8>, bool)> {
    let stream = client.stream();
    stream.set_read_timeout(Some(silence))?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok((bytes, true)),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok((bytes, false)),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Ok((bytes, true)),
                _ => return Err(error.into()),
            },
        }
    }
}
