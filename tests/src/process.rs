//! What the kernel says about a server process: memory, CPU time, open files.
//!
//! Owns: reading /proc. Must never know: what the process is.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Resident memory of a process in bytes.
///
/// # Errors
/// When the process is gone.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS: the process has ended")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// CPU time of a process and all its threads since its start, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuSeconds {
    /// In its own code.
    pub user: f64,
    /// In the kernel on its behalf.
    pub system: f64,
}

/// Reads the CPU time of a process from `/proc/PID/stat`, which counts all threads, living and dead.
///
/// # Errors
/// When the process is gone.
pub fn cpu_seconds(pid: u32) -> Result<CpuSeconds> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name stands in brackets and may hold anything; fields are counted after it.
    let (_, rest) = stat.rsplit_once(") ").context("stat has no command name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = rustix::param::clock_ticks_per_second();
    #[expect(clippy::cast_precision_loss, reason = "ticks stay far below 2^52")]
    let seconds = |field: usize| -> Result<f64> {
        let text = fields.get(field).context("stat is too short")?;
        Ok(text.parse::<u64>()? as f64 / ticks as f64)
    };
    Ok(CpuSeconds { user: seconds(11)?, system: seconds(12)? })
}

/// Bytes that the files of a folder really occupy, as `du` counts them.
///
/// # Errors
/// When the folder cannot be read. Files that vanish while it runs are skipped.
pub fn disk_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(meta) = entry.metadata() else { continue };
        total += if meta.is_dir() { disk_bytes(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(total)
}

/// Lets this process open as many files as the system allows, and says how many that is.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refusal leaves the old limit, which the return value reports.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Samples the resident memory of a process every few milliseconds and keeps the peak.
pub struct RssWatch {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RssWatch {
    /// Starts sampling `pid` every 20 ms until dropped or until the process ends.
    pub fn start(pid: u32) -> Self {
        let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (peak_seen, stop_asked) = (Arc::clone(&peak), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stop_asked.load(Ordering::Relaxed) {
                let Ok(now) = rss_bytes(pid) else { return };
                peak_seen.fetch_max(now, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { peak, stop, thread: Some(thread) }
    }

    /// Highest resident size seen so far, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Forgets the peak, so that the next phase is judged alone.
    pub fn reset(&self) {
        self.peak.store(0, Ordering::Relaxed);
    }
}

impl Drop for RssWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the sampler would only mean fewer samples.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_process_can_be_read() {
        let pid = std::process::id();
        assert!(rss_bytes(pid).unwrap() > 100_000);
        let cpu = cpu_seconds(pid).unwrap();
        assert!(cpu.user >= 0.0 && cpu.system >= 0.0);
        assert!(rss_bytes(u32::MAX).is_err());
    }
}
