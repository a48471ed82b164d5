//! When two replies are the same.
//!
//! Owns: which replies have no order, are random, tell the time, or are numbers. Must never know: servers.
//! Invariant: whatever is not listed here is compared to the last byte.

use super::generate::Command;
use super::wire::Value;

/// Replies whose order means nothing.
const UNORDERED: [&str; 10] = [
    "smembers", "sinter", "sunion", "sdiff", "hkeys", "hvals", "hgetall", "keys", "sscan", "hscan",
];
/// Replies whose members are random: only their number and shape are compared.
const RANDOM: [&str; 4] = ["srandmember", "hrandfield", "zrandmember", "randomkey"];
/// Replies that tell a time, and by how much they may differ.
const TIMES: [(&str, i64); 8] = [
    ("ttl", 2),
    ("pttl", 2_000),
    ("expiretime", 2),
    ("pexpiretime", 2_000),
    ("httl", 2),
    ("hpttl", 2_000),
    ("hexpiretime", 2),
    ("hpexpiretime", 2_000),
];

/// Name of a command in lower case.
pub fn name(command: &Command) -> String {
    command.first().map(|name| String::from_utf8_lossy(name).to_lowercase()).unwrap_or_default()
}

/// Whether `a` and `b` are the same reply to `command`.
pub fn same(command: &Command, a: &Value, b: &Value) -> bool {
    let name = name(command);
    if RANDOM.contains(&name.as_str()) || name == "spop" {
        return shape(a) == shape(b);
    }
    if let Some((_, slack)) = TIMES.iter().find(|(timed, _)| *timed == name) {
        return same_times(a, b, *slack);
    }
    let numbers = name.starts_with('z')
        || name.starts_with("bz")
        || name.contains("float")
        || name.starts_with("geo");
    let (mut a, mut b) = (a.clone(), b.clone());
    // Elements of equal weight come in any order.
    let has = |word: &str| command.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    if name == "sort" && has("by") && has("alpha") {
        sort(&mut a);
        sort(&mut b);
    }
    // Places come in any order unless one is asked for; a count without one means the nearest.
    let searches = name.starts_with("georadius") || name.starts_with("geosearch");
    if searches && !["asc", "desc", "count"].into_iter().any(has) {
        sort(&mut a);
        sort(&mut b);
    }
    if name == "zscan" {
        by_member(&mut a);
        by_member(&mut b);
    }
    if UNORDERED.contains(&name.as_str()) {
        sort(&mut a);
        sort(&mut b);
    }
    equal(&a, &b, numbers)
}

/// Whether times, or arrays of them, are the same but for `slack`.
fn same_times(a: &Value, b: &Value, slack: i64) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a == b || *a > 0 && *b > 0 && (a - b).abs() <= slack,
        (Value::Many('*', a), Value::Many('*', b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_times(a, b, slack))
        }
        _ => a == b,
    }
}

/// Sorts the pairs of members and scores that ZSCAN lists.
fn by_member(reply: &mut Value) {
    let Value::Many(_, parts) = reply else { return };
    if let Some(Value::Many(_, items)) = parts.get_mut(1) {
        let mut pairs: Vec<Vec<Value>> = items.chunks(2).map(<[Value]>::to_vec).collect();
        pairs.sort_by(|a, b| a[0].cmp(&b[0]));
        *items = pairs.concat();
    }
}

/// Sorts what has no order, also one level below; pairs of a map stay together.
fn sort(value: &mut Value) {
    let Value::Many(tag, items) = value else { return };
    items.iter_mut().for_each(sort);
    if *tag == '%' {
        let mut pairs: Vec<Vec<Value>> = items.chunks(2).map(<[Value]>::to_vec).collect();
        pairs.sort();
        *items = pairs.concat();
    } else {
        items.sort();
    }
}

/// What a reply looks like without its contents.
fn shape(value: &Value) -> String {
    match value {
        Value::Many(tag, items) => {
            let items: Vec<String> = items.iter().map(shape).collect();
            format!("{tag}{items:?}")
        }
        Value::Error(text) => text.clone(),
        Value::Bulk(_) => "$".to_owned(),
        Value::Double(_) => ",".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Whether two keys are left alike, as `dump` shows them: a number of more digits than a long double has may
/// be rounded, as docs/COMPATIBILITY.md says of INCRBYFLOAT.
pub fn same_left(a: &str, b: &str) -> bool {
    let number = |text: &str| {
        let (digits, rest) = text.strip_prefix("+string \"")?.split_once('"')?;
        let long = digits.bytes().filter(u8::is_ascii_digit).count() > 18;
        Some((digits.parse::<f64>().ok().filter(|_| long)?.to_bits(), rest.to_owned()))
    };
    a == b || number(a).is_some() && number(a) == number(b)
}

fn equal(a: &Value, b: &Value, numbers: bool) -> bool {
    match (a, b) {
        (Value::Many(a_tag, a), Value::Many(b_tag, b)) => {
            a_tag == b_tag
                && a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| equal(a, b, numbers))
        }
        (Value::Double(a), Value::Double(b)) => number(a.as_bytes()) == number(b.as_bytes()),
        (Value::Bulk(a), Value::Bulk(b)) if numbers && a != b => {
            number(a).is_some() && number(a) == number(b)
        }
        _ => a == b,
    }
}

/// Bits of a double, so that 0 and -0 differ.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<f64>().ok().map(f64::to_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn bulks(words: &str) -> Value {
        Value::Many('*', words.split(' ').map(|word| Value::Bulk(word.into())).collect())
    }

    #[test]
    fn only_what_is_listed_is_compared_loosely() {
        for (line, a, b, expected) in [
            ("SMEMBERS s", "a b", "b a", true),
            ("LRANGE l 0 1", "a b", "b a", false),
            ("ZRANGE z 0 1 WITHSCORES", "a 0.1", "a 0.10000000000000001", true),
            ("ZRANGE z 0 1 WITHSCORES", "a 0.1", "a 0.2", false),
            ("LRANGE l 0 0", "1", "1.0", false),
            ("SRANDMEMBER s 1", "a", "b", true),
            ("SRANDMEMBER s 1", "a", "a b", false),
        ] {
            assert_eq!(same(&command(line), &bulks(a), &bulks(b)), expected, "{line}: {a} / {b}");
        }
        let left = |digits: &str| format!("+string \"{digits}\" expires: false");
        let (exact, rounded) = (left("-9223372036854775809.25"), left("-9223372036854775809"));
        assert!(same_left(&exact, &rounded));
        assert!(!same_left(&left("1.25"), &left("1.250")));
        assert!(same(&command("TTL k"), &Value::Int(100), &Value::Int(99)));
        assert!(!same(&command("TTL k"), &Value::Int(100), &Value::Int(-1)));
        assert!(!same(&command("GET k"), &Value::Nil, &Value::NilArray));
    }
}
