//! A server under measurement, Emberlog or the peer, and a client that pipelines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How a peer keeps what is written: in its log, synced every second and never rewritten.
pub(super) const PEER_KEEPS: [&str; 8] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "everysec",
    "--save",
    "",
    "--auto-aof-rewrite-percentage",
    "0",
];

/// A reply of the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// A status.
    Line(String),
    /// An error.
    Error(String),
    /// A number.
    Number(i64),
    /// A string; none if there is none.
    Bulk(Option<Vec<u8>>),
    /// Several.
    Array(Vec<Reply>),
}

/// A connection that blocks.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
}

/// Appends a command.
pub(crate) fn push(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    let _ = write!(out, "*{}\r\n", arguments.len());
    for argument in arguments {
        let _ = write!(out, "${}\r\n", argument.len());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

impl Client {
    /// Connects.
    pub(crate) fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Client { stream: BufReader::with_capacity(1 << 20, stream), out: Vec::new() })
    }

    /// Sends one command and waits for its reply.
    pub(crate) fn ask(&mut self, arguments: &[&[u8]]) -> Result<Reply> {
        push(&mut self.out, arguments);
        self.flush()?;
        self.reply()
    }

    /// As [`Client::ask`], for a command line without spaces in its arguments; an error reply is an
    /// error.
    pub(crate) fn line(&mut self, line: &str) -> Result<Reply> {
        let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        match self.ask(&arguments)? {
            Reply::Error(error) => bail!("{line}: {error}"),
            reply => Ok(reply),
        }
    }

    /// Sends `count` commands that `command` writes, at most `depth` at a time, and takes the replies;
    /// an error reply is an error.
    pub(crate) fn pipeline(
        &mut self,
        count: u64,
        depth: u64,
        mut command: impl FnMut(&mut Vec<u8>, u64),
        mut taken: impl FnMut(u64, Reply) -> Result<()>,
    ) -> Result<()> {
        let mut next = 0;
        while next < count {
            let end = count.min(next + depth);
            (next..end).for_each(|number| command(&mut self.out, number));
            self.flush()?;
            for number in next..end {
                match self.reply()? {
                    Reply::Error(error) => bail!("request {number}: {error}"),
                    reply => taken(number, reply)?,
                }
            }
            next = end;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        let rest = line.get(1..).unwrap_or_default().trim_end();
        Ok(match line.as_bytes().first() {
            Some(b'+') => Reply::Line(rest.to_owned()),
            Some(b'-') => Reply::Error(rest.to_owned()),
            Some(b':') => Reply::Number(rest.parse()?),
            Some(b'$') => {
                let Ok(length) = rest.parse::<usize>() else { return Ok(Reply::Bulk(None)) };
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Bulk(Some(bytes))
            }
            Some(b'*') => {
                let count: i64 = rest.parse()?;
                Reply::Array((0..count).map(|_| self.reply()).collect::<Result<_>>()?)
            }
            _ => bail!("not a reply: {line:?}"),
        })
    }

    /// The next message to a subscriber; an error of kind `WouldBlock` if none comes within `patience`.
    pub(crate) fn message(&mut self, patience: Duration) -> Result<Reply> {
        if self.stream.buffer().is_empty() {
            self.stream.get_mut().set_read_timeout(Some(patience))?;
            self.stream.fill_buf()?;
        }
        // The rest of a message that has begun comes in any case.
        self.stream.get_mut().set_read_timeout(Some(Duration::from_secs(120)))?;
        self.reply()
    }

    /// A field of INFO, as a number.
    pub(crate) fn info(&mut self, field: &str) -> Result<f64> {
        let Reply::Bulk(Some(text)) = self.line("INFO everything")? else { bail!("INFO") };
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let value = line.with_context(|| format!("INFO has no {field}"))?;
        Ok(value.trim().parse()?)
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) port: u16,
    child: Child,
}

impl Server {
    /// Starts `binary` with its data in `dir`, and does not wait.
    pub(crate) fn spawn(
        binary: &Path,
        port: u16,
        dir: &Path,
        arguments: &[&str],
    ) -> Result<Server> {
        let mut command = Command::new(binary);
        command.args(["--port", &port.to_string(), "--dir"]).arg(dir).args(arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("starting {}", binary.display()))?;
        Ok(Server { port, child })
    }

    /// As [`Server::spawn`], and waits until it answers.
    pub(crate) fn start(
        binary: &Path,
        port: u16,
        dir: &Path,
        arguments: &[&str],
    ) -> Result<Server> {
        let mut server = Server::spawn(binary, port, dir, arguments)?;
        server.wait_for(Duration::from_secs(300), |client| {
            matches!(client.ask(&[b"PING"]), Ok(Reply::Line(_)))
        })?;
        Ok(server)
    }

    /// Tries again every millisecond until `done` says so; the time it took.
    pub(crate) fn wait_for(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Client) -> bool,
    ) -> Result<Duration> {
        let start = Instant::now();
        loop {
            if let Ok(mut client) = Client::connect(self.port)
                && done(&mut client)
            {
                return Ok(start.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            if start.elapsed() > limit {
                bail!("the server does not answer within {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.port)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn status_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        number.unwrap_or(0)
    }

    /// Resident bytes now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_kib("VmRSS") * 1024
    }

    /// Processor time that it has taken so far, in seconds.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let text = text.unwrap_or_default();
        // User and system time in hundredths of a second, behind a name that may hold anything.
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
        ticks / 100.0
    }

    /// Kills it as a crash would: signal 9, no goodbye.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
