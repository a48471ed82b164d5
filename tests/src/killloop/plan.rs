//! What one connection does next: random operations whose effect and reply are known before they are sent.
//!
//! Owns: the mix of operations. Must never know: sockets, other writers.
//! Invariant: an operation whose outcome depends on a key being alive is only planned when the key cannot end within
//! the next `CERTAIN` milliseconds, so every reply can be predicted.

use super::judge::field_name;
use super::model::{CLOSE, Class, Content, Expiry, Key, Millis, State, Writer, quantum};
use fastrand::Rng;
use std::collections::BTreeMap;

/// A key with less than this left is not built upon.
const CERTAIN: Millis = 20_000;

/// What the server must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `+OK`
    Ok,
    /// This number.
    Int(i64),
    /// Zero or one: the key may be expiring right now.
    ZeroOrOne,
    /// One, or zero once the key may have expired, from this moment on.
    OneUntil(Millis),
    /// `+QUEUED`
    Queued,
    /// The array of an EXEC.
    Exec(Vec<Expect>),
}

/// One write operation: a command, or a MULTI group of them.
pub struct Write {
    /// Commands in the order of sending.
    pub commands: Vec<Vec<Vec<u8>>>,
    /// One expected reply per command.
    pub expects: Vec<Expect>,
    /// Number of the operation in its writer's order.
    pub op: u64,
    /// Keys whose state it changes.
    pub keys: Vec<usize>,
}

impl Write {
    /// True if nothing may be planned on its key before its reply is known.
    pub fn decides(&self) -> bool {
        matches!(self.expects[..], [Expect::OneUntil(_)])
    }
}

/// Runs the commands in its arguments, each with the number of its words before it, and returns their replies. None of
/// the keys is declared, so a server that keeps values on disk comes upon them in the middle.
const SCRIPT: &str = "local replies, at = {}, 1
while ARGV[at] do
    local count = tonumber(ARGV[at])
    replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, at + count))
    at = at + 1 + count
end
return replies";

impl Write {
    /// The same as one script, if it is a group.
    #[must_use]
    pub fn as_script(self) -> Write {
        let [_, changes @ .., _] = &self.commands[..] else { return self };
        let Some(expect @ Expect::Exec(_)) = self.expects.last() else { return self };
        let mut command = words(&["EVAL", SCRIPT, "0"]);
        for change in changes {
            command.push(change.len().to_string().into_bytes());
            command.extend(change.iter().cloned());
        }
        Write { commands: vec![command], expects: vec![expect.clone()], ..self }
    }
}

/// A single change and its reply.
struct Change {
    command: Vec<Vec<u8>>,
    expect: Expect,
    key: usize,
}

/// Creates the keys of connection `id`.
pub fn keys(id: usize, scale: usize) -> Vec<Key> {
    let groups = [
        ("s", Class::Small, 150),
        ("m", Class::Middle, 50),
        ("l", Class::Large, 12),
        ("h", Class::Hash, 40),
        ("b", Class::Brief, 16),
    ];
    let mut keys = Vec::new();
    for (letter, class, count) in groups {
        for index in 0..count * scale {
            keys.push(Key::new(format!("{letter}:{id}:{index}").into_bytes(), class));
        }
    }
    keys
}

/// Plans one write and enters its effect into the writer's books.
pub fn write(writer: &mut Writer, rng: &mut Rng, now: Millis) -> Write {
    let op = writer.issue();
    if rng.u32(..100) < 10 {
        return group(writer, rng, now, op);
    }
    let key = rng.usize(..writer.keys.len());
    let state = writer.keys[key].latest();
    let (alive, slidable) = (!state.content.is_nothing(), slidable(state, now));
    let change = match writer.keys[key].class {
        Class::Hash => change(writer, rng, key, now),
        Class::Brief if !alive => {
            let lifetime = Lifetime::Short(rng.i64(200..900), now);
            set(writer, rng, key, &lifetime, now)
        }
        _ if slidable && rng.bool() => slide(writer, rng, key, now),
        // What is left to die is not written; another key takes the turn.
        Class::Brief => {
            let other = rng.usize(..writer.keys.len() / 2);
            change(writer, rng, other, now)
        }
        _ => change(writer, rng, key, now),
    };
    let key = change.key;
    Write { commands: vec![change.command], expects: vec![change.expect], op, keys: vec![key] }
}

fn group(writer: &mut Writer, rng: &mut Rng, now: Millis, op: u64) -> Write {
    let mut write = Write {
        commands: vec![words(&["MULTI"])],
        expects: vec![Expect::Ok],
        op,
        keys: Vec::new(),
    };
    let mut replies = Vec::new();
    for _ in 0..rng.usize(2..=5) {
        let key = loop {
            let key = rng.usize(..writer.keys.len());
            if !matches!(writer.keys[key].class, Class::Large | Class::Brief) {
                break key;
            }
        };
        let change = change(writer, rng, key, now);
        write.commands.push(change.command);
        write.expects.push(Expect::Queued);
        write.keys.push(change.key);
        replies.push(change.expect);
    }
    write.commands.push(words(&["EXEC"]));
    write.expects.push(Expect::Exec(replies));
    write
}

fn change(writer: &mut Writer, rng: &mut Rng, key: usize, now: Millis) -> Change {
    let state = writer.keys[key].latest().clone();
    let certain = state.expiry.is_none_or(|expiry| expiry.low > now + CERTAIN);
    let alive = !state.content.is_nothing();
    if writer.keys[key].class == Class::Hash {
        return match rng.u32(..100) {
            _ if alive && !certain => delete(writer, key, &state, certain),
            0..65 => hset(writer, rng, key, &state),
            65..75 if alive => hdel(writer, rng, key, &state),
            75..90 if alive => expire(writer, rng, key, &state, now),
            _ => delete(writer, key, &state, certain),
        };
    }
    match rng.u32(..100) {
        0..12 => delete(writer, key, &state, certain),
        12..24 if alive && certain => expire(writer, rng, key, &state, now),
        24..27 if alive && certain => persist(writer, key, &state),
        27..32 if alive && certain => set_same(writer, rng, key, &state, now),
        32..36 if certain => set(writer, rng, key, &Lifetime::Kept(state.expiry), now),
        _ => {
            let lifetime = random_lifetime(rng, now);
            set(writer, rng, key, &lifetime, now)
        }
    }
}

fn rng_seconds(rng: &mut Rng) -> i64 {
    if rng.bool() { rng.i64(30..120) } else { rng.i64(120..100_000) }
}

fn random_lifetime(rng: &mut Rng, now: Millis) -> Lifetime {
    match rng.u32(..64) {
        0..20 => Lifetime::Seconds(rng_seconds(rng), now),
        20..33 => Lifetime::Short(rng.i64(200..3000), now),
        33..40 => Lifetime::At(now + rng.i64(500..600_000)),
        _ => Lifetime::Endless,
    }
}

enum Lifetime {
    Endless,
    Seconds(i64, Millis),
    Short(Millis, Millis),
    At(Millis),
    Kept(Option<Expiry>),
}

impl Lifetime {
    fn option(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Endless => Vec::new(),
            Self::Seconds(ttl, _) => words(&["EX", &ttl.to_string()]),
            Self::Short(ttl, _) => words(&["px", &ttl.to_string()]),
            Self::At(at) => words(&["PXAT", &at.to_string()]),
            Self::Kept(_) => words(&["KEEPTTL"]),
        }
    }

    fn expiry(&self) -> Option<Expiry> {
        match self {
            Self::Endless => None,
            Self::Seconds(ttl, now) => Some(Expiry::relative(ttl * 1000, *now)),
            Self::Short(ttl, now) => Some(Expiry::relative(*ttl, *now)),
            Self::At(at) => Some(Expiry::absolute(*at)),
            Self::Kept(expiry) => *expiry,
        }
    }
}

fn set(writer: &mut Writer, rng: &mut Rng, key: usize, lifetime: &Lifetime, now: Millis) -> Change {
    let length = random_length(rng, writer.keys[key].class);
    let stamp = writer.stamp(length);
    let target = &writer.keys[key];
    let mut command = vec![b"SET".to_vec(), target.name.clone(), target.bytes(stamp)];
    command.extend(lifetime.option());
    let state = target.latest();
    // Values too short for a stamp can repeat the bytes before them, which is a touch as well.
    let same = matches!(state.content, Content::Text(old) if target.bytes(old) == command[2]);
    let expiry = match lifetime.expiry() {
        Some(expiry) if same => Some(slid(state, expiry, expiry.low - now)),
        expiry => expiry,
    };
    writer.set(key, State { content: Content::Text(stamp), expiry });
    Change { command, expect: Expect::Ok, key }
}

/// The write of a session framework that saves an unchanged session: same bytes, new expiry.
fn set_same(writer: &mut Writer, rng: &mut Rng, key: usize, state: &State, now: Millis) -> Change {
    let Content::Text(stamp) = state.content else { unreachable!("only strings are set") };
    let seconds = rng_seconds(rng);
    let target = &writer.keys[key];
    let mut command = vec![b"SET".to_vec(), target.name.clone(), target.bytes(stamp)];
    command.extend(words(&["EX", &seconds.to_string()]));
    let expiry = slid(state, Expiry::relative(seconds * 1000, now), seconds * 1000);
    writer.set(key, State { content: Content::Text(stamp), expiry: Some(expiry) });
    Change { command, expect: Expect::Ok, key }
}

/// A later end of a key that ends anyway may be journaled coarsely; any other change is an ordinary write.
fn slid(state: &State, mut expiry: Expiry, ttl: Millis) -> Expiry {
    // Two commands of one pipeline have one time of sending: which of two close expiries is later is only the server's to know.
    if state.expiry.is_some_and(|old| expiry.low + CLOSE > old.low) {
        expiry.grace = quantum(ttl);
    }
    expiry
}

fn expire(writer: &mut Writer, rng: &mut Rng, key: usize, state: &State, now: Millis) -> Change {
    let name = writer.keys[key].name.clone();
    let (verb, number, ttl, absolute) = match rng.u32(..100) {
        0..60 => {
            let seconds = rng_seconds(rng);
            ("EXPIRE", seconds, seconds * 1000, false)
        }
        60..80 => {
            let ttl = rng.i64(200..3000);
            ("PEXPIRE", ttl, ttl, false)
        }
        _ => {
            let ttl = rng.i64(500..600_000);
            ("PEXPIREAT", now + ttl, ttl, true)
        }
    };
    let expiry = if absolute { Expiry::absolute(number) } else { Expiry::relative(ttl, now) };
    let expiry = slid(state, expiry, ttl);
    writer.set(key, State { content: state.content.clone(), expiry: Some(expiry) });
    let command = vec![verb.as_bytes().to_vec(), name, number.to_string().into_bytes()];
    Change { command, expect: Expect::Int(1), key }
}

/// A short life that is not over in the next moment can be slid along, as rolling sessions are.
fn slidable(state: &State, now: Millis) -> bool {
    state.expiry.is_some_and(|expiry| (now + 100..now + CERTAIN).contains(&expiry.low))
}

/// Lets a short life begin anew. It is the last word on its key for a round: the reply decides what holds.
fn slide(writer: &mut Writer, rng: &mut Rng, key: usize, now: Millis) -> Change {
    let state = writer.keys[key].latest().clone();
    let old = state.expiry.map_or(0, |expiry| expiry.low);
    let ttl = old - now + rng.i64(50..800);
    let expiry = Expiry { needs: old, ..slid(&state, Expiry::relative(ttl, now), ttl) };
    writer.set(key, State { content: state.content, expiry: Some(expiry) });
    let command =
        vec![b"PEXPIRE".to_vec(), writer.keys[key].name.clone(), ttl.to_string().into_bytes()];
    Change { command, expect: Expect::OneUntil(old), key }
}

fn persist(writer: &mut Writer, key: usize, state: &State) -> Change {
    let command = vec![b"PERSIST".to_vec(), writer.keys[key].name.clone()];
    writer.set(key, State { content: state.content.clone(), expiry: None });
    Change { command, expect: Expect::Int(i64::from(state.expiry.is_some())), key }
}

fn delete(writer: &mut Writer, key: usize, state: &State, certain: bool) -> Change {
    let command = vec![b"DEL".to_vec(), writer.keys[key].name.clone()];
    let expect = match (state.content.is_nothing(), certain) {
        (true, _) => Expect::Int(0),
        (false, true) => Expect::Int(1),
        (false, false) => Expect::ZeroOrOne,
    };
    writer.set(key, State::ABSENT);
    Change { command, expect, key }
}

fn hset(writer: &mut Writer, rng: &mut Rng, key: usize, state: &State) -> Change {
    let mut fields = fields_of(state);
    let mut command = vec![b"HSET".to_vec(), writer.keys[key].name.clone()];
    let mut added = 0;
    for _ in 0..rng.usize(1..=4) {
        let field = rng.u8(..8);
        let stamp = writer.stamp(rng.usize(..300));
        added += i64::from(fields.insert(field, stamp).is_none());
        command.push(field_name(field));
        command.push(writer.keys[key].field_bytes(field, stamp));
    }
    writer.set(key, State { content: Content::Hash(fields), expiry: state.expiry });
    Change { command, expect: Expect::Int(added), key }
}

fn hdel(writer: &mut Writer, rng: &mut Rng, key: usize, state: &State) -> Change {
    let mut fields = fields_of(state);
    let field = rng.u8(..8);
    let removed = fields.remove(&field).is_some();
    let command = vec![b"HDEL".to_vec(), writer.keys[key].name.clone(), field_name(field)];
    let left = if fields.is_empty() {
        State::ABSENT
    } else {
        State { content: Content::Hash(fields), expiry: state.expiry }
    };
    writer.set(key, left);
    Change { command, expect: Expect::Int(i64::from(removed)), key }
}

fn fields_of(state: &State) -> BTreeMap<u8, super::model::Stamp> {
    match &state.content {
        Content::Hash(fields) => fields.clone(),
        _ => BTreeMap::new(),
    }
}

/// Lengths are spread evenly over the orders of magnitude, with the empty value among them.
fn random_length(rng: &mut Rng, class: Class) -> usize {
    let bits = match class {
        Class::Small | Class::Hash | Class::Brief => 11,
        Class::Middle => 16,
        Class::Large => 20,
    };
    if rng.u32(..100) < 3 {
        return 0;
    }
    let top = 1_usize << rng.u32(1..=bits);
    rng.usize(top / 2..=top)
}

fn words(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|word| word.as_bytes().to_vec()).collect()
}
