//! Inline commands: one line of words, for people with telnet and for health checks.
//!
//! Owns: splitting a line into arguments, with Redis' quoting rules.
//! Never knows: where the line came from.
//! Invariant: the output is never longer than the line.

use super::args::{Span, offset};

/// Splits `line` into `words`, their bytes appended to `scratch`. `None`: unbalanced quotes.
pub(super) fn split(line: &[u8], scratch: &mut Vec<u8>, words: &mut Vec<Span>) -> Option<()> {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(());
        }
        let start = offset(scratch.len());
        rest = word(rest, scratch)?;
        words.push(Span { start, end: offset(scratch.len()) });
    }
}

/// Takes one word from the front of `rest`; returns what follows it.
fn word<'a>(mut rest: &'a [u8], scratch: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [b' ' | b'\t' | b'\r' | b'\n' | 0, after @ ..] => return Some(after),
            [b'"', after @ ..] => return closed(double_quoted(after, scratch)?),
            [b'\'', after @ ..] => return closed(single_quoted(after, scratch)?),
            [byte, after @ ..] => {
                scratch.push(*byte);
                rest = after;
            }
        }
    }
}

/// A closing quote must be followed by a blank or by nothing.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(u8::is_ascii_whitespace).then_some(rest)
}

fn double_quoted<'a>(mut rest: &'a [u8], scratch: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                scratch.push(nibble(*high) << 4 | nibble(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                scratch.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                scratch.push(*byte);
                rest = after;
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], scratch: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'\'', after @ ..] => {
                scratch.push(b'\'');
                rest = after;
            }
            [b'\'', after @ ..] => return Some(after),
            [byte, after @ ..] => {
                scratch.push(*byte);
                rest = after;
            }
        }
    }
}

/// Value of one hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}
