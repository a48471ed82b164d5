//! DUMP and RESTORE.
//!
//! Owns: their options. The format is Emberlog's own; see `value::dump`.
//! Never knows: how values of any type are laid out.
//! Invariant: what does not verify is refused before anything is written.

use emberlog_engine::UnixMillis;

use super::parse::{Clock, integer, is};
use super::table::flag::{DENYOOM, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::Args;
use crate::value::{Kind, dump};

const fn entry(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Generic, "2.6.0", summary, handler).keys(Keys::ONE)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("dump", 2, "Returns a value in Emberlog's own format.", |cx, args| {
        let key = cx.key(&args[1])?;
        match cx.find(&key)? {
            None => cx.reply.null(),
            Some(found) => {
                let kind = Kind::of_tag(found.value_type).ok_or(text::MALFORMED)?;
                cx.reply.bulk(&dump::encode(kind, &found.value));
            }
        }
        Ok(())
    })
    .flags(READONLY | TIMED),
    entry("restore", -4, "Makes a key of what DUMP returned.", restore)
        .flags(WRITE | DENYOOM | TIMED),
];

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
}

impl Options {
    /// IDLETIME and FREQ are checked and then left: neither is kept for keys.
    fn parse(args: Args<'_>) -> Result<Options, Stop> {
        let mut options = Options::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            match word {
                word if is(word, "replace") => options.replace = true,
                word if is(word, "absttl") => options.absolute = true,
                word if is(word, "idletime") => {
                    if integer(words.next().ok_or(text::SYNTAX)?)? < 0 {
                        return Err(Stop::error("ERR Invalid IDLETIME value, must be >= 0"));
                    }
                }
                word if is(word, "freq") => {
                    if !(0..=255).contains(&integer(words.next().ok_or(text::SYNTAX)?)?) {
                        return Err(Stop::error("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                    }
                }
                _ => return Err(text::SYNTAX),
            }
        }
        Ok(options)
    }
}

fn restore(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    const INVALID_TTL: Stop = Stop::error("ERR Invalid TTL value, must be >= 0");
    let options = Options::parse(args.from(4))?;
    let key = cx.key(&args[1])?;
    let exists = cx.find_to_replace(&key)?.is_some();
    if exists && !options.replace {
        return Err(Stop::error("BUSYKEY Target key name already exists."));
    }
    let ttl = integer(&args[2])?;
    if ttl < 0 {
        return Err(INVALID_TTL);
    }
    let Some((kind, value)) = dump::decode(&args[3]) else {
        return Err(Stop::error("ERR DUMP payload version or checksum are wrong"));
    };
    let clock = if options.absolute { Clock::PXAT } else { Clock::PX };
    let expires_at = match ttl {
        0 => None,
        ttl => {
            let moment = clock.moment(ttl, cx.now).and_then(|at| u64::try_from(at).ok());
            Some(UnixMillis(moment.ok_or(INVALID_TTL)?))
        }
    };
    cx.room(value.len())?;
    if expires_at.is_some_and(|at| at <= cx.now) {
        if cx.delete(&key)? {
            cx.notify(notify::GENERIC, "del", &args[1]);
        }
    } else {
        if kind == Kind::Hash {
            super::hash::restore(cx, &key, value, expires_at)?;
        } else {
            cx.put(&key, kind, value, expires_at)?;
        }
        cx.notify(notify::GENERIC, "restore", &args[1]);
    }
    cx.reply.ok();
    Ok(())
}
