//! The server without sockets, over a real store in a temporary folder.
//!
//! [`Harness::ask`] sends one inline command and shows the reply in a short notation: the reply's
//! bytes with blanks for line ends.

mod admin;
mod atomicity;
mod blocking;
mod breadth;
mod commands;
mod expired;
mod failures;
mod large;
mod limits;
mod lists;
mod prefixes;
mod scripts;
mod sessions;
mod sets;
mod sorted_sets;
mod uploads;
mod user_sessions;
mod waiting;

use emberlog_engine::driver::{self, DriverChoice, SystemDisk};
use emberlog_engine::io::{IoError, IoErrorKind, IoRequest, IoResult};
use emberlog_engine::{Config as StoreConfig, Shard, UnixMillis};

use super::Server;
use super::client::Peer;
use super::state::{Identity, State};
use crate::config::Config;

/// A server, its disk, and a clock that the test moves.
struct Harness {
    server: Server,
    disk: Box<dyn SystemDisk>,
    /// Whether the disk fails every write from now on.
    broken: bool,
    now: UnixMillis,
    folder: tempfile::TempDir,
    /// Most bytes of segments.
    disk_bytes: u64,
}

fn identity() -> Identity {
    Identity {
        run_id: "0".repeat(40),
        started_at: UnixMillis(0),
        executable: String::new(),
        config_file: String::new(),
        io_driver: "threads",
        machine_bytes: 1 << 30,
    }
}

/// Any fixed moment: tests do not depend on the date.
const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Smallest disk that a store works on, in segments of 1 MiB.
const SMALL_DISK: u64 = StoreConfig::SEGMENTS_MIN << 20;

fn open(
    folder: &std::path::Path,
    disk_bytes: u64,
    now: UnixMillis,
) -> (Shard, Box<dyn SystemDisk>) {
    let mut disk = driver::open_store(folder, DriverChoice::Threads).unwrap();
    let config = StoreConfig {
        segment_bytes: 1 << 20,
        disk_bytes_max: disk_bytes,
        chunk_bytes: 64 << 10,
        memory_bytes_max: 64 << 20,
        ..StoreConfig::default()
    };
    let shard = Shard::open(&mut *disk, &config, now, &mut |_| {}).unwrap();
    (shard, disk)
}

impl Harness {
    fn new() -> Harness {
        Harness::with(Config::default())
    }

    fn with(config: Config) -> Harness {
        Harness::on_disk(SMALL_DISK, config)
    }

    fn on_disk(disk_bytes: u64, config: Config) -> Harness {
        let folder = tempfile::tempdir().unwrap();
        let (shard, disk) = open(folder.path(), disk_bytes, START);
        let mut server = Server::new(State::new(config, identity(), 7), || 0, START);
        server.open(shard);
        Harness { server, disk, broken: false, now: START, folder, disk_bytes }
    }

    /// The same store after a clean stop, with nothing in RAM.
    fn reopened(mut self) -> Harness {
        self.server.shard.as_mut().unwrap().close(self.now);
        while !self.server.shard.as_ref().unwrap().closed() {
            self.drive_once();
        }
        let Harness { mut server, disk, now, folder, disk_bytes, .. } = self;
        drop((server.shard.take(), disk));
        let (shard, disk) = open(folder.path(), disk_bytes, now);
        server.open(shard);
        Harness { server, disk, broken: false, now, folder, disk_bytes }
    }

    fn advance(&mut self, millis: u64) {
        self.now = self.now.plus(millis);
        self.server.set_now(self.now);
        self.drive_once();
    }

    fn connect(&mut self) -> usize {
        let peer = Peer {
            addr: "127.0.0.1:1".to_owned(),
            laddr: "127.0.0.1:2".to_owned(),
            local: true,
            unix: false,
            fd: 0,
        };
        self.server.connect(peer)
    }

    /// Gives the client bytes, as much as it takes.
    fn feed(&mut self, client: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.server.wants_input(client) {
            let space = self.server.space(client).unwrap();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.server.received(client, count);
            self.server.process(client);
            bytes = &bytes[count..];
        }
    }

    /// One turn of the event loop, but for sockets. Returns whether the disk is busy.
    fn drive_once(&mut self) -> bool {
        let shard = self.server.shard.as_mut().unwrap();
        shard.tick(self.now);
        let mut failed = Vec::new();
        while let Some((id, request)) = shard.poll_io() {
            match request {
                IoRequest::Write { buffer, .. } if self.broken => {
                    let error = IoError { kind: IoErrorKind::Failed, errno: 5 };
                    let outcome = Err(error);
                    failed.push((id, IoResult { buffer: Some(buffer), outcome, micros: 0 }));
                }
                request => self.disk.start(id, request),
            }
        }
        for (id, result) in failed {
            shard.complete(id, result, self.now);
        }
        self.disk.submit();
        self.disk.wait(Some(std::time::Duration::from_millis(1)));
        let mut completed = false;
        while let Some((id, result)) = self.disk.finished() {
            self.server.shard.as_mut().unwrap().complete(id, result, self.now);
            completed = true;
        }
        if completed {
            self.server.retry_for_room();
        }
        while let Some(event) = self.server.shard.as_mut().unwrap().poll_event() {
            self.server.on_event(event);
        }
        self.server.settle();
        for index in self.server.take_resumed() {
            self.server.process(index);
        }
        completed
    }

    /// What may be sent to the client now.
    fn take(&mut self, client: usize) -> Vec<u8> {
        let ready = self.server.output(client).to_vec();
        self.server.sent(client, ready.len());
        self.server.process(client);
        ready
    }

    /// Everything that the client gets once the disk is quiet.
    fn settle(&mut self, client: usize) -> Vec<u8> {
        let mut got = Vec::new();
        let mut quiet = 0;
        // A slow disk is not a quiet one; a minute of it is a defect.
        for _ in 0..60_000 {
            if quiet >= 20 {
                break;
            }
            let busy = self.drive_once();
            let more = self.take(client);
            let waiting = self.server.shard.as_ref().unwrap().stats().io_in_flight > 0;
            quiet = if busy || waiting || !more.is_empty() { 0 } else { quiet + 1 };
            got.extend(more);
            let pending = self.server.clients.at(client).map_or(0, |client| {
                usize::from(client.wait != super::client::Wait::Nothing)
                    + client.connection.output.pending()
            });
            if pending == 0 && !got.is_empty() {
                break;
            }
        }
        got
    }

    /// Sends one command and returns its reply, line ends as blanks.
    fn ask(&mut self, client: usize, line: &str) -> String {
        self.feed(client, format!("{line}\r\n").as_bytes());
        let reply = self.settle(client);
        String::from_utf8_lossy(&reply).trim_end().replace("\r\n", " ")
    }

    /// Sends each command on the left and compares its reply with the right.
    fn script(&mut self, client: usize, lines: &[(&str, &str)]) {
        for (line, expected) in lines {
            assert_eq!(self.ask(client, line), *expected, "{line}");
        }
    }
}

/// A request in the form that clients send.
fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).bytes());
        bytes.extend(*arg);
        bytes.extend(b"\r\n");
    }
    bytes
}
