//! SESSION.CREATE.
//!
//! Owns: its options, ids made by the server, the limit of sessions per user.
//! Never knows: the layout of a session.
//! Invariant: a user's sessions never exceed the limit that was given, not even between two records.

use emberlog_engine::{OWNER_BYTES_MAX, Owned};

use super::{Looked, REVOKED, deadline, end, fields, look, seconds, store};
use crate::command::hash::Newest;
use crate::command::parse::{error, integer, is};
use crate::command::{Context, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::session::{Ended, Session, fields_of};

/// Longest device label, in bytes.
const DEVICE_MAX: usize = 1024;

/// Options of SESSION.CREATE.
#[derive(Default)]
struct Options<'a> {
    user: &'a [u8],
    device: &'a [u8],
    idle_s: u32,
    absolute_s: u32,
    most: Option<(usize, bool)>,
    fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, Stop> {
        let mut options = Options::default();
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let value = args.get(at + 1).ok_or(text::SYNTAX)?;
            let mut next = at + 2;
            if is(word, "user") {
                options.user = value;
            } else if is(word, "device") {
                options.device = value;
            } else if is(word, "idle") {
                options.idle_s = seconds(value)?;
            } else if is(word, "absolute") {
                options.absolute_s = seconds(value)?;
            } else if is(word, "maxperuser") {
                options.most = Some(limit(value, args.get(at + 2))?);
                next += 1;
            } else if is(word, "fields") {
                let (first, words) = fields(args, at, 2)?;
                let pairs = (first..first + words).step_by(2);
                options.fields = pairs.map(|at| (args.at(at), args.at(at + 1))).collect();
                next = first + words;
            } else {
                return Err(text::SYNTAX);
            }
            at = next;
        }
        options.check()
    }

    fn check(self) -> Result<Options<'a>, Stop> {
        if self.user.len() > OWNER_BYTES_MAX {
            return Err(error(format!("ERR user is longer than {OWNER_BYTES_MAX} bytes")));
        }
        if self.device.len() > DEVICE_MAX {
            return Err(error(format!("ERR device is longer than {DEVICE_MAX} bytes")));
        }
        if self.most.is_some() && self.user.is_empty() {
            return Err(Stop::error("ERR MAXPERUSER needs USER"));
        }
        Ok(self)
    }
}

/// The limit of sessions per user, and whether it evicts.
fn limit(count: &[u8], action: Option<&[u8]>) -> Result<(usize, bool), Stop> {
    let count = usize::try_from(integer(count)?).ok().filter(|count| *count > 0);
    let count = count.ok_or(Stop::error("ERR MAXPERUSER must be at least 1"))?;
    match action {
        Some(word) if is(word, "reject") => Ok((count, false)),
        Some(word) if is(word, "evict") => Ok((count, true)),
        _ => Err(text::SYNTAX),
    }
}

/// 256 random bits as 43 characters that need no escaping anywhere.
fn generate() -> Result<Vec<u8>, Stop> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = [0; 33];
    getrandom::fill(&mut bits[..32])
        .map_err(|_| Stop::error("ERR the system gives no random bytes"))?;
    let mut id = Vec::with_capacity(44);
    for three in bits.chunks_exact(3) {
        let word = three.iter().fold(0, |word, byte| word << 8 | usize::from(*byte));
        id.extend((0..4).map(|digit| DIGITS[word >> (18 - 6 * digit) & 63]));
    }
    id.truncate(43);
    Ok(id)
}

/// The sessions that must go for one more to be within `most`, those idle the longest first.
fn surplus(cx: &mut Context<'_>, user: &[u8], most: (usize, bool)) -> Result<Vec<Owned>, Stop> {
    let (most, evict) = most;
    let mut owned = super::users::living(cx, user)?;
    if owned.len() < most {
        return Ok(Vec::new());
    }
    if !evict {
        let count = owned.len();
        return Err(error(format!(
            "MAXSESSIONS the user has {count} sessions, {most} are allowed"
        )));
    }
    let never = emberlog_engine::UnixMillis::MAX;
    owned.sort_by_key(|owned| owned.expires_at.unwrap_or(never));
    owned.truncate(owned.len() + 1 - most);
    Ok(owned)
}

pub(super) fn create(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let options = Options::parse(args)?;
    let generated = if args[1] == *b"*" { Some(generate()?) } else { None };
    let sid = generated.as_deref().unwrap_or(&args[1]);
    let key = match look(cx, sid)? {
        Looked::Absent(key) => key,
        Looked::Live(..) => return Err(Stop::error("EXISTS there is a session with this id")),
        Looked::Ended => return Err(REVOKED),
    };
    let surplus = match options.most {
        Some(most) => surplus(cx, options.user, most)?,
        None => Vec::new(),
    };
    let mut newest = Newest::new(&options.fields);
    let named = options.fields.iter().filter_map(|(field, _)| Some((*field, newest.take(field)?)));
    let fields = fields_of(named);
    let session = Session {
        version: 1,
        idle_s: options.idle_s,
        absolute: deadline(options.absolute_s, cx.now),
        created: cx.now,
        seen: cx.now,
        user: options.user,
        device: options.device,
        fields: &fields,
    };
    cx.room(fields.len() + 2 * crate::command::RECORD_OVERHEAD + super::users::room(&surplus))?;
    cx.together(|cx| {
        for old in &surplus {
            let old_key = cx.key(&old.key)?;
            end(cx, &old_key, Ended::Revoked, old.limit)?;
        }
        store(cx, &key, &session)
    })?;
    cx.notify(notify::MODULE, "session.create", sid);
    cx.session_event("created", sid);
    cx.reply.bulk(sid);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_43_safe_characters_and_never_the_same() {
        let (one, two) = (super::generate().unwrap(), super::generate().unwrap());
        assert_eq!((one.len(), two.len()), (43, 43));
        assert_ne!(one, two);
        assert!(one.iter().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c)));
    }
}
