//! Streams of commands against the whole server but its sockets, over a store in memory, and a map
//! that says what every reply must be.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use emberlog_engine::io::Disk;
use emberlog_engine::{Config as StoreConfig, Shard, UnixMillis};
use emberlog_server::config::Config;
use emberlog_server::serve::Server;
use emberlog_server::serve::client::Peer;
use emberlog_server::serve::state::{Identity, State};

use crate::disk::{MemDisk, Running};

const START: UnixMillis = UnixMillis(1_700_000_000_000);
/// Turns of the event loop within which a command must have been answered.
const PATIENCE: u32 = 10_000;
/// Longer values are refused, in segments of this size.
const VALUE_BYTES_MAX: usize = 16_000;
/// Commands of one stream at most.
const COMMANDS_MAX: usize = 64;

struct World {
    server: Server,
    disk: Running,
    client: usize,
    now: UnixMillis,
}

fn peer() -> Peer {
    Peer {
        addr: "127.0.0.1:1".to_owned(),
        laddr: "127.0.0.1:2".to_owned(),
        local: true,
        unix: false,
        fd: 0,
    }
}

fn store_config() -> StoreConfig {
    StoreConfig {
        segment_bytes: 64 << 10,
        disk_bytes_max: StoreConfig::SEGMENTS_MIN * (64 << 10),
        memory_bytes_max: 32 << 20,
        batch_bytes_max: 16 << 10,
        ..StoreConfig::default()
    }
}

impl World {
    fn new() -> World {
        let mut disk = Running::new(MemDisk::default());
        let shard = Shard::open(&mut disk, &store_config(), START, &mut |_| {});
        let identity = Identity {
            run_id: "0".repeat(40),
            started_at: START,
            executable: String::new(),
            config_file: String::new(),
            io_driver: "memory",
            machine_bytes: 1 << 30,
        };
        let mut server = Server::new(State::new(Config::default(), identity, 7), || 0, START);
        server.open(shard.expect("a fresh store"));
        let client = server.connect(peer());
        World { server, disk, client, now: START }
    }

    fn shard(&mut self) -> &mut Shard {
        self.server.shard.as_mut().expect("open")
    }

    fn turn(&mut self) {
        let now = self.now;
        self.shard().tick(now);
        while let Some((id, request)) = self.server.shard.as_mut().expect("open").poll_io() {
            self.disk.start(id, request);
        }
        while let Some((id, result)) = self.disk.finished() {
            self.shard().complete(id, result, now);
        }
        self.server.retry_for_room();
        while let Some(event) = self.shard().poll_event() {
            self.server.on_event(event);
        }
        self.server.settle();
        for index in self.server.take_resumed() {
            self.server.process(index);
        }
    }

    fn advance(&mut self, millis: u64) {
        self.now = self.now.plus(millis);
        self.server.set_now(self.now);
        self.turn();
    }

    /// Sends bytes and takes all that is answered until nothing moves any more.
    fn send(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut got = Vec::new();
        let mut quiet = 0;
        for _ in 0..PATIENCE {
            if self.server.wants_input(self.client) && !bytes.is_empty() {
                let space = self.server.space(self.client).expect("connected");
                let count = space.len().min(bytes.len());
                space[..count].copy_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                self.server.received(self.client, count);
            }
            self.server.process(self.client);
            self.turn();
            let ready = self.server.output(self.client).to_vec();
            self.server.sent(self.client, ready.len());
            let shard = self.shard();
            let busy = shard.stats().io_in_flight > 0;
            let durable = shard.durable_lsn() >= shard.appended_lsn();
            quiet = if ready.is_empty() && !busy && durable { quiet + 1 } else { 0 };
            got.extend(ready);
            if quiet > 3 {
                break;
            }
        }
        got
    }

    fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n", word.len()).into_bytes());
            request.extend(*word);
            request.extend(b"\r\n");
        }
        self.send(&request)
    }
}

/// A key as the model knows it: bytes, and when it is gone.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn bulk(value: &[u8]) -> Vec<u8> {
    let mut reply = format!("${}\r\n", value.len()).into_bytes();
    reply.extend(value);
    reply.extend(b"\r\n");
    reply
}

fn integer(value: i64) -> Vec<u8> {
    format!(":{value}\r\n").into_bytes()
}

fn number_of(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

/// One modelled command: its words, carried out on the model; returns words and reply.
fn modelled(code: [u8; 4], model: &mut Model, now: u64) -> (Vec<Vec<u8>>, Vec<u8>) {
    model.retain(|_, (_, at)| at.is_none_or(|at| now < at));
    let [op, key, a, b] = code;
    let key = vec![b'a' + key % 5];
    let value = match a % 4 {
        0 => (i64::from(b) - 100).to_string().into_bytes(),
        1 => vec![a; usize::from(b)],
        2 => vec![b; usize::from(b) * 40],
        _ => b"9223372036854775807".to_vec(),
    };
    let words = |parts: &[&[u8]]| parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>();
    let old = model.get(&key).cloned();
    let nothing = b"$-1\r\n".to_vec();
    match op % 12 {
        0 | 1 => {
            model.insert(key.clone(), (value.clone(), None));
            (words(&[b"SET", &key, &value]), b"+OK\r\n".to_vec())
        }
        2 => {
            let reply = old.map_or(nothing, |(value, _)| bulk(&value));
            (words(&[b"GET", &key]), reply)
        }
        3 => {
            model.remove(&key);
            (words(&[b"DEL", &key]), integer(i64::from(old.is_some())))
        }
        4 => {
            let (mut all, at) = old.unwrap_or_default();
            if all.len() + value.len() > VALUE_BYTES_MAX {
                return (words(&[b"STRLEN", &key]), integer(all.len() as i64));
            }
            all.extend(&value);
            let reply = integer(all.len() as i64);
            model.insert(key.clone(), (all, at));
            (words(&[b"APPEND", &key, &value]), reply)
        }
        5 => {
            let (text, at) = old.unwrap_or((b"0".to_vec(), None));
            let step = i64::from(a as i8);
            let reply = match number_of(&text).map(|number| number.checked_add(step)) {
                Some(Some(sum)) => {
                    model.insert(key.clone(), (sum.to_string().into_bytes(), at));
                    integer(sum)
                }
                Some(None) => b"-ERR increment or decrement would overflow\r\n".to_vec(),
                None => b"-ERR value is not an integer or out of range\r\n".to_vec(),
            };
            (words(&[b"INCRBY", &key, step.to_string().as_bytes()]), reply)
        }
        6 => (words(&[b"STRLEN", &key]), integer(old.map_or(0, |(v, _)| v.len() as i64))),
        7 => {
            let ms = u64::from(b) * 37 + 1;
            let found = old.is_some();
            if let Some((_, at)) = model.get_mut(&key) {
                *at = Some(now + ms);
            }
            (words(&[b"PEXPIRE", &key, ms.to_string().as_bytes()]), integer(i64::from(found)))
        }
        8 => {
            let had = old.is_some_and(|(_, at)| at.is_some());
            if let Some((_, at)) = model.get_mut(&key) {
                *at = None;
            }
            (words(&[b"PERSIST", &key]), integer(i64::from(had)))
        }
        9 => {
            let set = old.is_none();
            if set {
                model.insert(key.clone(), (value.clone(), None));
            }
            (words(&[b"SETNX", &key, &value]), integer(i64::from(set)))
        }
        10 => {
            model.remove(&key);
            let reply = old.map_or(nothing, |(value, _)| bulk(&value));
            (words(&[b"GETDEL", &key]), reply)
        }
        _ => {
            let other = vec![b'a' + b % 5];
            let found = i64::from(old.is_some()) + i64::from(model.contains_key(&other));
            (words(&[b"EXISTS", &key, &other]), integer(found))
        }
    }
}

/// Any command of the table with arguments from a small stock; its reply is only counted.
const STOCK: [&[u8]; 16] = [
    b"a",
    b"b",
    b"0",
    b"-1",
    b"1",
    b"10",
    b"h",
    b"*",
    b"",
    b"NX",
    b"EX",
    b"COUNT",
    b"MATCH",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"nan",
];

/// The server's commands, as it lists them itself.
fn names() -> &'static [Vec<u8>] {
    static NAMES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let list = World::new().ask(&[b"COMMAND", b"LIST"]);
        let lines = list.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let names = lines.filter(|line| line.first().is_some_and(u8::is_ascii_lowercase));
        names.filter(|name| !is_left_out(name)).map(<[u8]>::to_vec).collect()
    })
}

fn any(input: &mut &[u8]) -> Option<Vec<Vec<u8>>> {
    let (head, rest) = input.split_first_chunk::<2>()?;
    *input = rest;
    let names = names();
    let mut words = vec![names[usize::from(head[0]) % names.len()].clone()];
    for _ in 0..head[1] % 7 {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        words.push(match byte {
            0..=127 => STOCK[usize::from(*byte) % STOCK.len()].to_vec(),
            _ => vec![*byte; usize::from(*byte % 40)],
        });
    }
    Some(words)
}

/// Commands that end or hold the connection, or stop the server.
fn is_left_out(name: &[u8]) -> bool {
    let left_out = ["shutdown", "debug", "quit", "client", "monitor", "reset", "hello", "config"];
    left_out.iter().any(|other| other.as_bytes() == name)
}

/// # Panics
/// When a reply differs from the model's, or a command is not answered.
pub fn commands(data: &[u8]) {
    let Some((mode, mut input)) = data.split_first() else { return };
    let mut world = World::new();
    if mode % 2 == 0 {
        let mut model = Model::new();
        for code in input.as_chunks::<4>().0.iter().take(COMMANDS_MAX) {
            if code[0] > 240 {
                world.advance(u64::from(code[1]) * 50);
                continue;
            }
            let (words, expected) = modelled(*code, &mut model, world.now.0);
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let reply = world.ask(&words);
            let shown = |bytes: &[u8]| bytes[..bytes.len().min(200)].escape_ascii().to_string();
            assert_eq!(
                reply,
                expected,
                "{}: {} instead of {}",
                shown(&words.join(&b' ')),
                shown(&reply),
                shown(&expected)
            );
        }
        return;
    }
    for _ in 0..COMMANDS_MAX {
        let Some(words) = any(&mut input) else { break };
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        world.ask(&words);
        if world.server.clients.at(world.client).is_none() {
            return;
        }
    }
    // Whatever came before, and even if that client waits for something, the server answers.
    world.client = world.server.connect(peer());
    let reply = world.ask(&[b"PING"]);
    assert_eq!(reply, b"+PONG\r\n", "{}", reply.escape_ascii());
}
