//! Where the log goes, and how much of it.
//!
//! Owns: the subscriber of `tracing`, the one level that can change while running.
//! Never knows: who logs.
//! Invariant: lines are structured by `tracing` and carry UTC times to the millisecond.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use emberlog_engine::driver;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogLevel;

/// The level in force; `LogLevel as u8`.
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Notice as u8);

/// Changes how much is logged.
pub fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// The least important level that is logged at `level`; `None` for nothing.
fn threshold(level: u8) -> Option<Level> {
    match level {
        l if l == LogLevel::Debug as u8 => Some(Level::TRACE),
        l if l == LogLevel::Verbose as u8 => Some(Level::DEBUG),
        l if l == LogLevel::Notice as u8 => Some(Level::INFO),
        l if l == LogLevel::Warning as u8 => Some(Level::WARN),
        _ => None,
    }
}

struct Threshold;

impl<S: Subscriber> Layer<S> for Threshold {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        threshold(LEVEL.load(Ordering::Relaxed)).is_some_and(|least| *metadata.level() <= least)
    }
}

struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let (date, millis) = civil(driver::now().0);
        let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
        let (year, month, day) = date;
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            millis % 1000
        )
    }
}

/// Date and milliseconds of the day of a Unix time.
/// Source: Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn civil(unix_ms: u64) -> ((u64, u64, u64), u64) {
    const DAY_MS: u64 = 86_400_000;
    let days = unix_ms / DAY_MS + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    ((year, month, day), unix_ms % DAY_MS)
}

/// Starts to log at `level`, to `file` or, if that is empty, to standard output.
///
/// # Errors
/// The file cannot be written.
pub fn start(level: LogLevel, file: &str) -> io::Result<()> {
    LEVEL.store(level as u8, Ordering::Relaxed);
    let lines = tracing_subscriber::fmt::layer().with_timer(Utc).with_target(false);
    let registry = tracing_subscriber::registry().with(Threshold);
    if file.is_empty() {
        let color = io::IsTerminal::is_terminal(&io::stdout());
        registry.with(lines.with_ansi(color)).init();
    } else {
        let file = OpenOptions::new().create(true).append(true).open(file)?;
        registry.with(lines.with_ansi(false).with_writer(Mutex::new(file))).init();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_ms, date) in [
            (0, (1970, 1, 1)),
            (951_782_400_000, (2000, 2, 29)),
            (951_868_800_000, (2000, 3, 1)),
            (1_735_689_599_999, (2024, 12, 31)),
            (4_107_542_400_000, (2100, 3, 1)),
        ] {
            assert_eq!(civil(unix_ms).0, date, "{unix_ms}");
        }
    }
}
