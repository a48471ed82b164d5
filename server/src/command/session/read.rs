//! SESSION.GET and SESSION.TOUCH.
//!
//! Owns: the shapes of their replies, and what a touch is.
//! Never knows: how a touch is journaled.
//! Invariant: a touch never moves a session beyond its absolute deadline, and never fails a read.

use emberlog_engine::{Found, Key, Room};

use super::{Looked, REVOKED, fields, look, view};
use crate::command::parse::is;
use crate::command::{Context, Outcome, RECORD_OVERHEAD, Stop, text};
use crate::resp::Args;
use crate::value::session::Session;

/// Names of what META shows.
const META: usize = 8;
/// Beyond this many seconds of idle time an expiry is too far for the index, and a touch rewrites.
const FAR_S: u32 = 300 * 86_400;
/// Then it does so once in this many milliseconds only.
const FAR_STEP_MS: u64 = 86_400_000;

/// Begins a new idle time. Nobody waits for the disk because of it.
fn renew(cx: &mut Context<'_>, key: &Key<'_>, found: &Found) -> Result<(), Stop> {
    let session = view(found)?;
    if session.idle_s == 0 {
        return Ok(());
    }
    let (new, old) = (session.expires_at(cx.now), found.expires_at);
    let far = session.idle_s > FAR_S;
    if new <= old || far && new.unwrap_or_default().since(old.unwrap_or_default()) < FAR_STEP_MS {
        return Ok(());
    }
    let (now, bytes) = (cx.now, RECORD_OVERHEAD + if far { found.value.len() } else { 0 });
    let shard = cx.shard()?;
    // Reads go on when the disk is full or broken.
    if shard.room_for_delete(bytes) == Room::Yes {
        let _ = shard.expire(key, new, now);
    }
    Ok(())
}

/// What SESSION.GET shows.
#[derive(Default)]
struct Options {
    /// Position and number of the fields asked for; none: all.
    wanted: Option<(usize, usize)>,
    no_touch: bool,
    meta: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, Stop> {
        let mut options = Options::default();
        let mut at = 2;
        while let Some(word) = args.get(at) {
            at += 1;
            if is(word, "notouch") {
                options.no_touch = true;
            } else if is(word, "meta") {
                options.meta = true;
            } else if is(word, "fields") {
                let (first, words) = fields(args, at - 1, 1)?;
                options.wanted = Some((first, words));
                at = first + words;
            } else {
                return Err(text::SYNTAX);
            }
        }
        Ok(options)
    }
}

pub(super) fn get(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let options = Options::parse(args)?;
    let looked = look(cx, &args[1])?;
    cx.count_read(matches!(looked, Looked::Live(..)));
    let Looked::Live(key, found) = looked else {
        cx.reply.null_array();
        return Ok(());
    };
    let session = view(&found)?;
    if options.meta {
        cx.reply.array(2);
        let expires_at = if options.no_touch {
            found.expires_at
        } else {
            session.expires_at(cx.now).max(found.expires_at)
        };
        meta(cx, &session, expires_at);
    }
    let hash = session.hash();
    if let Some((first, words)) = options.wanted {
        cx.reply.array(words);
        for at in first..first + words {
            match hash.get(args.at(at)) {
                Some(value) => cx.reply.bulk(value),
                None => cx.reply.null(),
            }
        }
    } else {
        cx.reply.map(hash.len());
        for (field, value) in hash.pairs() {
            cx.reply.bulk(field);
            cx.reply.bulk(value);
        }
    }
    if options.no_touch { Ok(()) } else { renew(cx, &key, &found) }
}

/// The facts about a session, as a map; times in milliseconds since the epoch, 0 for never.
pub(super) fn meta(
    cx: &mut Context<'_>,
    session: &Session<'_>,
    expires_at: Option<emberlog_engine::UnixMillis>,
) {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    cx.reply.map(META);
    for (name, text) in [("user", session.user), ("device", session.device)] {
        cx.reply.bulk(name.as_bytes());
        cx.reply.bulk(text);
    }
    for (name, value) in [
        ("version", session.version),
        ("created", session.created.0),
        ("last_seen", session.last_seen(expires_at).0),
        ("idle", u64::from(session.idle_s)),
        ("absolute", session.absolute.unwrap_or_default().0),
        ("expires", expires_at.unwrap_or_default().0),
    ] {
        cx.reply.bulk(name.as_bytes());
        cx.reply.integer(number(value));
    }
}

pub(super) fn touch(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match look(cx, &args[1])? {
        Looked::Live(key, found) => {
            renew(cx, &key, &found)?;
            cx.reply.integer(1);
            Ok(())
        }
        Looked::Absent(_) => {
            cx.reply.integer(0);
            Ok(())
        }
        Looked::Ended => Err(REVOKED),
    }
}
