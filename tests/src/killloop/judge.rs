//! Compares what a reader saw with what a state allows.
//!
//! Owns: the tolerances, and the names of the sins. Must never know: how the observation came about.

use super::model::{Class, Content, Key, Millis, State, UNKNOWN, Writer};
use crate::resp::Reply;
use crate::value;
use std::fmt;

/// How much too early a key may end, in milliseconds.
const EARLY: Millis = 1000;
/// How much too late, beyond the grace of a slid expiry.
const LATE: Millis = 1000;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sin {
    /// An acknowledged value is gone.
    Lost,
    /// An older value than an acknowledged one.
    Older,
    /// Bytes that nobody wrote under this key.
    Wrong,
    /// A deleted or expired key is back.
    Resurrected,
    /// Every key alone could be explained, all together not: half a MULTI group, or a hole in a pipeline.
    Torn,
    /// A reader saw something that a crash took back.
    Unseen,
    /// A time to live outside its tolerance.
    Ttl,
    /// A reply that contradicts the state that it was given in.
    Reply,
    /// The server died or stopped answering without being asked to.
    Died,
}

/// One broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Kind.
    pub sin: Sin,
    /// The key and the evidence.
    pub text: String,
}

impl Violation {
    /// A violation with its evidence.
    pub fn new(sin: Sin, text: String) -> Self {
        Self { sin, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.sin, self.text)
    }
}

/// One look at one key.
#[derive(Clone, Debug)]
pub struct Look {
    /// The reply to GET or HGETALL.
    pub reply: Reply,
    /// The reply to PTTL, if it was asked.
    pub pttl: Option<i64>,
    /// Before the commands were sent.
    pub sent: Millis,
    /// After the replies had come.
    pub got: Millis,
}

impl Look {
    /// True if the server says that there is no such key.
    pub fn is_nothing(&self) -> bool {
        match &self.reply {
            Reply::Nil => true,
            Reply::Array(pairs) => pairs.is_empty(),
            _ => false,
        }
    }
}

/// The command that reads a key of this class.
pub fn read_verb(class: Class) -> &'static [u8] {
    if class == Class::Hash { b"HGETALL" } else { b"GET" }
}

/// Says what `look` breaks if `state` was the truth, or `None` if it fits.
pub fn judge(key: &Key, state: &State, look: &Look) -> Option<Sin> {
    let must_live = state.expiry.is_none_or(|expiry| look.got < expiry.low - EARLY);
    let must_be_gone = state.expiry.is_some_and(|expiry| look.sent > expiry.high + LATE);
    match (state.content.is_nothing(), look.is_nothing()) {
        (true, true) => None,
        (true, false) => Some(Sin::Resurrected),
        (false, true) => must_live.then_some(Sin::Lost),
        (false, false) if must_be_gone => Some(Sin::Resurrected),
        (false, false) => judge_content(key, &state.content, &look.reply)
            .or_else(|| judge_ttl(state, look, must_live)),
    }
}

fn judge_content(key: &Key, content: &Content, reply: &Reply) -> Option<Sin> {
    let same = match (content, reply) {
        (Content::Text(stamp), Reply::Bulk(bytes)) => *bytes == key.bytes(*stamp),
        (Content::Hash(fields), Reply::Array(flat)) => {
            let found = flat.chunks(2).all(|pair| match pair {
                [Reply::Bulk(name), Reply::Bulk(bytes)] => field_number(name)
                    .and_then(|field| Some((field, fields.get(&field)?)))
                    .is_some_and(|(field, stamp)| *bytes == key.field_bytes(field, *stamp)),
                _ => false,
            });
            found && flat.len() == 2 * fields.len()
        }
        _ => false,
    };
    (!same).then(|| content_sin(key, reply))
}

/// A whole value of this key that is not the right one can only be another version.
fn content_sin(key: &Key, reply: &Reply) -> Sin {
    match reply {
        Reply::Bulk(bytes) if bytes.len() >= value::HEADER_BYTES => match value::label(bytes) {
            Some(label) if label.key_hash == value::key_hash(&key.name) => Sin::Older,
            _ => Sin::Wrong,
        },
        Reply::Error(_) => Sin::Reply,
        _ => Sin::Wrong,
    }
}

fn judge_ttl(state: &State, look: &Look, must_live: bool) -> Option<Sin> {
    let fits = match (look.pttl?, state.expiry) {
        (-1, expiry) => expiry.is_none(),
        (-2, _) => !must_live,
        (left, Some(expiry)) => {
            look.got + left >= expiry.low - EARLY && look.sent + left <= expiry.high + LATE
        }
        (_, None) => false,
    };
    (!fits).then_some(Sin::Ttl)
}

/// The wire name of a hash field.
pub fn field_name(field: u8) -> Vec<u8> {
    format!("f{field}").into_bytes()
}

fn field_number(name: &[u8]) -> Option<u8> {
    std::str::from_utf8(name).ok()?.strip_prefix('f')?.parse().ok()
}

/// Judges a look at a living server: some state between `from` and what is issued by now must explain it.
///
/// Raises the writer's floor to the earliest state that does: what was seen must survive.
///
/// # Errors
/// The violation, if nothing explains it.
pub fn observe(writer: &mut Writer, index: usize, from: u64, look: &Look) -> Result<(), Violation> {
    let to = writer.issued;
    observe_between(writer, index, (from, to), look)
}

/// [`observe`] with an upper bound, for a connection that reads its own pipeline.
///
/// # Errors
/// As [`observe`].
pub fn observe_between(
    writer: &mut Writer,
    index: usize,
    (from, to): (u64, u64),
    look: &Look,
) -> Result<(), Violation> {
    let key = &writer.keys[index];
    let mut first_sin = None;
    let mut fit = None;
    let mut choices = 0;
    for (op, state) in key.states(from, to) {
        choices += 1;
        let state = match &key.ended {
            Some((was, known)) if state.content == Content::Expired && look.sent <= *known => was,
            _ => state,
        };
        match judge(key, state, look) {
            None if fit.is_none() => fit = Some((op, state.content.is_nothing())),
            None => {}
            Some(sin) => first_sin = first_sin.or(Some(sin)),
        }
    }
    let Some((op, nothing)) = fit else {
        let sin = first_sin.unwrap_or(Sin::Wrong);
        return Err(Violation::new(sin, evidence(key, key.state_at(to), look)));
    };
    let is_latest = std::ptr::eq(key.state_at(to), key.latest());
    writer.seen(op);
    if choices == 1 && is_latest && !nothing && look.is_nothing() {
        writer.seen_expired(index, look.got);
    }
    Ok(())
}

/// Expected and found, in words.
pub fn evidence(key: &Key, state: &State, look: &Look) -> String {
    let found = match &look.reply {
        Reply::Bulk(bytes) => value::describe(&key.name, bytes),
        Reply::Array(flat) => {
            format!("a hash of {} fields [{}]", flat.len() / 2, fields_text(key, flat))
        }
        other => format!("{other:?}"),
    };
    let ttl = look.pttl.map_or(String::new(), |left| format!(", PTTL {left}"));
    let window = state.expiry.map_or(String::from(" without expiry"), |expiry| {
        let high = if expiry.high >= UNKNOWN { -1 } else { expiry.high - look.sent };
        format!(" expiring in {}..{high} ms", expiry.low - look.sent)
    });
    let name = String::from_utf8_lossy(&key.name);
    format!("key {name}: expected {:?}{window}; found {found}{ttl}", state.content)
}

fn fields_text(key: &Key, flat: &[Reply]) -> String {
    let texts = flat.chunks(2).map(|pair| match pair {
        [Reply::Bulk(name), Reply::Bulk(bytes)] => {
            let under = field_number(name).map(|field| [&key.name[..], &[b'#', field]].concat());
            let held = value::describe(&under.unwrap_or_default(), bytes);
            format!("{}: {held}", name.escape_ascii())
        }
        other => format!("{other:?}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::model::Expiry;
    use super::*;

    /// A key that ended at 5,000, as one reader learned at 5,010.
    fn ended() -> Writer {
        let mut writer = Writer::new(vec![Key::new(b"k".to_vec(), Class::Brief)]);
        let content = Content::Text(writer.stamp(3));
        let op = writer.issue();
        writer.set(0, State { content, expiry: Some(Expiry::absolute(5000)) });
        let nothing = Look { reply: Reply::Nil, pttl: None, sent: 5005, got: 5010 };
        observe(&mut writer, 0, op, &nothing).unwrap();
        writer
    }

    #[test]
    fn a_reader_that_asked_before_may_have_seen_the_key_alive_and_one_that_asked_later_may_not() {
        let mut writer = ended();
        let Content::Text(stamp) = ended().keys[0].ended.clone().unwrap().0.content else {
            panic!()
        };
        let alive = writer.keys[0].bytes(stamp);
        let op = writer.issued;
        let look = |sent| Look { reply: Reply::Bulk(alive.clone()), pttl: None, sent, got: 5100 };
        observe(&mut writer, 0, op, &look(4990)).unwrap();
        let sin = observe(&mut writer, 0, op, &look(5011)).unwrap_err().sin;
        assert_eq!(sin, Sin::Resurrected);
        let nothing = Look { reply: Reply::Nil, pttl: None, sent: 5000, got: 5120 };
        observe(&mut writer, 0, op, &nothing).unwrap();
        let sin = observe(&mut writer, 0, op, &look(5011)).unwrap_err().sin;
        assert_eq!(sin, Sin::Resurrected, "it stays ended");
    }
}
