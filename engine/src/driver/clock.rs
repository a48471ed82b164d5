//! The two clocks: wall time for expiry, monotonic time for latencies.
//!
//! Owns: reading the clocks of the operating system.
//! Must never know: what the times are used for.
//! Invariant: [`monotonic_us`] never goes back; [`now`] may (the operator can set the clock).

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::units::UnixMillis;

/// The wall clock, in milliseconds since the Unix epoch; 0 for a clock set before it.
#[expect(clippy::disallowed_methods, reason = "the driver is where clocks are read")]
pub fn now() -> UnixMillis {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)).min(UnixMillis::MAX)
}

/// Microseconds since some fixed moment of this process; never decreases.
#[expect(clippy::disallowed_methods, reason = "the driver is where clocks are read")]
pub fn monotonic_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
