//! Commands about keys whatever their type: DEL, EXISTS, TYPE, OBJECT, DBSIZE, FLUSHALL.
//!
//! Owns: nothing but these handlers.
//! Never knows: the layout of values.
//! Invariant: a key lost to corruption can always be deleted.

use emberlog_engine::{Found, Key};

use super::parse::is;
use super::table::flag::{DANGEROUS, FAST, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, text};
use crate::notify;
use crate::resp::{Args, parse_i64};
use crate::value::Kind;

const fn entry(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    handler: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Generic, since, summary, handler).keys(Keys::ALL)
}

pub(super) static COMMANDS: &[Command] = &[
    entry("del", -2, "1.0.0", "Deletes keys.", delete).flags(WRITE | TIMED),
    entry("unlink", -2, "4.0.0", "Deletes keys; the same as DEL.", delete)
        .flags(WRITE | FAST | TIMED),
    entry("exists", -2, "1.0.0", "Counts the given keys that exist.", exists)
        .flags(READONLY | FAST),
    entry("touch", -2, "3.2.1", "Counts the given keys that exist, as an access.", exists)
        .flags(READONLY | FAST),
    entry("type", 2, "1.0.0", "Returns the type of the value of a key.", kind)
        .flags(READONLY | FAST)
        .keys(Keys::ONE),
    entry("object", -2, "2.2.3", "About the representation of a value.", super::container)
        .keys(Keys::None)
        .subcommands(OBJECT),
    Command::new("dbsize", 1, Group::Server, "1.0.0", "Returns the number of keys.", dbsize)
        .flags(READONLY | FAST),
    Command::new("flushdb", -1, Group::Server, "1.0.0", "Deletes all keys of the database.", flush)
        .flags(WRITE | DANGEROUS | TIMED),
    Command::new("flushall", -1, Group::Server, "1.0.0", "Deletes all keys.", flush)
        .flags(WRITE | DANGEROUS | TIMED),
];

const fn object(name: &'static str, summary: &'static str, handler: super::Handler) -> Command {
    Command::new(name, 3, Group::Generic, "2.2.3", summary, handler)
        .keys(Keys::at(2))
        .flags(READONLY)
}

static OBJECT: &[Command] = &[
    object("encoding", "Returns the encoding of a value.", encoding),
    object("freq", "Answers an error: frequencies of access are not shown.", |_, _| {
        Err(Stop::error(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
             Please note that when switching between policies at runtime LRU and LFU data will \
             take some time to adjust.",
        ))
    }),
    object("idletime", "Returns 0: idle times are not tracked.", constant_of_key),
    object("refcount", "Returns 1: values are not shared.", constant_of_key),
];

fn delete(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 2 {
        let key = cx.key(&args[1])?;
        let deleted = delete_one(cx, &key)?;
        cx.reply.integer(i64::from(deleted));
        return Ok(());
    }
    let mut keys = Vec::with_capacity(args.len() - 1);
    for name in args.iter().skip(1) {
        let key = cx.key(name)?;
        cx.exists(&key)?;
        keys.push(key);
    }
    let mut deleted = 0;
    cx.together(|cx| {
        for key in &keys {
            deleted += i64::from(delete_one(cx, key)?);
        }
        Ok(())
    })?;
    cx.reply.integer(deleted);
    Ok(())
}

fn delete_one(cx: &mut Context<'_>, key: &Key<'_>) -> Result<bool, Stop> {
    if !cx.exists(key)? {
        return Ok(false);
    }
    let deleted = cx.delete_for_good(key)?;
    if deleted {
        cx.notify(notify::GENERIC, "del", key.bytes());
    }
    Ok(deleted)
}

fn exists(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut count = 0;
    for name in args.iter().skip(1) {
        let key = cx.key(name)?;
        let exists = cx.exists(&key)?;
        cx.count_read(exists);
        count += i64::from(exists);
    }
    cx.reply.integer(count);
    Ok(())
}

fn kind(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[1])?;
    let found = cx.find_any(&key)?;
    let name =
        found.map_or("none", |found| Kind::of_tag(found.value_type).map_or("unknown", Kind::name));
    cx.reply.simple(name);
    Ok(())
}

/// Longest string that Redis embeds in its key's object, and what it keeps in one piece; clients
/// only show the names.
const EMBSTR_MAX: usize = 44;
const LISTPACK_MAX: usize = 128;
const LISTPACK_HASH_MAX: usize = 512;
const LISTPACK_ITEM_MAX: usize = 64;
const LISTPACK_BYTES_MAX: usize = 8 << 10;
const INTSET_MAX: usize = 512;

/// The encoding that Redis would use.
fn encoding_of(cx: &Context<'_>, found: &Found) -> Result<&'static str, Stop> {
    let small = |item: &[u8]| item.len() <= LISTPACK_ITEM_MAX;
    let either = |is_first, first, second| if is_first { first } else { second };
    Ok(match Kind::of_tag(found.value_type) {
        Some(Kind::Hash) => {
            let hash = super::hash::view(cx, Some(found))?;
            let fits = hash.pairs().all(|(field, value)| small(field) && small(value));
            either(fits && hash.len() <= LISTPACK_HASH_MAX, "listpack", "hashtable")
        }
        Some(Kind::Set) => {
            let set = super::set::view(Some(found))?;
            if set.len() <= INTSET_MAX && set.members().all(|m| parse_i64(m).is_some()) {
                return Ok("intset");
            }
            either(set.len() <= LISTPACK_MAX && set.members().all(small), "listpack", "hashtable")
        }
        Some(Kind::ZSet) => {
            let set = super::zset::view(Some(found))?;
            let fits = set.entries().all(|(_, member)| small(member));
            either(set.len() <= LISTPACK_MAX && fits, "listpack", "skiplist")
        }
        Some(Kind::List) => {
            either(found.value.len() <= LISTPACK_BYTES_MAX, "listpack", "quicklist")
        }
        _ if found.chunked.is_some() => "raw",
        _ if parse_i64(&found.value).is_some() => "int",
        _ if found.value.len() <= EMBSTR_MAX => "embstr",
        _ => "raw",
    })
}

fn encoding(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[2])?;
    let Some(found) = cx.find_any(&key)? else {
        cx.reply.null();
        return Ok(());
    };
    let name = encoding_of(cx, &found)?;
    cx.reply.bulk(name.as_bytes());
    Ok(())
}

/// OBJECT IDLETIME and OBJECT REFCOUNT.
fn constant_of_key(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(&args[2])?;
    match cx.find_any(&key)? {
        Some(_) => cx.reply.integer(i64::from(is(&args[1], "refcount"))),
        None => cx.reply.null(),
    }
    Ok(())
}

fn dbsize(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let db = cx.session.db;
    cx.observe_all()?;
    let len = cx.count_keys(db)?;
    cx.reply.integer(i64::try_from(len).unwrap_or(i64::MAX));
    Ok(())
}

/// FLUSHDB and FLUSHALL. Both are a few bytes in the log, so ASYNC and SYNC are the same.
fn flush(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match args.get(1) {
        None => {}
        Some(word) if args.len() == 2 && (is(word, "async") || is(word, "sync")) => {}
        Some(_) => return Err(text::SYNTAX),
    }
    if is(&args[0], "flushdb") {
        let db = cx.session.db;
        cx.clear(db)?;
    } else {
        cx.together(|cx| {
            for db in 0..cx.state.config.databases {
                cx.clear(db)?;
            }
            Ok(())
        })?;
    }
    cx.reply.ok();
    Ok(())
}
