//! Glob patterns of KEYS, SCAN, PSUBSCRIBE and CONFIG GET.
//!
//! Owns: matching, with Redis' syntax: `* ? [a-c] [^x] \`.
//! Never knows: what is matched.
//! Invariant: time is O(pattern x text) at worst, with no recursion: only the last star is ever
//! retried, because an earlier star could not match more than it has (CVE-2022-36021).

/// Whether all of `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not match.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        if p < pattern.len()
            && let (true, next) = step(pattern, p, text[t])
        {
            p = next;
            t += 1;
            continue;
        }
        let Some((after_star, from)) = retry else { return false };
        p = after_star;
        t = from + 1;
        retry = Some((after_star, t));
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether the element of `pattern` at `p` matches `byte`, and where the next element is.
fn step(pattern: &[u8], p: usize, byte: u8) -> (bool, usize) {
    match pattern[p] {
        b'?' => (true, p + 1),
        b'[' => class(pattern, p + 1, byte),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte, p + 2),
        literal => (literal == byte, p + 1),
    }
}

/// As [`step`], for the inside of brackets. A class that is not closed ends with the pattern.
fn class(pattern: &[u8], mut p: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    while let Some(&low) = pattern.get(p) {
        match (low, pattern.get(p + 1), pattern.get(p + 2)) {
            (b']', _, _) => return (found != negated, p + 1),
            (b'\\', Some(escaped), _) => {
                found |= *escaped == byte;
                p += 2;
            }
            (_, Some(b'-'), Some(&high)) => {
                let (low, high) = (low.min(high), low.max(high));
                found |= (low..=high).contains(&byte);
                p += 3;
            }
            _ => {
                found |= low == byte;
                p += 1;
            }
        }
    }
    (found != negated, p)
}

/// The bytes that every match starts with; all of a pattern without wildcards.
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len());
    &pattern[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hxllo", false),
            ("sess:*", "sess:abc", true),
            ("sess:*", "ses:abc", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("a**c", "abc", true),
            ("[", "a", false),
            ("[a", "a", true),
            ("[\\]]", "]", true),
            ("a\\", "a\\", true),
            ("*a", "aaab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let pattern: Vec<u8> = b"a*".repeat(2_000);
        let text = vec![b'a'; 20_000];
        assert!(matches(&pattern, &text));
        let pattern: Vec<u8> = [b"*a".repeat(2_000), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &text));
    }

    #[test]
    fn literal_prefixes_end_at_the_first_wildcard() {
        assert_eq!(literal_prefix(b"sess:*"), b"sess:");
        assert_eq!(literal_prefix(b"abc"), b"abc");
        assert_eq!(literal_prefix(b"*"), b"");
    }
}
