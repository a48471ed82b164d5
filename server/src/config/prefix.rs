//! `[prefix."sess:"]`: policies for keys that begin alike, so that unmodified plugins get what
//! session objects have.
//!
//! Owns: the keys of such a section.
//! Never knows: when a policy applies (see `command::prefix`).
//! Invariant: prefixes are unique, and the longest that fits a key is found first.

use super::file::as_text;
use super::kinds::{parse_number, parse_switch};
use super::{Config, ConfigError, parse_bytes};

/// A policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prefix {
    /// What its keys begin with.
    pub prefix: Vec<u8>,
    /// DEL and UNLINK leave a tombstone, and later writes are refused.
    pub final_logout: bool,
    /// Seconds for which the tombstone stays; 0: as `revoked-ttl` says.
    pub revoked_ttl: u32,
    /// Seconds to live of a key that is written without an expiry; 0: none.
    pub default_ttl: u32,
    /// Most seconds to live; 0: no limit.
    pub max_ttl: u32,
    /// Longest value, in bytes; 0: no limit.
    pub max_value: usize,
}

/// What a policy has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrefixStats {
    /// Keys that left a tombstone.
    pub logouts: u64,
    /// Writes refused because of one.
    pub revoked_writes: u64,
    /// Writes whose value was too long.
    pub too_large: u64,
    /// Expiries that were given or cut.
    pub ttl_changes: u64,
    /// SETs of the bytes that were there already, which cost no write.
    pub identical_sets: u64,
    /// Values written.
    pub writes: u64,
}

/// Applies the sections under `prefix`.
pub(super) fn apply(config: &mut Config, sections: &toml::Table) -> Result<(), ConfigError> {
    for (name, section) in sections {
        let fail = |key: &str, problem: String| ConfigError {
            key: format!("prefix.\"{name}\"{key}"),
            problem,
        };
        let toml::Value::Table(section) = section else {
            return Err(fail("", "write a section: [prefix.\"...\"]".to_owned()));
        };
        let mut prefix = Prefix { prefix: name.as_bytes().to_vec(), ..Prefix::default() };
        for (key, value) in section {
            let set = |problem| fail(&format!(".{key}"), problem);
            let text = as_text(value)
                .ok_or_else(|| set("write a string, a number, true or false".to_owned()))?;
            apply_key(&mut prefix, key, &text).map_err(set)?;
        }
        config.prefixes.push(prefix);
    }
    config.prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.prefix.len()));
    Ok(())
}

fn apply_key(prefix: &mut Prefix, key: &str, text: &str) -> Result<(), String> {
    let seconds = |least| parse_number(text, least, u32::MAX);
    match key.replace('_', "-").as_str() {
        "final-logout" => prefix.final_logout = parse_switch(text)?,
        "revoked-ttl" => prefix.revoked_ttl = seconds(1)?,
        "default-ttl" => prefix.default_ttl = seconds(0)?,
        "max-ttl" => prefix.max_ttl = seconds(0)?,
        "max-value" => {
            prefix.max_value =
                usize::try_from(parse_bytes(text)?).map_err(|_| format!("'{text}' is too much"))?;
        }
        _ => {
            return Err("is not a setting of a prefix: final-logout, revoked-ttl, default-ttl, \
                        max-ttl or max-value"
                .to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::apply_file;
    use super::*;

    #[test]
    fn the_longest_prefix_comes_first_and_mistakes_are_named() {
        let mut config = Config::default();
        let text = "revoked-ttl = 60\n[prefix.\"s:\"]\nfinal-logout = true\nmax-value = \"4kb\"\n\
                    [prefix.\"s:admin:\"]\nmax-ttl = 900\ndefault-ttl = 300\nrevoked-ttl = 5";
        apply_file(&mut config, text).unwrap();
        assert_eq!(config.revoked_ttl, 60);
        let [admin, plain] = &config.prefixes[..] else { panic!("two prefixes") };
        assert_eq!(admin.prefix, b"s:admin:");
        assert_eq!((admin.max_ttl, admin.default_ttl, admin.revoked_ttl), (900, 300, 5));
        assert_eq!((plain.final_logout, plain.max_value), (true, 4096));
        for (bad, key) in [
            ("[prefix.\"s:\"]\nmax-ttl = \"soon\"", "prefix.\"s:\".max-ttl"),
            ("[prefix.\"s:\"]\nlogout = true", "prefix.\"s:\".logout"),
            ("[prefix]\ns = 1", "prefix.\"s\""),
        ] {
            assert_eq!(apply_file(&mut Config::default(), bad).unwrap_err().key, key);
        }
    }
}
