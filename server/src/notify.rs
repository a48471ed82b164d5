//! Keyspace events: which are published, and under which channel names.
//!
//! Owns: Redis' letters for classes of events.
//! Never knows: subscribers.
//! Invariant: what CONFIG SET accepts, CONFIG GET shows in Redis' canonical order.
//! Source: <https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/>

/// Publish under `__keyspace@<db>__:<key>`.
pub const KEYSPACE: u32 = 1;
/// Publish under `__keyevent@<db>__:<event>`.
pub const KEYEVENT: u32 = 1 << 1;
/// Commands that are not of one type: DEL, EXPIRE, RENAME.
pub const GENERIC: u32 = 1 << 2;
/// String commands.
pub const STRING: u32 = 1 << 3;
/// List commands.
pub const LIST: u32 = 1 << 4;
/// Set commands.
pub const SET: u32 = 1 << 5;
/// Sorted set commands.
pub const ZSET: u32 = 1 << 6;
/// Hash commands.
pub const HASH: u32 = 1 << 7;
/// Keys that expired.
pub const EXPIRED: u32 = 1 << 9;
/// Events of types that Redis does not have.
pub const MODULE: u32 = 1 << 13;
/// Keys that did not exist before.
pub const NEW: u32 = 1 << 12;

/// The classes that `A` stands for; all but `m` (misses) and `n` (new keys).
const ALL: u32 = 0b1111_1111_1100 & !(1 << 11) | 1 << 13;

/// Letters in the order in which Redis shows them.
const LETTERS: [(char, u32); 14] = [
    ('g', GENERIC),
    ('$', STRING),
    ('l', LIST),
    ('s', SET),
    ('h', HASH),
    ('z', ZSET),
    ('x', EXPIRED),
    ('e', 1 << 10),
    ('t', 1 << 8),
    ('d', MODULE),
    ('n', NEW),
    ('K', KEYSPACE),
    ('E', KEYEVENT),
    ('m', 1 << 11),
];

/// Reads classes of events.
///
/// # Errors
/// A letter that is none.
pub fn parse_classes(text: &str) -> Result<u32, String> {
    let mut classes = 0;
    for letter in text.chars() {
        classes |= match LETTERS.iter().find(|(l, _)| *l == letter) {
            Some((_, class)) => *class,
            None if letter == 'A' => ALL,
            None => return Err(format!("'{letter}' is not one of the letters KEg$lshzxetdnmA")),
        };
    }
    Ok(classes)
}

/// Writes classes of events as Redis does.
pub fn format_classes(classes: u32) -> String {
    let mut text = String::new();
    let mut rest = classes;
    if classes & ALL == ALL {
        text.push('A');
        rest &= !ALL;
    }
    text.extend(LETTERS.iter().filter(|(_, class)| rest & class != 0).map(|(letter, _)| letter));
    text
}

/// Channel and message of every way in which an event of a key is published.
pub fn messages(
    wanted: u32,
    class: u32,
    db: u16,
    event: &str,
    key: &[u8],
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let on = |way: u32| wanted & class != 0 && wanted & way != 0;
    let keyspace = on(KEYSPACE).then(|| {
        let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
        (channel, event.as_bytes().to_vec())
    });
    let keyevent =
        on(KEYEVENT).then(|| (format!("__keyevent@{db}__:{event}").into_bytes(), key.to_vec()));
    keyspace.into_iter().chain(keyevent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_read_back_in_canonical_order() {
        for (given, shown) in [("", ""), ("xgE", "gxE"), ("AKE", "AKE"), ("g$lshzxetdKE", "AKE")] {
            assert_eq!(parse_classes(given).map(format_classes), Ok(shown.to_owned()));
        }
        assert!(parse_classes("Q").is_err());
    }
}
