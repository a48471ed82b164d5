//! SORT: the elements of a list, set or sorted set in another order, or what other keys hold for
//! them.
//!
//! Owns: BY and GET patterns, the two orders.
//! Never knows: the layouts of collections.
//! Invariant: all keys that patterns lead to are in RAM before the first of them is used.

use std::cmp::Ordering;

use emberlog_engine::Found;

use super::collection::replace;
use super::parse::{integer, is};
use super::table::flag::{DENYOOM, READONLY, TIMED, WRITE};
use super::{Command, Context, Group, Keys, Outcome, Stop, hash, list, set, text, zset};
use crate::resp::{Args, parse_strtod};
use crate::value::Kind;
use crate::value::list::encode;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        "sort",
        -2,
        Group::Generic,
        "1.0.0",
        "Returns the elements of a collection in order, or stores them.",
        |cx, args| sort(cx, args, false),
    )
    .keys(Keys::Storing { from: 2, words: &["store"] })
    .flags(WRITE | DENYOOM | TIMED),
    Command::new(
        "sort_ro",
        -2,
        Group::Generic,
        "7.0.0",
        "Returns the elements of a collection in order.",
        |cx, args| sort(cx, args, true),
    )
    .keys(Keys::ONE)
    .flags(READONLY | TIMED),
];

/// Options of SORT.
struct Options<'a> {
    descending: bool,
    alpha: bool,
    limit: Option<(i64, i64)>,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    target: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>, read_only: bool) -> Result<Options<'a>, Stop> {
        let mut options = Options {
            descending: false,
            alpha: false,
            limit: None,
            by: None,
            get: Vec::new(),
            target: None,
        };
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let left = args.len() - at - 1;
            match word {
                word if is(word, "asc") => options.descending = false,
                word if is(word, "desc") => options.descending = true,
                word if is(word, "alpha") => options.alpha = true,
                word if is(word, "limit") && left >= 2 => {
                    options.limit = Some((integer(&args[at + 1])?, integer(&args[at + 2])?));
                    at += 2;
                }
                word if !read_only && is(word, "store") && left >= 1 => {
                    at += 1;
                    options.target = args.get(at);
                }
                word if is(word, "by") && left >= 1 => {
                    at += 1;
                    options.by = args.get(at);
                }
                word if is(word, "get") && left >= 1 => {
                    at += 1;
                    options.get.push(args.at(at));
                }
                _ => return Err(text::SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    /// Whether the order of the collection itself is kept.
    fn keeps_order(&self) -> bool {
        self.by.is_some_and(|pattern| !pattern.contains(&b'*'))
    }

    /// Positions in a result of `len` elements.
    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let Some((offset, count)) = self.limit else { return 0..len };
        let start = usize::try_from(offset.max(0)).unwrap_or(usize::MAX).min(len);
        let count = usize::try_from(count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }

    /// Patterns that lead to other keys.
    fn patterns(&self) -> impl Iterator<Item = &'a [u8]> {
        let by = self.by.filter(|_| !self.keeps_order());
        by.into_iter().chain(self.get.iter().copied().filter(|pattern| *pattern != b"#"))
    }
}

/// The key, and the field if any, that `pattern` stands for with `element`.
fn target_of<'p>(pattern: &'p [u8], element: &[u8]) -> Option<(Vec<u8>, Option<&'p [u8]>)> {
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let rest = &pattern[star + 1..];
    let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < rest.len());
    let (tail, field) = match arrow {
        Some(at) => (&rest[..at], Some(&rest[at + 2..])),
        None => (rest, None),
    };
    Some(([&pattern[..star], element, tail].concat(), field))
}

/// What `pattern` leads to with `element`.
fn follow(cx: &mut Context<'_>, pattern: &[u8], element: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
    if pattern == b"#" {
        return Ok(Some(element.to_vec()));
    }
    let Some((name, field)) = target_of(pattern, element) else { return Ok(None) };
    let key = cx.key(&name)?;
    let Some(found) = cx.find(&key)? else { return Ok(None) };
    let wanted = if field.is_some() { Kind::Hash } else { Kind::String };
    if found.value_type != wanted.tag() {
        return Ok(None);
    }
    let Some(field) = field else { return Ok(Some(found.value.to_vec())) };
    let value = hash::view(cx, Some(&found))?.get(field);
    Ok(value.map(<[u8]>::to_vec))
}

/// Looks up what the patterns lead to. If some of it is not in RAM, it is loaded with the keys of
/// the command.
///
/// # Errors
/// Something is cold.
pub(super) fn survey(cx: &mut Context<'_>, args: Args<'_>) -> Result<(), Stop> {
    let Ok(options) = Options::parse(args, false) else { return Ok(()) };
    let key = cx.key(&args[1])?;
    let found = cx.find_to_replace(&key)?;
    let Ok((elements, _)) = elements_of(found.as_ref()) else { return Ok(()) };
    let db = cx.session.db;
    let mut cold = Vec::new();
    for pattern in options.patterns() {
        for (name, _) in elements.iter().filter_map(|element| target_of(pattern, element)) {
            let key = cx.key(&name)?;
            match cx.find_to_replace(&key) {
                Err(Stop::Cold) => cold.push((db, name.into_boxed_slice())),
                other => _ = other?,
            }
        }
    }
    if cold.is_empty() {
        return Ok(());
    }
    cx.session.also_load.extend(cold);
    Err(Stop::Cold)
}

/// The elements in `found`, and its type.
fn elements_of(found: Option<&Found>) -> Result<(Vec<&[u8]>, Kind), Stop> {
    let Some(kind) = found.map(|found| Kind::of_tag(found.value_type)) else {
        return Ok((Vec::new(), Kind::List));
    };
    let elements = match kind {
        Some(Kind::List) => list::view(found)?.items().collect(),
        Some(Kind::Set) => set::view(found)?.members().collect(),
        Some(Kind::ZSet) => zset::view(found)?.entries().map(|(_, member)| member).collect(),
        _ => return Err(text::WRONG_TYPE),
    };
    Ok((elements, kind.unwrap_or(Kind::List)))
}

/// What an element is compared by.
enum Weight {
    Number(f64),
    Text(Option<Vec<u8>>),
}

fn weight(cx: &mut Context<'_>, options: &Options<'_>, element: &[u8]) -> Result<Weight, Stop> {
    let text = match options.by {
        Some(pattern) => follow(cx, pattern, element)?,
        None => Some(element.to_vec()),
    };
    if options.alpha {
        return Ok(Weight::Text(text));
    }
    let number = text.map_or(Some(0.0), |text| parse_strtod(&text));
    let bad = Stop::error("ERR One or more scores can't be converted into double");
    number.map(Weight::Number).ok_or(bad)
}

fn compare(a: &(Weight, &[u8]), b: &(Weight, &[u8])) -> Ordering {
    match (&a.0, &b.0) {
        (Weight::Number(x), Weight::Number(y)) => {
            x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
        }
        (Weight::Text(x), Weight::Text(y)) => x.cmp(y),
        _ => Ordering::Equal,
    }
}

/// The elements in the order asked for, those that the limit leaves.
fn ordered<'a>(
    cx: &mut Context<'_>,
    options: &Options<'_>,
    found: Option<&'a Found>,
) -> Result<Vec<&'a [u8]>, Stop> {
    let (mut elements, kind) = elements_of(found)?;
    let range = options.range(elements.len());
    if options.keeps_order() {
        // A set has no order that could be reversed; but what is stored of one is sorted, and ours
        // is in ascending order.
        let has_order = kind != Kind::Set || options.target.is_some();
        if options.descending && has_order {
            elements.reverse();
        }
        return Ok(elements[range].to_vec());
    }
    let mut weighed = Vec::with_capacity(elements.len());
    for element in elements {
        weighed.push((weight(cx, options, element)?, element));
    }
    weighed.sort_by(|a, b| {
        let order = compare(a, b);
        if options.descending { order.reverse() } else { order }
    });
    Ok(weighed[range].iter().map(|(_, element)| *element).collect())
}

fn sort(cx: &mut Context<'_>, args: Args<'_>, read_only: bool) -> Outcome {
    let options = Options::parse(args, read_only)?;
    let key = cx.key(&args[1])?;
    let found = cx.find(&key)?;
    elements_of(found.as_ref())?;
    survey(cx, args)?;
    let elements = ordered(cx, &options, found.as_ref())?;
    let mut results: Vec<Option<Vec<u8>>> = Vec::new();
    for element in elements {
        if options.get.is_empty() {
            results.push(Some(element.to_vec()));
        }
        for pattern in &options.get {
            results.push(follow(cx, pattern, element)?);
        }
    }
    let Some(target) = options.target else {
        cx.reply.array(results.len());
        for result in results {
            match result {
                Some(result) => cx.reply.bulk(&result),
                None => cx.reply.null(),
            }
        }
        return Ok(());
    };
    let target = cx.key(target)?;
    let items = results.iter().map(|result| result.as_deref().unwrap_or_default());
    let value = (!results.is_empty()).then(|| encode(items));
    replace(cx, &target, Kind::List, value.as_deref(), "sortstore")?;
    cx.reply.size(results.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_lead_to_keys_and_fields() {
        let lead = |pattern: &'static str| {
            target_of(pattern.as_bytes(), b"7").map(|(name, field)| {
                let field = field.map(|field| String::from_utf8_lossy(field).into_owned());
                (String::from_utf8_lossy(&name).into_owned(), field)
            })
        };
        assert_eq!(lead("w_*"), Some(("w_7".to_owned(), None)));
        assert_eq!(lead("w_*:x->f"), Some(("w_7:x".to_owned(), Some("f".to_owned()))));
        assert_eq!(lead("w_*->"), Some(("w_7->".to_owned(), None)));
        assert_eq!(lead("constant"), None);
    }
}
