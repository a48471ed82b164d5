//! SESSION.*: sessions as objects. docs/SESSIONS.md says what each command promises.
//!
//! Owns: the table of these commands, and how a session is found, written and ended.
//! Never knows: how the store keeps its user index.
//! Invariant: a session is one record, so every command changes it whole; a session that has ended
//! leaves a tombstone, and the reply that says so waits for the disk whatever `ack` is.

mod create;
mod end;
mod event;
mod lock;
mod read;
mod store;
mod users;
mod write;

pub use event::channels as session_channels;
pub use lock::LockWait;

use emberlog_engine::{Found, Key, Label, UnixMillis};

use super::parse::error;
use super::prefix::Seal;
use super::table::flag::{BLOCKING, DENYOOM, FAST, GATHERS, NOSCRIPT, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Stop, text};
use crate::notify;
use crate::value::Kind;
use crate::value::session::{Ended, Session};

const fn entry(
    name: &'static str,
    arity: i16,
    flags: u32,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Session, "0.1.0", summary, handler)
        .keys(Keys::ONE)
        .flags(flags)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("session.create", -2, WRITE | DENYOOM, "Creates a session.", create::create),
    entry("session.get", -2, READONLY | FAST, "Returns a session's fields; a touch.", read::get),
    entry("session.set", -5, WRITE | DENYOOM, "Sets fields of a session.", write::set),
    entry("session.unset", -4, WRITE | DENYOOM, "Removes fields of a session.", write::unset),
    entry("session.incr", -4, WRITE | DENYOOM, "Adds to a number in a field.", write::incr),
    entry("session.touch", 2, READONLY | FAST, "Says that a session is in use.", read::touch),
    entry("session.expire", -4, WRITE | DENYOOM, "Sets a session's clocks.", write::expire),
    entry("session.rotate", -3, WRITE | DENYOOM, "Gives a session another id.", end::rotate)
        .keys(Keys::Range { first: 1, last: 2, step: 1 }),
    entry("session.destroy", -2, WRITE, "Ends a session for good.", end::destroy),
    entry("session.list", -2, READONLY | GATHERS | TIMED, "Lists a user's sessions.", users::list)
        .keys(Keys::None),
    entry(
        "session.count",
        2,
        READONLY | GATHERS | TIMED,
        "Counts a user's sessions.",
        users::count,
    )
    .keys(Keys::None),
    entry("session.revoke", -2, WRITE | TIMED, "Ends a user's sessions for good.", users::revoke)
        .keys(Keys::None),
    entry("session.lock", -3, NOSCRIPT | READONLY | BLOCKING, "Locks a session.", lock::lock),
    entry("session.unlock", 3, READONLY | FAST, "Unlocks a session.", lock::unlock),
];

/// There is no such session.
const NO_SESSION: Stop = Stop::error("NOSESSION no such session");
/// The session has ended for good.
pub(super) const REVOKED: Stop =
    Stop::error("REVOKED this session was ended; its id cannot be written any more");
/// A write carries a token that is not the lock's.
const STALE_TOKEN: Stop =
    Stop::error("STALETOKEN the lock that this token was for is held no more");

/// A session id that is looked up.
enum Looked<'a> {
    /// It is there.
    Live(Key<'a>, Found),
    /// There is none.
    Absent(Key<'a>),
    /// It has ended for good.
    Ended,
}

/// Looks a session up.
fn look<'a>(cx: &mut Context<'_>, sid: &'a [u8]) -> Result<Looked<'a>, Stop> {
    let key = cx.key(sid)?;
    match cx.find_kind(&key, Kind::Session)? {
        Some(found) => Ok(Looked::Live(key, found)),
        None if cx.seals.has(&key, Seal::Ended) => Ok(Looked::Ended),
        None => Ok(Looked::Absent(key)),
    }
}

/// The session called `sid`, to be written.
fn open<'a>(cx: &mut Context<'_>, sid: &'a [u8]) -> Result<(Key<'a>, Found), Stop> {
    match look(cx, sid)? {
        Looked::Live(key, found) => Ok((key, found)),
        Looked::Absent(_) => Err(NO_SESSION),
        Looked::Ended => Err(REVOKED),
    }
}

fn view(found: &Found) -> Result<Session<'_>, Stop> {
    Session::parse(&found.value).map_err(|_| text::MALFORMED)
}

/// Writes a session, which begins a new idle time.
fn store(cx: &mut Context<'_>, key: &Key<'_>, session: &Session<'_>) -> Result<(), Stop> {
    let label = Label { owner: session.user, limit: session.absolute, ..Label::NONE };
    let expires_at = session.expires_at(cx.now);
    cx.put_labelled(key, Kind::Session, &session.encode(), expires_at, &label)
}

/// Replaces whatever `key` holds by a tombstone until `limit`, or for `revoked-ttl` seconds.
pub(super) fn bury(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    ended: Ended,
    limit: Option<UnixMillis>,
) -> Result<(), Stop> {
    let now = cx.now;
    let until = limit.unwrap_or(now.plus(u64::from(cx.state.config.revoked_ttl) * 1000));
    let label = Label { hidden: true, ..Label::NONE };
    cx.put_labelled(key, Kind::Revoked, &ended.encode(now), Some(until), &label)?;
    cx.wait_for_disk()?;
    cx.state.locks.end(key.namespace().0, key.bytes());
    Ok(())
}

/// What generic commands about expiry answer for a session.
pub(super) const OWN_CLOCKS: Stop =
    Stop::error("WRONGTYPE a session has its own clocks; use SESSION.EXPIRE");

/// DEL of a session, or whatever else deletes its key. The caller tells of the deleted key.
pub(super) fn destroy_key(cx: &mut Context<'_>, key: &Key<'_>) -> Result<bool, Stop> {
    let Some(found) = cx.find_kind(key, Kind::Session)? else { return Ok(false) };
    let absolute = view(&found)?.absolute;
    bury(cx, key, Ended::Destroyed, absolute)?;
    cx.session_event(Ended::Destroyed.name(), key.bytes());
    Ok(true)
}

/// Ends a session and tells everyone.
pub(super) fn end(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    ended: Ended,
    limit: Option<UnixMillis>,
) -> Result<(), Stop> {
    bury(cx, key, ended, limit)?;
    cx.notify(notify::GENERIC, "del", key.bytes());
    cx.session_event(ended.name(), key.bytes());
    Ok(())
}

/// Reads `FIELDS n` at `position` and checks that `n` groups of `size` arguments follow. Returns the
/// position of the first and how many arguments they are.
fn fields(
    args: crate::resp::Args<'_>,
    position: usize,
    size: usize,
) -> Result<(usize, usize), Stop> {
    let count = super::parse::integer(args.get(position + 1).ok_or(text::SYNTAX)?)?;
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or(Stop::error("ERR numfields should be greater than 0"))?;
    let words = count.checked_mul(size).filter(|words| *words <= args.len() - position - 2);
    let words = words.ok_or_else(|| {
        error(format!("ERR {} arguments should follow numfields", count.saturating_mul(size)))
    })?;
    Ok((position + 2, words))
}

/// A number of seconds that fits a session's clock.
fn seconds(arg: &[u8]) -> Result<u32, Stop> {
    let number = super::parse::integer(arg)?;
    u32::try_from(number).map_err(|_| Stop::error("ERR seconds must be 0 to 4294967295"))
}

/// An absolute deadline `seconds` from `now`; 0: none.
fn deadline(seconds: u32, now: UnixMillis) -> Option<UnixMillis> {
    (seconds > 0).then(|| now.plus(u64::from(seconds) * 1000))
}
