//! What the operating system knows of this process, and its randomness.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// Tells the resident set of the process, in one system call of about a microsecond.
#[derive(Debug)]
pub struct ResidentSet {
    statm: Option<File>,
    page_bytes: u64,
}

impl ResidentSet {
    /// Of this process.
    #[expect(clippy::disallowed_methods, reason = "the driver is where files are opened")]
    pub fn open() -> ResidentSet {
        let statm = File::open("/proc/self/statm").ok();
        ResidentSet { statm, page_bytes: rustix::param::page_size() as u64 }
    }

    /// Its bytes; 0 if unknown.
    pub fn bytes(&self) -> u64 {
        let mut text = [0; 128];
        let read = self.statm.as_ref().and_then(|statm| statm.read_at(&mut text, 0).ok());
        let text = std::str::from_utf8(&text[..read.unwrap_or(0)]).unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        pages.unwrap_or(0) * self.page_bytes
    }
}

/// Sixteen bytes from the operating system's random source, for the key hash of a new store.
///
/// # Errors
/// When the source cannot be read.
#[expect(clippy::disallowed_methods, reason = "the driver is where files are opened")]
pub fn random_seed() -> std::io::Result<[u8; 16]> {
    let mut seed = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_set_is_told_anew_each_time() {
        let resident = ResidentSet::open();
        assert!(resident.bytes() > 100 << 10);
        // Other tests of this process take and free memory meanwhile.
        let grows = |_| {
            let before = resident.bytes();
            let memory = std::hint::black_box(vec![1u8; 64 << 20]);
            let grown = resident.bytes();
            drop(memory);
            grown >= before + (60 << 20)
        };
        assert!((0..100).any(grows), "64 MiB more are never seen");
    }
}
