//! Clocks, percentiles, random places.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of all threads of this process so far, those of the kernel's ring included.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How often and how long each case is measured.
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) limit: Duration,
    pub(crate) calm: Duration,
}

impl Pace {
    /// Waits for a moment when nothing but this process wants a processor.
    pub(crate) fn wait_for_calm(&self) {
        let start = Instant::now();
        while start.elapsed() < self.calm {
            let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
            // The fourth field is RUNNING/TOTAL, this thread included.
            if load.split(' ').nth(3).is_some_and(|field| field.starts_with("1/")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Operations, and what they took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
}

/// Counts operations until the time is over.
pub(crate) struct Meter {
    start: Instant,
    cpu: Duration,
    limit: Duration,
    pub(crate) operations: u32,
}

impl Meter {
    pub(crate) fn start(limit: Duration) -> Meter {
        Meter { start: Instant::now(), cpu: cpu_time(), limit, operations: 0 }
    }

    pub(crate) fn over(&self) -> bool {
        self.start.elapsed() >= self.limit
    }

    pub(crate) fn sample(&self) -> Sample {
        let operations = f64::from(self.operations.max(1));
        Sample {
            per_second: operations / self.start.elapsed().as_secs_f64(),
            cpu_us: cpu_time().saturating_sub(self.cpu).as_secs_f64() * 1e6 / operations,
        }
    }
}

/// The median and the least of what `value` takes from the samples.
pub(crate) fn median<T>(samples: &[T], value: impl Fn(&T) -> f64) -> (f64, f64) {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0))
}

/// The value that `hundredths` of a hundred are below; sorts.
pub(crate) fn percentile(micros: &mut [f64], hundredths: usize) -> f64 {
    micros.sort_by(f64::total_cmp);
    micros.get(micros.len() * hundredths / 100).copied().unwrap_or(f64::NAN)
}

/// `SplitMix64`: the same places for every case.
pub(crate) struct Places {
    state: u64,
    blocks: u64,
}

impl Places {
    pub(crate) fn new(seed: u64, file_bytes: u64) -> Places {
        Places { state: seed, blocks: file_bytes / 4096 }
    }

    /// Offset of a random 4 KiB block.
    pub(crate) fn next_offset(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % self.blocks * 4096
    }
}
