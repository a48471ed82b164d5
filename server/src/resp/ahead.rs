//! A glance at the commands that wait in the input, for what they will look up.
//!
//! Owns: [`names`].
//! Never knows: what a command does; it takes every first argument for a key.
//! Invariant: advice only. It skips what it does not understand and stops at what is not all there,
//! and whatever it returns changes no outcome.

use super::parse::short_number;

/// Arguments of a command beyond which it is not worth the walk.
const ARGS_MAX: i64 = 8;

/// The first arguments of the whole commands at the front of `input`.
pub fn names(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (name, after) = first_argument(rest)?;
        rest = after;
        Some(name)
    })
}

/// The first argument of the command that `input` begins with, and what follows the command.
fn first_argument(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = header(input, b'*')?;
    if !(2..=ARGS_MAX).contains(&count) {
        return None;
    }
    let (_, rest) = argument(rest)?;
    let (name, mut rest) = argument(rest)?;
    for _ in 2..count {
        (_, rest) = argument(rest)?;
    }
    Some((name, rest))
}

fn argument(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = header(input, b'$')?;
    let length = usize::try_from(length).ok()?;
    Some((rest.get(..length)?, rest.get(length + 2..)?))
}

fn header(input: &[u8], mark: u8) -> Option<(i64, &[u8])> {
    let (first, rest) = input.split_first()?;
    let (number, length) = short_number(rest).filter(|_| *first == mark)?;
    Some((number, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_arguments_of_whole_commands() {
        let input =
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$2\r\nbb\r\n$4\r\n\r\n\r\n\r\n\
            *2\r\n$3\r\nGET\r\n$1\r\nc\r\n*2\r\n$3\r\nGET\r\n$9\r\nc\r\n";
        assert_eq!(names(input).collect::<Vec<_>>(), [&b"a"[..], b"bb", b"c"]);
        for cut in 0..input.len() {
            assert!(names(&input[..cut]).count() <= 3);
        }
    }

    #[test]
    fn what_is_not_understood_ends_the_glance() {
        for input in [&b""[..], b"GET a\r\n", b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$-1\r\n", b"*9\r\n"]
        {
            assert_eq!(names(input).count(), 0, "{}", input.escape_ascii());
        }
    }
}
