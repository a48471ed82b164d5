//! EVAL without an interpreter: the four scripts that session plugins send, by their SHA-1.
//!
//! Owns: what those scripts mean; SCRIPT LOAD, EXISTS, FLUSH.
//! Never knows: Lua.
//! Invariant: a script that is not one of them is refused clearly and never half understood.
//! Source: phpredis, redis-py and Laravel; the digests are those of the exact texts they send.

use sha1::{Digest, Sha1};

use super::parse::{Clock, error, integer, is};
use super::table::flag::{NOSCRIPT, STALE, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop};
use crate::notify;
use crate::resp::Args;
use crate::value::Kind;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Scripting, since, summary, handler)
        .keys(Keys::Counted { at: 2 })
        .flags(NOSCRIPT | STALE | WRITE | TIMED)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("eval", -3, "2.6.0", "Runs one of the scripts that are known.", eval),
    entry("evalsha", -3, "2.6.0", "Runs one of the scripts that are known, by digest.", evalsha),
    entry("script", -2, "2.6.0", "About scripts.", super::container)
        .keys(Keys::None)
        .flags(NOSCRIPT | STALE)
        .subcommands(SUBCOMMANDS),
];

const fn sub(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Scripting, "2.6.0", summary, run).flags(NOSCRIPT | STALE)
}

static SUBCOMMANDS: &[Command] = &[
    sub("load", 3, "Remembers a script and returns its digest.", load),
    sub("exists", -3, "Tells which scripts are remembered.", exists),
    sub("flush", -2, "Forgets the remembered scripts.", flush),
    sub("kill", 2, "Answers that no script is running.", |_, _| {
        Err(Stop::error("NOTBUSY No scripts in execution right now."))
    }),
];

/// What a known script does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// If the value of the key is the argument, delete the key.
    DeleteIfEqual,
    /// If the key does not exist, set it to the first argument for the second's seconds.
    SetIfAbsent,
}

const KNOWN: [(&str, Known); 4] = [
    // phpredis, release of a session lock
    ("b70c2384248f88e6b75b9f89241a180f856ad852", Known::DeleteIfEqual),
    // redis-py, Lock.release
    ("c3f8721cbb97f72bc19e972846bd7aaf91901658", Known::DeleteIfEqual),
    // Laravel, releaseLock
    ("647c65a442733a1aa440f99908d249d13b4d6c4a", Known::DeleteIfEqual),
    // Laravel, Cache::add
    ("a08c9c69b7c07ae2485190873b90d128a23e502d", Known::SetIfAbsent),
];

/// Scripts remembered by SCRIPT LOAD at most.
const REMEMBERED_MAX: usize = 10_000;

type Sha = [u8; 20];

fn digest(body: &[u8]) -> Sha {
    let mut sha = Sha1::new();
    sha.update(body);
    sha.finalize().into()
}

fn hex(sha: &Sha) -> String {
    crate::process::hex(sha)
}

fn parse_hex(text: &[u8]) -> Option<Sha> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 40 && text.is_ascii())?;
    let mut sha = [0; 20];
    for (at, byte) in sha.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(sha)
}

fn known(sha: &Sha) -> Option<Known> {
    let hex = hex(sha);
    KNOWN.iter().find(|(digest, _)| *digest == hex).map(|(_, known)| *known)
}

fn remember(cx: &mut Context<'_>, sha: Sha) {
    if cx.state.scripts.len() < REMEMBERED_MAX {
        cx.state.scripts.insert(sha);
    }
}

fn eval(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let sha = digest(&args[1]);
    run(cx, args, sha)?;
    remember(cx, sha);
    Ok(())
}

fn evalsha(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let sha = parse_hex(&args[1]).filter(|sha| cx.state.scripts.contains(sha));
    let sha = sha.ok_or(Stop::error("NOSCRIPT No matching script. Please use EVAL."))?;
    run(cx, args, sha)
}

fn run(cx: &mut Context<'_>, args: Args<'_>, sha: Sha) -> Outcome {
    let count = integer(&args[2])?;
    let count =
        usize::try_from(count).map_err(|_| Stop::error("ERR Number of keys can't be negative"))?;
    if count > args.len() - 3 {
        return Err(Stop::error("ERR Number of keys can't be greater than number of args"));
    }
    let Some(known) = known(&sha) else {
        return Err(error(format!(
            "ERR this script is not one that emberlog knows (sha1 {}); scripts in general are \
             not supported",
            hex(&sha)
        )));
    };
    let (keys, rest) = (args.from(3).first(count), args.from(3 + count));
    let missing = || Stop::error("ERR the script needs one key and its arguments");
    let key = keys.get(0).ok_or_else(missing)?;
    let value = rest.get(0).ok_or_else(missing)?;
    match known {
        Known::DeleteIfEqual => delete_if_equal(cx, key, value),
        Known::SetIfAbsent => set_if_absent(cx, key, value, rest.get(1).ok_or_else(missing)?),
    }
}

fn delete_if_equal(cx: &mut Context<'_>, name: &[u8], value: &[u8]) -> Outcome {
    let key = cx.key(name)?;
    let equal = cx.find_string(&key)?.is_some_and(|found| found.value.as_ref() == value);
    if equal {
        cx.delete(&key)?;
        cx.notify(notify::GENERIC, "del", name);
    }
    cx.reply.integer(i64::from(equal));
    Ok(())
}

fn set_if_absent(cx: &mut Context<'_>, name: &[u8], value: &[u8], seconds: &[u8]) -> Outcome {
    let expires_at = Clock::EX.positive(seconds, cx.now, "setex")?;
    let key = cx.key(name)?;
    if cx.exists(&key)? {
        // What Lua's false becomes.
        cx.reply.null();
        return Ok(());
    }
    cx.room(value.len())?;
    cx.put(&key, Kind::String, value, Some(expires_at))?;
    cx.notify(notify::STRING, "set", name);
    cx.notify(notify::GENERIC, "expire", name);
    cx.reply.ok();
    Ok(())
}

fn load(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let sha = digest(&args[2]);
    remember(cx, sha);
    cx.reply.bulk(hex(&sha).as_bytes());
    Ok(())
}

fn exists(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    cx.reply.array(args.len() - 2);
    for sha in args.iter().skip(2) {
        let loaded = parse_hex(sha).is_some_and(|sha| cx.state.scripts.contains(&sha));
        cx.reply.integer(i64::from(loaded));
    }
    Ok(())
}

fn flush(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match args.get(2) {
        None => {}
        Some(word) if args.len() == 3 && (is(word, "async") || is(word, "sync")) => {}
        Some(_) => {
            return Err(Stop::error("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
        }
    }
    cx.state.scripts.clear();
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHPREDIS: &str = "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return \
        redis.call(\"del\",KEYS[1]) else return 0 end";
    const REDIS_PY: &str = "
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        redis.call('del', KEYS[1])
        return 1
    ";
    const LARAVEL_RELEASE: &str = "if redis.call(\"get\",KEYS[1]) == ARGV[1] then
    return redis.call(\"del\",KEYS[1])
else
    return 0
end";
    const LARAVEL_ADD: &str =
        "return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])";

    #[test]
    fn the_texts_that_clients_send_are_known() {
        for (body, (sha, meaning)) in
            [PHPREDIS, REDIS_PY, LARAVEL_RELEASE, LARAVEL_ADD].into_iter().zip(KNOWN)
        {
            assert_eq!(hex(&digest(body.as_bytes())), sha);
            assert_eq!(known(&digest(body.as_bytes())), Some(meaning));
        }
        assert_eq!(known(&digest(b"return 1")), None);
    }

    #[test]
    fn digests_are_read_in_any_case() {
        let sha = digest(b"return 1");
        assert_eq!(parse_hex(hex(&sha).as_bytes()), Some(sha));
        assert_eq!(parse_hex(hex(&sha).to_uppercase().as_bytes()), Some(sha));
        for bad in ["", "xyz", &"g".repeat(40), &"é".repeat(20)] {
            assert_eq!(parse_hex(bad.as_bytes()), None);
        }
    }
}
