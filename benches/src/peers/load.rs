//! The load: one thread, many connections, the next requests of a connection as soon as all its
//! replies are there.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 1024;

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    /// Replies still to come.
    awaited: usize,
    started: Instant,
}

/// Connections to one server.
pub(crate) struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    random: fastrand::Rng,
    written: u64,
}

/// What one run measured.
pub(crate) struct Outcome {
    pub(crate) operations: u64,
    pub(crate) elapsed: Duration,
    /// Microseconds from sending a batch of requests to each of its replies.
    pub(crate) latency_us: Histogram<u64>,
}

impl Outcome {
    /// Operations per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(crate) fn per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }
}

impl Load {
    /// Opens the connections.
    pub(crate) fn connect(port: u16, connections: usize) -> Result<Load> {
        let poll = Poll::new()?;
        let mut opened = Vec::new();
        for token in 0..connections {
            let std = std::net::TcpStream::connect(("127.0.0.1", port))?;
            std.set_nodelay(true)?;
            std.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(std);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(token), interest)?;
            opened.push(Connection {
                stream,
                out: Vec::new(),
                sent: 0,
                input: Vec::new(),
                awaited: 0,
                started: now(),
            });
        }
        Ok(Load { poll, connections: opened, random: fastrand::Rng::with_seed(1), written: 0 })
    }

    /// Writes every key once.
    pub(crate) fn fill(&mut self, keys: u64) -> Result<()> {
        let mut next = 0;
        self.turn(
            |out, random, written| {
                let mut count = 0;
                while count < 32 && next < keys {
                    push_set(out, next, random, written);
                    next += 1;
                    count += 1;
                }
                count
            },
            None,
        )
        .map(|_| ())
    }

    /// 90 % GET, 10 % SET of uniformly chosen keys for some seconds.
    pub(crate) fn run(&mut self, keys: u64, pipeline: usize, seconds: u64) -> Result<Outcome> {
        let end = now() + Duration::from_secs(seconds);
        self.turn(
            |out, random, written| {
                if now() >= end {
                    return 0;
                }
                for _ in 0..pipeline {
                    let key = random.u64(..keys);
                    if random.u8(..10) == 0 {
                        push_set(out, key, random, written);
                    } else {
                        let name = format!("session:{key:012}");
                        let request = format!("*2\r\n$3\r\nGET\r\n${}\r\n{name}\r\n", name.len());
                        out.extend_from_slice(request.as_bytes());
                    }
                }
                pipeline
            },
            Some(pipeline),
        )
    }

    /// Runs until `more`, which adds requests and says how many, has none left for any connection.
    fn turn(
        &mut self,
        mut more: impl FnMut(&mut Vec<u8>, &mut fastrand::Rng, &mut u64) -> usize,
        measured: Option<usize>,
    ) -> Result<Outcome> {
        let mut latency_us = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        let (begin, mut operations, mut open) = (now(), 0, 0);
        for connection in &mut self.connections {
            connection.awaited = more(&mut connection.out, &mut self.random, &mut self.written);
            connection.started = now();
            open += usize::from(connection.awaited > 0);
            connection.send()?;
        }
        let mut events = Events::with_capacity(256);
        while open > 0 {
            self.poll.poll(&mut events, Some(Duration::from_secs(30)))?;
            if events.is_empty() {
                bail!("no reply for 30 s");
            }
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                connection.send()?;
                if connection.awaited == 0 {
                    continue;
                }
                let replies = connection.receive()?;
                if measured.is_some() && replies > 0 {
                    let micros = connection.started.elapsed().as_micros();
                    latency_us.record_n(u64::try_from(micros)?.max(1), replies as u64)?;
                }
                operations += replies as u64;
                connection.awaited -= replies;
                if connection.awaited == 0 {
                    connection.started = now();
                    connection.awaited =
                        more(&mut connection.out, &mut self.random, &mut self.written);
                    open -= usize::from(connection.awaited == 0);
                    connection.send()?;
                }
            }
        }
        Ok(Outcome { operations, elapsed: begin.elapsed(), latency_us })
    }
}

/// A SET whose value no other SET has.
fn push_set(out: &mut Vec<u8>, key: u64, random: &mut fastrand::Rng, written: &mut u64) {
    *written += 1;
    let name = format!("session:{key:012}");
    let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{name}\r\n${VALUE_BYTES}\r\n", name.len());
    out.extend_from_slice(head.as_bytes());
    let start = out.len();
    out.resize(start + VALUE_BYTES, b'x');
    out[start..start + 8].copy_from_slice(&written.to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&random.u64(..).to_le_bytes());
    out.extend_from_slice(b"\r\n");
}

impl Connection {
    fn send(&mut self) -> Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what is there; returns how many replies are complete.
    fn receive(&mut self) -> Result<usize> {
        let mut piece = [0; 16 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(length) => self.input.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let (mut at, mut replies) = (0, 0);
        while let Some(length) = reply_length(&self.input[at..])? {
            at += length;
            replies += 1;
        }
        self.input.drain(..at);
        Ok(replies)
    }
}

/// Length of the first reply in `input`, if it is complete: a line, or a bulk string.
fn reply_length(input: &[u8]) -> Result<Option<usize>> {
    let Some(line) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    match input[0] {
        b'+' => Ok(Some(line + 1)),
        b'$' => {
            let text = std::str::from_utf8(&input[1..line])?.trim_end();
            let length: i64 = text.parse().context("a bulk length")?;
            let Ok(length) = usize::try_from(length) else { return Ok(Some(line + 1)) };
            let end = line + 1 + length + 2;
            Ok((input.len() >= end).then_some(end))
        }
        _ => bail!("an error reply: {}", String::from_utf8_lossy(&input[..line])),
    }
}

fn now() -> Instant {
    Instant::now()
}
