//! What the operating system knows of this process and machine.
//!
//! Owns: reading `/proc`, limits, randomness for identities.
//! Never knows: what the numbers are for.
//! Invariant: everything degrades to a harmless value where the system does not tell.

use rustix::process::{Resource, Rlimit};

/// User and system time of the process, in seconds; zeros if unknown.
#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
pub fn cpu_seconds() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the name, may hold blanks; it ends with the last parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |field: usize| {
        fields.split_ascii_whitespace().nth(field).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0)
    };
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    // Fields 14 and 15 of the file are 11 and 12 after the name.
    (ticks(11) as f64 / per_second, ticks(12) as f64 / per_second)
}

/// RAM of the machine, or of the control group if that is less; 1 GiB if unknown.
pub fn machine_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = u64::from(info.mem_unit).saturating_mul(info.totalram as u64);
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    let group = group.trim().parse::<u64>().unwrap_or(u64::MAX);
    match machine.min(group) {
        0 => 1 << 30,
        bytes => bytes,
    }
}

/// Raises the limit of open files so that `clients` can be connected. Returns how many can.
pub fn allow_clients(clients: u32) -> u32 {
    /// Files that are not clients: the store, the listeners, the event loop.
    const OTHERS: u64 = 256;
    let wanted = u64::from(clients) + OTHERS;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return clients;
    }
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    // A privileged process may raise the maximum too; otherwise as far as it goes.
    for (now, most) in [(wanted, wanted.max(maximum)), (wanted.min(maximum), maximum)] {
        let raised = Rlimit { current: Some(now), maximum: Some(most) };
        if rustix::process::setrlimit(Resource::Nofile, raised).is_ok() {
            return u32::try_from(now.saturating_sub(OTHERS)).unwrap_or(clients).max(1);
        }
    }
    u32::try_from(current.saturating_sub(OTHERS)).unwrap_or(clients).max(1)
}

/// `bytes` as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// `N` random bytes from the operating system.
///
/// # Errors
/// The operating system has none.
pub fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}
