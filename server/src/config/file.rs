//! The TOML file: the same keys as the flags, at the top level, and `[prefix."..."]` sections.
//!
//! Owns: turning TOML values into the text that the table parses.
//! Never knows: what a key means.
//! Invariant: an unknown key or a value of a wrong kind is an error with its key.

use super::{Config, ConfigError, set};

/// Applies the settings in `text`, a TOML document, to `config`.
///
/// # Errors
/// The first setting that is unknown or wrong, or the place where the text is not TOML.
pub fn apply_file(config: &mut Config, text: &str) -> Result<(), ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError {
        key: "configuration file".to_owned(),
        problem: format!("is not TOML: {}", error.to_string().trim_end()),
    })?;
    for (key, value) in &table {
        if let ("prefix", toml::Value::Table(prefixes)) = (key.as_str(), value) {
            super::prefix::apply(config, prefixes)?;
            continue;
        }
        let text = as_text(value).ok_or_else(|| ConfigError {
            key: key.clone(),
            problem: "write a string, a number, true or false, or a list of strings".to_owned(),
        })?;
        set(config, key, &text)?;
    }
    Ok(())
}

pub(super) fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(on) => Some(if *on { "yes" } else { "no" }.to_owned()),
        toml::Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(as_text).collect();
            items.map(|items| items.join(" "))
        }
        _ => None,
    }
}
