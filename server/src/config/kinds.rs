//! The kinds of values that settings have, as text.
//!
//! Owns: sizes with units, switches, acknowledgement levels, log levels.
//! Never knows: which key a value is for.
//! Invariant: what `format_*` writes, `parse_*` reads back to the same value.

use emberlog_engine::{Ack, driver::DriverChoice};

use super::LogLevel;

/// Reads a size: a number with an optional unit `k m g t` (powers of 1000) or `kb mb gb tb`
/// (powers of 1024), as in redis.conf; also `KiB MiB GiB TiB`.
///
/// # Errors
/// What a size looks like.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = lower.split_at(digits);
    let scale: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" | "kib" => 1 << 10,
        "m" => 1_000_000,
        "mb" | "mib" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" | "gib" => 1 << 30,
        "t" => 1_000_000_000_000,
        "tb" | "tib" => 1 << 40,
        _ => return Err(not_a_size(text)),
    };
    let number: u64 = number.parse().map_err(|_| not_a_size(text))?;
    number.checked_mul(scale).ok_or_else(|| not_a_size(text))
}

fn not_a_size(text: &str) -> String {
    format!("'{text}' is not a size; write a number of bytes or one like 256mb or 1gb")
}

/// Writes a size for people, exact: the largest unit that divides it.
pub fn format_bytes(bytes: u64) -> String {
    for (scale, unit) in [(1u64 << 40, "tb"), (1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    bytes.to_string()
}

pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(format!("'{text}' is neither yes nor no")),
    }
}

pub(super) fn format_switch(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}

pub(super) fn parse_number<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    match text.trim().parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("'{text}' is not a number from {least} to {most}")),
    }
}

pub(super) fn parse_ack(text: &str) -> Result<Ack, String> {
    let lower = text.to_ascii_lowercase();
    match lower.split_once(':').unwrap_or((&lower, "")) {
        ("durable", "") => Ok(Ack::Durable),
        ("memory", "") => Ok(Ack::Memory),
        ("interval", "") => Ok(Ack::Interval { ms: 1_000 }),
        ("interval", ms) => {
            let ms = parse_number(ms.trim_end_matches("ms"), 1, 10_000)?;
            Ok(Ack::Interval { ms })
        }
        _ => Err(format!("'{text}' is not one of durable, interval[:milliseconds], memory")),
    }
}

pub(super) fn format_ack(ack: Ack) -> String {
    match ack {
        Ack::Durable => "durable".to_owned(),
        Ack::Interval { ms } => format!("interval:{ms}"),
        Ack::Memory => "memory".to_owned(),
    }
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("debug", LogLevel::Debug),
    ("verbose", LogLevel::Verbose),
    ("notice", LogLevel::Notice),
    ("warning", LogLevel::Warning),
    ("nothing", LogLevel::Nothing),
];

pub(super) fn parse_level(text: &str) -> Result<LogLevel, String> {
    let found = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found
        .map(|(_, level)| *level)
        .ok_or_else(|| format!("'{text}' is not one of debug, verbose, notice, warning, nothing"))
}

pub(super) fn format_level(level: LogLevel) -> String {
    LEVELS.iter().find(|(_, l)| *l == level).map_or("notice", |(name, _)| name).to_owned()
}

const DRIVERS: [(&str, DriverChoice); 3] = [
    ("auto", DriverChoice::Auto),
    ("uring", DriverChoice::Uring),
    ("threads", DriverChoice::Threads),
];

pub(super) fn parse_driver(text: &str) -> Result<DriverChoice, String> {
    let found = DRIVERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found
        .map(|(_, driver)| *driver)
        .ok_or_else(|| format!("'{text}' is not one of auto, uring, threads"))
}

pub(super) fn format_driver(choice: DriverChoice) -> String {
    DRIVERS.iter().find(|(_, d)| *d == choice).map_or("auto", |(name, _)| name).to_owned()
}

/// Reads octal permission bits; 0 means the default of the process.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim(), 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(format!("'{text}' is not octal permission bits such as 700 or 770")),
    }
}
