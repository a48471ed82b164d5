//! The same random programs on a real Redis and on the server under test, in both protocols.
//!
//! Owns: running programs, comparing replies, keyspace events and the data left behind. Must never know: anything of
//! the server's inside.
//! Invariant: a program follows from its seed; every difference is reported with the seed that shows it again.

pub mod compare;
pub mod generate;
pub mod grammar;
pub mod known;
mod level;
pub mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use compare::{name, same};
use generate::Command;
use wire::{Link, Value};

/// Longest that a reply may take.
const REPLY_LIMIT: Duration = Duration::from_secs(20);
/// Marks the end of a program among its events.
const MARKER: &str = "end-of-program";

/// What a difference looked like.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Seed of its program.
    pub seed: u64,
    /// What differs.
    pub what: String,
    /// A name by which the same difference is told once.
    pub kind: String,
}

/// A server in two connections: one runs commands, one listens to keyspace events.
struct Side {
    link: Link,
    other: Link,
    events: Link,
}

impl Side {
    fn connect(address: SocketAddr, resp3: bool) -> io::Result<Side> {
        let connect = || Link::connect(address, REPLY_LIMIT);
        let mut side = Side { link: connect()?, other: connect()?, events: connect()? };
        if resp3 {
            side.link.words("HELLO 3")?;
            side.other.words("HELLO 3")?;
        }
        side.link.words("CONFIG SET notify-keyspace-events KEA")?;
        side.link.words("FLUSHALL")?;
        side.events.send(&["PSUBSCRIBE", "__key*", MARKER].map(|word| word.as_bytes().to_vec()))?;
        side.events.message()?;
        side.events.message()?;
        Ok(side)
    }

    /// Events since the last time, as text. Those of expiry are left out: when they come is not a matter of order.
    fn take_events(&mut self) -> io::Result<Vec<String>> {
        self.link.words(&format!("PUBLISH {MARKER} x"))?;
        let mut events = Vec::new();
        loop {
            let Value::Many(_, parts) = self.events.message()? else { continue };
            let word = |at: usize| match parts.get(at) {
                Some(Value::Bulk(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                _ => String::new(),
            };
            if word(2) == MARKER {
                return Ok(events);
            }
            if word(3) != "expired" && !word(2).ends_with(":expired") {
                events.push(format!("{} {}", word(2), word(3)));
            }
        }
    }
}

/// Both servers, and what has been found.
pub struct Runner {
    reference: SocketAddr,
    ours: SocketAddr,
    /// The lines of the grammar that commands are made from.
    pub lines: Vec<&'static str>,
    /// Whether every command is shown with both replies.
    pub log: bool,
    /// What has been found, once per kind.
    pub found: BTreeMap<String, Difference>,
    /// Commands that were compared.
    pub compared: u64,
    /// Meant differences by reason.
    pub meant: BTreeMap<&'static str, u64>,
}

/// Commands of one program.
const PROGRAM_LEN: usize = 120;

impl Runner {
    /// A runner for two servers that are up.
    pub fn new(reference: SocketAddr, ours: SocketAddr) -> Runner {
        let (found, meant) = (BTreeMap::new(), BTreeMap::new());
        let lines = grammar::LINES.to_vec();
        Runner { reference, ours, lines, log: false, found, compared: 0, meant }
    }

    /// Has programs made of what Redis 7.0 does not have, as far as the reference knows it. Returns the
    /// names of the commands that it does not know.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn newer(&mut self) -> io::Result<Vec<&'static str>> {
        let mut link = Link::connect(self.reference, REPLY_LIMIT)?;
        let mut unknown = Vec::new();
        self.lines = grammar::NEWER.to_vec();
        for line in grammar::NEWER {
            let name = line.split(' ').next().unwrap_or_default();
            let known = match link.words(&format!("COMMAND INFO {name}"))? {
                Value::Many(_, commands) => matches!(commands.first(), Some(Value::Many(..))),
                _ => false,
            };
            let compares = !line.contains("IFEQ ")
                || link.words("SET no-such-key v IFEQ v")? == Value::Nil
                || name == "DELIFEQ";
            if !(known && compares) {
                self.lines.retain(|other| other != line);
                unknown.push(if known { "SET IFEQ" } else { name });
            }
        }
        Ok(unknown)
    }

    /// Runs the program of `seed` on both servers.
    ///
    /// # Errors
    /// A connection broke, which is worse than any difference.
    pub fn run(&mut self, seed: u64) -> io::Result<()> {
        let mut rng = Rng::with_seed(seed);
        let resp3 = rng.bool();
        let mut sides = [Side::connect(self.reference, resp3)?, Side::connect(self.ours, resp3)?];
        let mut left = PROGRAM_LEN;
        let mut history = Vec::new();
        while left > 0 {
            left -= 1;
            match rng.u8(..20) {
                0 => self.transaction(seed, &mut rng, &mut sides, &mut history)?,
                1 => self.blocked(seed, &mut rng, &mut sides, &mut history)?,
                _ => {
                    let command = generate::command(&mut rng, &self.lines);
                    self.one(seed, &command, &mut sides, &mut history)?;
                }
            }
        }
        self.settle(seed, &mut sides, &history)
    }

    fn note(&mut self, seed: u64, kind: &str, what: &str, history: &[String]) {
        let from = history.len().saturating_sub(12);
        let what = format!("{what}\n    after\n      {}", history[from..].join("\n      "));
        let difference = Difference { seed, what, kind: kind.to_owned() };
        self.found.entry(kind.to_owned()).or_insert(difference);
    }

    fn judge(&mut self, seed: u64, command: &Command, replies: &[Value; 2], history: &[String]) {
        self.compared += 1;
        let [reference, ours] = replies;
        if same(command, reference, ours) {
            return;
        }
        if let Some(reason) = known::reason(command, reference, ours) {
            *self.meant.entry(reason).or_default() += 1;
            return;
        }
        let what = format!("{}\n    redis {reference:?}\n    ours  {ours:?}", show(command));
        self.note(seed, &name(command), &what, history);
    }

    fn one(
        &mut self,
        seed: u64,
        command: &Command,
        sides: &mut [Side; 2],
        history: &mut Vec<String>,
    ) -> io::Result<()> {
        let replies = both(sides, |side| side.link.call(command))?;
        if self.log {
            println!("{}\n    {:?}\n    {:?}", show(command), replies[0], replies[1]);
        }
        self.judge(seed, command, &replies, history);
        history.push(show(command));
        level::out(command, &replies, sides)?;
        // Redis keeps a key that was set with an expiry in the past until it is asked for.
        if let (Some(key), true) = (command.get(1), command.iter().any(|arg| arg == b"1")) {
            both(sides, |side| side.link.call(&[b"exists".to_vec(), key.clone()]))?;
        }
        Ok(())
    }

    fn transaction(
        &mut self,
        seed: u64,
        rng: &mut Rng,
        sides: &mut [Side; 2],
        history: &mut Vec<String>,
    ) -> io::Result<()> {
        let mut queue = Vec::new();
        both(sides, |side| side.link.words("MULTI"))?;
        for _ in 0..rng.usize(1..6) {
            let command = generate::command(rng, &self.lines);
            // KEYS within a transaction lists what was there when it began; see docs/COMPATIBILITY.md.
            if ["spop", "keys"].contains(&name(&command).as_str()) {
                continue;
            }
            let replies = both(sides, |side| side.link.call(&command))?;
            self.judge(seed, &command, &replies, history);
            if replies[0] != replies[1] {
                // One side refuses it, on purpose or not: EXEC would differ as a whole.
                both(sides, |side| side.link.words("DISCARD"))?;
                return Ok(());
            }
            if replies[0] == Value::Simple("QUEUED".to_owned()) {
                queue.push(command);
            }
        }
        let replies = both(sides, |side| side.link.words("EXEC"))?;
        if self.log {
            println!(
                "MULTI {}\n    {:?}\n    {:?}",
                queue.iter().map(show).collect::<Vec<_>>().join(" | "),
                replies[0],
                replies[1]
            );
        }
        history.push(format!("MULTI {}", queue.iter().map(show).collect::<Vec<_>>().join(" | ")));
        let [Value::Many(_, reference), Value::Many(_, ours)] = &replies else {
            let exec = vec![b"exec".to_vec()];
            self.judge(seed, &exec, &replies, history);
            return Ok(());
        };
        for (command, pair) in queue.iter().zip(reference.iter().zip(ours)) {
            let pair = [pair.0.clone(), pair.1.clone()];
            self.judge(seed, command, &pair, history);
            level::out(command, &pair, sides)?;
        }
        Ok(())
    }

    /// A second client waits for a key while the first one works, and is then served.
    fn blocked(
        &mut self,
        seed: u64,
        rng: &mut Rng,
        sides: &mut [Side; 2],
        history: &mut Vec<String>,
    ) -> io::Result<()> {
        let lines = [
            "BLPOP l0 l1 30",
            "BRPOP l1 l0 30",
            "BLMOVE l0 l1 LEFT RIGHT 30",
            "BRPOPLPUSH l0 l2 30",
            "BLMPOP 30 2 l0 l1 LEFT COUNT 2",
            "BZPOPMIN z0 z1 30",
            "BZPOPMAX z1 z0 30",
            "BZMPOP 30 2 z0 z1 MAX",
        ];
        let line = lines[rng.usize(..lines.len())];
        let command: Command = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        for side in sides.iter_mut() {
            side.other.send(&command)?;
            side.wait_until_blocked()?;
        }
        history.push(format!("(other client) {line}"));
        for _ in 0..rng.usize(..4) {
            let command = generate::command(rng, &self.lines);
            if name(&command) != "spop" {
                self.one(seed, &command, sides, history)?;
            }
        }
        let wakers: [&str; 3] = if line.contains("z0") {
            ["DEL z0 z1", "ZADD z0 1 w", "ZADD z1 2 w"]
        } else {
            ["DEL l0 l1 l2", "RPUSH l0 w", "RPUSH l1 w"]
        };
        for waker in wakers {
            let waker: Command = waker.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            self.one(seed, &waker, sides, history)?;
        }
        let replies = both(sides, |side| side.other.reply())?;
        self.judge(seed, &command, &replies, history);
        Ok(())
    }

    /// Compares events and data at the end of a program.
    fn settle(&mut self, seed: u64, sides: &mut [Side; 2], history: &[String]) -> io::Result<()> {
        let [reference, ours] = both(sides, Side::take_events)?;
        if reference != ours {
            let at = reference.iter().zip(&ours).take_while(|(a, b)| a == b).count();
            let shown = |events: &[String]| {
                events[at.saturating_sub(2)..(at + 3).min(events.len())].join(" | ")
            };
            let what =
                format!("events\n    redis {}\n    ours  {}", shown(&reference), shown(&ours));
            let event = reference.get(at).or(ours.get(at)).cloned().unwrap_or_default();
            self.note(
                seed,
                &format!("event {}", event.split(':').next_back().unwrap_or("")),
                &what,
                history,
            );
        }
        for kind in ['s', 'l', 'z', 'h', 't', 'b'] {
            for number in 0..4 {
                let key = format!("{kind}{number}");
                let [contents, ours] = both(sides, |side| dump(&mut side.link, &key))?;
                if !compare::same_left(&contents, &ours) {
                    let what = format!("left in {key}\n    redis {contents}\n    ours  {ours}");
                    self.note(seed, "data left", &what, history);
                }
            }
        }
        Ok(())
    }
}

impl Side {
    /// Returns once the other client waits, or has had its reply.
    fn wait_until_blocked(&mut self) -> io::Result<()> {
        for _ in 0..2_000 {
            let info = format!("{:?}", self.link.words("INFO clients")?);
            if info.contains("blocked_clients:1") || self.other.has_reply()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::other("the other client neither waits nor was answered"))
    }
}

fn both<T>(
    sides: &mut [Side; 2],
    mut run: impl FnMut(&mut Side) -> io::Result<T>,
) -> io::Result<[T; 2]> {
    let [reference, ours] = sides;
    Ok([run(reference)?, run(ours)?])
}

/// A command as it could be typed.
pub fn show(command: &Command) -> String {
    let words = command.iter().map(|arg| {
        let text = arg.escape_ascii().to_string();
        if text.is_empty() || text.contains(' ') { format!("\"{text}\"") } else { text }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Everything about a key that a client can see, without the exact time to live.
fn dump(link: &mut Link, key: &str) -> io::Result<String> {
    let kind = format!("{:?}", link.words(&format!("TYPE {key}"))?);
    let line = match kind.as_str() {
        "+string" => format!("GET {key}"),
        "+list" => format!("LRANGE {key} 0 -1"),
        "+set" => format!("SMEMBERS {key}"),
        "+hash" => format!("HGETALL {key}"),
        "+zset" => format!("ZRANGE {key} 0 -1"),
        _ => return Ok(kind),
    };
    let mut contents = link.words(&line)?;
    if let Value::Many(tag, items) = &mut contents {
        let step = if kind == "+hash" { 2 } else { 1 };
        let mut parts: Vec<Vec<Value>> = items.chunks(step).map(<[Value]>::to_vec).collect();
        if kind == "+set" || kind == "+hash" {
            parts.sort();
        }
        contents = Value::Many(*tag, parts.concat());
    }
    let expires = link.words(&format!("TTL {key}"))? != Value::Int(-1);
    Ok(format!("{kind} {contents:?} expires: {expires}"))
}
