//! Where the keys of a command are among its arguments.
//!
//! Owns: the one way to find keys; loading, transactions and COMMAND GETKEYS all use it.
//! Never knows: what a command does with them.
//! Invariant: whatever the arguments are, positions stay within them.

use super::Command;
use crate::resp::{Args, parse_i64};

/// Positions of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// There are none.
    None,
    /// From argument `first` to `last`, every `step`; negative `last` counts from the end (-1 is
    /// the last argument).
    Range {
        /// First position.
        first: usize,
        /// Last position.
        last: isize,
        /// Distance.
        step: usize,
    },
    /// Argument `at` is their number, and they follow it.
    Counted {
        /// Position of the number.
        at: usize,
    },
    /// The first argument is one, the second the number of the others, which follow it.
    TargetAndCounted,
    /// The first argument is one, and what follows the last of `words` at or behind argument `from`.
    Storing {
        /// First position of the words.
        from: usize,
        /// In lower case.
        words: &'static [&'static str],
    },
}

impl Keys {
    /// One key, the first argument.
    pub const ONE: Keys = Keys::at(1);
    /// All arguments.
    pub const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };

    /// One key, argument `position`.
    #[expect(clippy::cast_possible_wrap, reason = "positions are small constants")]
    pub const fn at(position: usize) -> Keys {
        Keys::Range { first: position, last: position as isize, step: 1 }
    }

    /// Whether there may be more than one.
    pub fn may_be_many(self) -> bool {
        match self {
            Keys::None => false,
            Keys::Range { first, last, .. } => last < 0 || last.unsigned_abs() > first,
            Keys::Counted { .. } | Keys::TargetAndCounted | Keys::Storing { .. } => true,
        }
    }

    /// The keys among `args`.
    pub fn of(self, args: Args<'_>) -> impl Iterator<Item = &[u8]> + use<'_> {
        let target = match self {
            Keys::TargetAndCounted => args.get(1),
            Keys::Storing { from, words } => stored(args, from, words),
            _ => None,
        };
        let (first, end, step) = self.positions(args);
        let others = (first..end).step_by(step).filter_map(move |position| args.get(position));
        target.into_iter().chain(others)
    }

    fn positions(self, args: Args<'_>) -> (usize, usize, usize) {
        match self {
            Keys::None => (0, 0, 1),
            Keys::Storing { .. } => (1, 2.min(args.len()), 1),
            Keys::Range { first, last, step } => {
                let end = match usize::try_from(last) {
                    Ok(last) => last + 1,
                    Err(_) => (args.len() + 1).saturating_sub(last.unsigned_abs()),
                };
                (first, end.min(args.len()), step)
            }
            Keys::Counted { .. } | Keys::TargetAndCounted => {
                let at = if let Keys::Counted { at } = self { at } else { 2 };
                let count = args.get(at).and_then(crate::resp::parse_i64).unwrap_or(0);
                let count = usize::try_from(count).unwrap_or(0);
                (at + 1, (at + 1).saturating_add(count).min(args.len()), 1)
            }
        }
    }

    /// First position, last position and step as COMMAND shows them; zeros if there are none or
    /// they can only be found by counting.
    pub fn legacy(self) -> (i64, i64, i64) {
        let number = |n: usize| i64::try_from(n).unwrap_or(0);
        match self {
            Keys::Range { first, last, step } => {
                (number(first), i64::try_from(last).unwrap_or(0), number(step))
            }
            Keys::TargetAndCounted | Keys::Storing { .. } => (1, 1, 1),
            Keys::None | Keys::Counted { .. } => (0, 0, 0),
        }
    }
}

/// Where a command stores its result that says so by one of `words`.
fn stored<'a>(args: Args<'a>, from: usize, words: &[&str]) -> Option<&'a [u8]> {
    let says =
        |at: &usize| words.iter().any(|word| args[*at].eq_ignore_ascii_case(word.as_bytes()));
    let store = (from..args.len()).rev().find(says)?;
    args.get(store + 1)
}

impl Command {
    /// The keys among `args` with their databases, for a client that has `db` selected.
    pub fn keys_in<'a>(
        &self,
        db: u16,
        args: Args<'a>,
    ) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        self.keys.of(args).map(move |key| (db, key)).chain(other_key(self.name, args))
    }
}

/// The key that COPY with DB, and MOVE, have in another database.
fn other_key<'a>(name: &str, args: Args<'a>) -> Option<(u16, &'a [u8])> {
    let (db, key) = match name {
        "move" => (args.get(2), args.get(1)?),
        "copy" => {
            let option = args.from(3).iter().position(|word| word.eq_ignore_ascii_case(b"db"))?;
            (args.get(3 + option + 1), args.get(2)?)
        }
        _ => return None,
    };
    Some((database(db?)?, key))
}

/// The database that `command` selects, if it does.
pub fn selected_by(command: &Command, args: Args<'_>) -> Option<u16> {
    if command.name == "select" { database(args.get(1)?) } else { None }
}

fn database(arg: &[u8]) -> Option<u16> {
    u16::try_from(parse_i64(arg)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn found(keys: Keys, line: &str) -> Vec<String> {
        let mut args = OwnedArgs::default();
        line.split(' ').for_each(|word| args.push(word.as_bytes()));
        keys.of(args.view()).map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }

    #[test]
    fn keys_are_found_and_positions_stay_within_the_arguments() {
        let msetlike = Keys::Range { first: 1, last: -1, step: 2 };
        let copylike = Keys::Range { first: 1, last: 2, step: 1 };
        let counted = Keys::Counted { at: 2 };
        assert_eq!(found(Keys::ONE, "get a"), ["a"]);
        assert_eq!(found(Keys::ALL, "del a b c"), ["a", "b", "c"]);
        assert_eq!(found(msetlike, "mset a 1 b 2"), ["a", "b"]);
        assert_eq!(found(copylike, "copy a b REPLACE"), ["a", "b"]);
        assert_eq!(found(counted, "eval s 2 a b c"), ["a", "b"]);
        let storing = Keys::TargetAndCounted;
        assert_eq!(found(storing, "zunionstore t 2 a b WEIGHTS 1 2"), ["t", "a", "b"]);
        assert_eq!(found(storing, "zunionstore t x a"), ["t"]);
        let sort = Keys::Storing { from: 2, words: &["store"] };
        assert_eq!(found(sort, "sort a BY x LIMIT 0 1 store t"), ["t", "a"]);
        assert_eq!(found(sort, "sort a store"), ["a"]);
        assert_eq!(found(sort, "sort"), Vec::<String>::new());
        let geo = Keys::Storing { from: 6, words: &["store", "storedist"] };
        assert_eq!(found(geo, "georadius a 1 2 3 m STOREDIST t"), ["t", "a"]);
        assert_eq!(found(geo, "georadius a store 2 3 m"), ["a"]);
        for count in ["99", "-1", "9223372036854775807", "x", "0"] {
            let keys = found(counted, &format!("eval s {count} a"));
            assert!(keys.len() <= 1, "{count}");
        }
        assert_eq!(found(counted, "eval"), Vec::<String>::new());
        assert_eq!(found(Keys::ONE, "get"), Vec::<String>::new());
    }
}
