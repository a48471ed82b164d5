//! Marked regions of a results file, so that each benchmark replaces its own part and nothing else.

use std::path::Path;

use anyhow::{Context, Result, bail};

fn begin(name: &str) -> String {
    format!("<!-- begin {name} -->\n")
}

fn end(name: &str) -> String {
    format!("<!-- end {name} -->\n")
}

/// Replaces the region `name` of the file at `path`. A region that is not there yet goes behind the
/// nearest of `before` (regions that precede it, in order) that is, or else to the end of the file.
pub(crate) fn replace(path: &Path, name: &str, before: &[String], content: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|_| "# Results\n".to_owned());
    let region = format!("{}{}\n{}", begin(name), content.trim_end(), end(name));
    let replaced = replaced(&text, name, before, &region)?;
    std::fs::write(path, replaced).with_context(|| format!("writing {}", path.display()))
}

fn replaced(text: &str, name: &str, before: &[String], region: &str) -> Result<String> {
    if let Some(from) = text.find(&begin(name)) {
        let Some(length) = text[from..].find(&end(name)) else {
            bail!("the region '{name}' does not end")
        };
        let to = from + length + end(name).len();
        return Ok(format!("{}{region}{}", &text[..from], &text[to..]));
    }
    let place = |earlier: &String| text.find(&end(earlier)).map(|at| at + end(earlier).len());
    let at = before.iter().rev().find_map(place).unwrap_or(text.len());
    Ok(format!("{}\n{region}{}", &text[..at], &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn regions_are_replaced_in_place_and_added_in_order() {
        let region = |name: &str, text: &str| {
            format!("<!-- begin {name} -->\n{text}\n<!-- end {name} -->\n")
        };
        let text = format!("# Results\n{}tail\n", region("a", "old"));
        let new = replaced(&text, "a", &[], &region("a", "new")).unwrap();
        assert_eq!(new, format!("# Results\n{}tail\n", region("a", "new")));
        let both = replaced(&new, "b", &["a".into()], &region("b", "x")).unwrap();
        let expected = format!("# Results\n{}\n{}tail\n", region("a", "new"), region("b", "x"));
        assert_eq!(both, expected);
        assert!(replaced("<!-- begin a -->\n", "a", &[], "").is_err(), "it does not end");
    }
}
