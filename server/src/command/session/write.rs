//! SESSION.SET, UNSET, INCR and EXPIRE: changes of a living session.
//!
//! Owns: merging by field, the check of versions and of lock tokens.
//! Never knows: the layout of a session.
//! Invariant: what a command does not name keeps its value, so requests side by side never undo
//! each other.

use emberlog_engine::{Found, Key};

use super::{STALE_TOKEN, deadline, fields, open, seconds, store, view};
use crate::command::hash::Newest;
use crate::command::parse::{error, integer, is};
use crate::command::{Context, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::hash::Hash;
use crate::value::session::{Session, fields_of};

/// What may stand before the fields of a write.
#[derive(Default)]
pub(super) struct Conditions {
    if_version: Option<u64>,
    token: Option<u64>,
    idle_s: Option<u32>,
    /// Position of `FIELDS`.
    fields_at: Option<usize>,
}

impl Conditions {
    /// Reads options from argument `at` up to `FIELDS` or the end.
    pub(super) fn parse(args: Args<'_>, mut at: usize) -> Result<Conditions, Stop> {
        let mut conditions = Conditions::default();
        while let Some(word) = args.get(at) {
            if is(word, "fields") {
                conditions.fields_at = Some(at);
                break;
            }
            let value = args.get(at + 1).ok_or(text::SYNTAX)?;
            if is(word, "ifver") {
                conditions.if_version = Some(number(value)?);
            } else if is(word, "token") {
                conditions.token = Some(number(value)?);
            } else if is(word, "idle") {
                conditions.idle_s = Some(seconds(value)?);
            } else {
                return Err(text::SYNTAX);
            }
            at += 2;
        }
        Ok(conditions)
    }

    /// Checks them against the session called `key`.
    pub(super) fn check(
        &self,
        cx: &Context<'_>,
        key: &Key<'_>,
        session: &Session<'_>,
    ) -> Result<(), Stop> {
        if let Some(token) = self.token
            && !cx.state.locks.holds(key.namespace().0, key.bytes(), token, cx.now)
        {
            return Err(STALE_TOKEN);
        }
        match self.if_version {
            Some(wanted) if wanted != session.version => {
                let version = session.version;
                Err(error(format!("CONFLICT the session is at version {version}, not {wanted}")))
            }
            _ => Ok(()),
        }
    }
}

fn number(arg: &[u8]) -> Result<u64, Stop> {
    u64::try_from(integer(arg)?).map_err(|_| text::NOT_INTEGER)
}

/// Writes `session` with these fields, one version on, and tells everyone.
fn change(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    session: &Session<'_>,
    event: &str,
) -> Result<u64, Stop> {
    let version = session.version + 1;
    let seen = cx.now;
    cx.room(session.user.len() + session.device.len() + session.fields.len() + 512)?;
    store(cx, key, &Session { version, seen, ..*session })?;
    cx.notify(notify::MODULE, event, key.bytes());
    cx.session_event("changed", key.bytes());
    Ok(version)
}

/// A hash with some fields set: old ones keep their place, new ones follow.
fn merged(hash: &Hash<'_>, changes: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut newest = Newest::new(changes);
    let mut fields: Vec<(&[u8], &[u8])> = Vec::with_capacity(hash.len() + changes.len());
    for (field, value) in hash.pairs() {
        fields.push((field, newest.take(field).unwrap_or(value)));
    }
    for (field, _) in changes {
        if let Some(value) = newest.take(field) {
            fields.push((field, value));
        }
    }
    fields_of(fields.into_iter())
}

/// A session to be changed, whose conditions hold.
fn opened<'a>(
    cx: &mut Context<'_>,
    sid: &'a [u8],
    conditions: &Conditions,
) -> Result<(Key<'a>, Found), Stop> {
    let (key, found) = open(cx, sid)?;
    conditions.check(cx, &key, &view(&found)?)?;
    Ok((key, found))
}

pub(super) fn set(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let conditions = Conditions::parse(args, 2)?;
    let (first, words) = fields(args, conditions.fields_at.ok_or(text::SYNTAX)?, 2)?;
    let rest = Conditions::parse(args, first + words)?;
    if rest.fields_at.is_some() {
        return Err(text::SYNTAX);
    }
    let conditions = Conditions {
        if_version: conditions.if_version.or(rest.if_version),
        token: conditions.token.or(rest.token),
        idle_s: conditions.idle_s.or(rest.idle_s),
        fields_at: None,
    };
    let pairs = (first..first + words).step_by(2);
    let changes: Vec<(&[u8], &[u8])> = pairs.map(|at| (args.at(at), args.at(at + 1))).collect();
    let (key, found) = opened(cx, &args[1], &conditions)?;
    let session = view(&found)?;
    let fields = merged(&session.hash(), &changes);
    let idle_s = conditions.idle_s.unwrap_or(session.idle_s);
    let version = change(cx, &key, &Session { idle_s, fields: &fields, ..session }, "session.set")?;
    cx.reply.integer(i64::try_from(version).unwrap_or(i64::MAX));
    Ok(())
}

pub(super) fn unset(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let conditions = Conditions::parse(args, 2)?;
    let (first, words) = fields(args, conditions.fields_at.ok_or(text::SYNTAX)?, 1)?;
    if first + words != args.len() {
        return Err(text::SYNTAX);
    }
    let gone: std::collections::HashSet<&[u8]> =
        (first..first + words).map(|at| args.at(at)).collect();
    let (key, found) = opened(cx, &args[1], &conditions)?;
    let session = view(&found)?;
    let kept = session.hash().pairs().filter(|(field, _)| !gone.contains(field));
    let removed = session.hash().len() - kept.clone().count();
    if removed > 0 {
        let fields = fields_of(kept);
        change(cx, &key, &Session { fields: &fields, ..session }, "session.unset")?;
    }
    cx.reply.size(removed);
    Ok(())
}

pub(super) fn incr(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let amount = integer(&args[3])?;
    let conditions = Conditions::parse(args, 4)?;
    if conditions.fields_at.is_some() {
        return Err(text::SYNTAX);
    }
    let (key, found) = opened(cx, &args[1], &conditions)?;
    let session = view(&found)?;
    let old = match session.hash().get(&args[2]) {
        None => 0,
        Some(old) => integer(old).map_err(|_| Stop::error("ERR the field is not an integer"))?,
    };
    let new =
        old.checked_add(amount).ok_or(Stop::error("ERR increment or decrement would overflow"))?;
    let mut digits = itoa::Buffer::new();
    let changes = [(&args[2], digits.format(new).as_bytes())];
    let fields = merged(&session.hash(), &changes);
    change(cx, &key, &Session { fields: &fields, ..session }, "session.incr")?;
    cx.reply.integer(new);
    Ok(())
}

pub(super) fn expire(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (mut idle_s, mut absolute, mut at) = (None, None, 2);
    while let Some(word) = args.get(at) {
        let value = seconds(args.get(at + 1).ok_or(text::SYNTAX)?)?;
        if is(word, "idle") {
            idle_s = Some(value);
        } else if is(word, "absolute") {
            absolute = Some(value);
        } else {
            return Err(text::SYNTAX);
        }
        at += 2;
    }
    let (key, found) = open(cx, &args[1])?;
    let session = view(&found)?;
    let idle_s = idle_s.unwrap_or(session.idle_s);
    let absolute = absolute.map_or(session.absolute, |seconds| deadline(seconds, cx.now));
    change(cx, &key, &Session { idle_s, absolute, ..session }, "session.expire")?;
    cx.reply.integer(1);
    Ok(())
}
