//! Random commands from a grammar.
//!
//! Owns: what arguments look like. Must never know: what a command answers.
//! Invariant: the same seed gives the same program.
//!
//! A line of the grammar is a command in words. `@` is a key of a type, `#` a value of a kind (see `word`), `&` a
//! number and as many values of the kinds that follow,
//! `[ ... ]` may be left out, `{ ... }+` comes once or several times, `a|b` is one of several words.

use fastrand::Rng;

/// A command.
pub type Command = Vec<Vec<u8>>;

/// A random command from `lines`.
pub fn command(rng: &mut Rng, lines: &[&str]) -> Command {
    let line = lines[rng.usize(..lines.len())];
    let tokens: Vec<&str> = line.split(' ').collect();
    let mut out = Vec::new();
    expand(rng, &tokens, &mut out);
    // A blocking command with another timeout could wait for ever, and moments of expiry have different limits.
    let blocks = out[0].starts_with(b"B") && !out[0].starts_with(b"BIT");
    let expires = out[0].ends_with(b"EXPIREAT");
    if rng.u8(..) < 8 && !blocks && !expires {
        spoil(rng, &mut out);
    }
    if rng.bool() {
        out[0] = out[0].to_ascii_lowercase();
    }
    out
}

/// Position of the token that closes the group which opens at `at`.
fn closing(tokens: &[&str], at: usize) -> usize {
    let mut depth = 0;
    for (offset, token) in tokens[at..].iter().enumerate() {
        match token.chars().next() {
            Some('[' | '{') => depth += 1,
            Some(']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + offset;
        }
    }
    tokens.len() - 1
}

fn expand(rng: &mut Rng, tokens: &[&str], out: &mut Command) {
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at];
        if token == "[" || token == "{" {
            let end = closing(tokens, at);
            let times = match tokens[end] {
                "}+" => rng.usize(1..4),
                _ => usize::from(rng.u8(..100) < 40),
            };
            for _ in 0..times {
                expand(rng, &tokens[at + 1..end], out);
            }
            at = end + 1;
            continue;
        }
        let choices: Vec<&str> = token.split('|').collect();
        let choice = choices[rng.usize(..choices.len())];
        word(rng, choice, out);
        at += 1;
    }
}

/// One of the 4 keys of each type; now and then any of all of them, so that types clash.
fn key(rng: &mut Rng, kind: char) -> Vec<u8> {
    let kinds = ['s', 'l', 'z', 'h', 't', 'b'];
    let kind =
        if kind == 'k' || rng.u8(..100) < 6 { kinds[rng.usize(..kinds.len())] } else { kind };
    format!("{kind}{}", rng.u8(0..4)).into_bytes()
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and strings alike")]
fn text<T: ToString>(value: T) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn pick<'a>(rng: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[rng.usize(..choices.len())]
}

const ODD_INTEGERS: [&str; 12] = [
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "abc",
    "",
    "1.5",
    "+1",
    " 1",
    "01",
    "-0",
    "4294967296",
    "1e3",
];
const FLOATS: [&str; 14] =
    ["0", "1", "-1", "2.5", "-0.5", "1e3", "3", "7", "inf", "-inf", "+inf", "0.1", "1e17", "100"];

/// A word, a key (`@s`), several keys with their number (`%s`) or a value (`#m`).
fn word(rng: &mut Rng, word: &str, out: &mut Command) {
    let kind = word.chars().nth(1).unwrap_or(' ');
    if let Some(kinds) = word.strip_prefix('@').filter(|kinds| kinds.len() == 1) {
        return out.push(key(rng, kinds.chars().next().unwrap_or('k')));
    }
    if word.starts_with('%') && word.len() == 2 {
        let count = rng.usize(1..4);
        out.push(text(count));
        return (0..count).for_each(|_| out.push(key(rng, kind)));
    }
    if let Some(kinds) = word.strip_prefix('&').filter(|kinds| !kinds.is_empty()) {
        let count = rng.usize(1..4);
        out.push(text(count));
        let kinds: Vec<String> = kinds.chars().map(String::from).collect();
        return (0..count).for_each(|_| kinds.iter().for_each(|kind| out.push(value(rng, kind))));
    }
    if !word.starts_with('#') || word.len() < 2 {
        return out.push(word.as_bytes().to_vec());
    }
    out.push(value(rng, &word[1..]));
}

fn value(rng: &mut Rng, kind: &str) -> Vec<u8> {
    match kind {
        // A member or field.
        "m" => text(pick(rng, &["a", "b", "c", "d", "e", "f", "1", "2", "3", "10", "", "aa"])),
        // A value.
        "v" => match rng.u8(..10) {
            0 => vec![255, 0, b'\r', b'\n'],
            1 => text("x".repeat(rng.usize(..70))),
            2..=5 => text(rng.i32(-20..20)),
            _ => text(pick(rng, &["a", "b", "foo", "bar", "3.5", "", "hello world"])),
        },
        // Small integers, of either sign or not negative; any integers.
        "i" => text(rng.i32(-6..7)),
        "p" => text(rng.i32(0..6)),
        "n" if rng.u8(..100) < 12 => text(pick(rng, &ODD_INTEGERS)),
        "n" => text(rng.i32(-12..13)),
        // Scores and bounds.
        "f" => text(pick(rng, &FLOATS)),
        "F" => {
            let bound = pick(rng, &FLOATS);
            text(format!("{}{bound}", if rng.u8(..3) == 0 { "(" } else { "" }))
        }
        "L" => text(pick(rng, &["-", "+", "[a", "(a", "[c", "(c", "[e", "(", "[", "(aa", "[1"])),
        // Increments.
        "d" => text(pick(rng, &["0.5", "1", "-2.25", "1e2", "3.0", "0.1", "inf", "abc", "", "-1"])),
        // Seconds and milliseconds that do not run out; moments far away and long ago.
        "t" => text(rng.u32(100..1000)),
        "T" => text(rng.u32(100_000..1_000_000)),
        "A" => text(if rng.u8(..8) == 0 { 1 } else { 4_102_444_800 + rng.u64(..50) }),
        "M" => text(if rng.u8(..8) == 0 { 1 } else { 4_102_444_800_000 + rng.u64(..50) }),
        "P" => text(pick(rng, &["*", "a*", "?", "[a-c]", "*a*", "[^a]", "\\*", "", "1*"])),
        // Offsets in bits, and widths.
        "o" => text(rng.u16(..200)),
        "w" => text(format!("{}{}", pick(rng, &["u", "i"]), rng.u8(1..64))),
        "W" => text(format!("{}{}", pick(rng, &["", "#"]), rng.u8(..40))),
        "x" => text(rng.u8(..2)),
        // Coordinates.
        "g" => text(format!("{:.4}", rng.f64() * 40.0 - 20.0)),
        "r" => text(rng.u16(1..3000)),
        other => text(other),
    }
}

/// Makes a command wrong, or at least unusual.
fn spoil(rng: &mut Rng, command: &mut Command) {
    let at = rng.usize(1..command.len().max(2));
    match rng.u8(..4) {
        0 if command.len() > 1 => _ = command.remove(at),
        1 => command.push(value(rng, "m")),
        2 if command.len() > 1 => command[at] = text(pick(rng, &ODD_INTEGERS)),
        _ if command.len() > 1 => {
            command[at] = text(pick(rng, &["nx", "xx", "count", "limit", "nan", "-1"]));
        }
        _ => {}
    }
}
