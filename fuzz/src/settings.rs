//! Configuration: any text is accepted or refused with a reason, and what was accepted can be shown
//! and set again.

use emberlog_server::config::{Config, apply_file, find, keys, set};

/// # Panics
/// When a value that was accepted is refused or changed on its way back.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut config = Config::default();
    if let Err(error) = apply_file(&mut config, &text) {
        assert!(!error.problem.is_empty(), "a refusal says why");
    }
    let mut lines = text.lines();
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        // Any name, or one of those that exist.
        let number = name.bytes().map(usize::from).sum::<usize>();
        let name = if find(name).is_some() { name } else { keys()[number % keys().len()].name };
        let _ = set(&mut config, name, value);
    }
    for key in keys() {
        let shown = key.show(&config);
        let mut again = config.clone();
        if set(&mut again, key.name, &shown).is_ok() {
            assert_eq!(key.show(&again), shown, "{} does not survive a round", key.name);
        }
    }
    let _ = config.validate();
}
