//! What the operating system knows of this process, and its randomness.

use std::io::Read;

/// The process's resident set in bytes; 0 where `/proc` does not tell.
#[expect(clippy::disallowed_methods, reason = "the driver is where files are opened")]
pub fn rss_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let mut text = String::new();
    let read =
        std::fs::File::open("/proc/self/statm").and_then(|mut f| f.read_to_string(&mut text));
    let pages = read.ok().and_then(|_| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

/// Sixteen bytes from the operating system's random source, for the key hash of a new store.
///
/// # Errors
/// When the source cannot be read.
#[expect(clippy::disallowed_methods, reason = "the driver is where files are opened")]
pub fn random_seed() -> std::io::Result<[u8; 16]> {
    let mut seed = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
