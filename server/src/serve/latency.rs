//! Slow events, for LATENCY.
//!
//! Owns: the recent ones of each kind, and how many commands took how long.
//! Never knows: clocks.
//! Invariant: memory is bounded: two kinds of events, so many samples each, one row per command.

use std::collections::VecDeque;

use emberlog_engine::UnixMillis;

/// Samples kept of each event.
const SAMPLES_MAX: usize = 160;

/// One second in which an event was slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The second, since the epoch.
    pub second: u64,
    /// The longest within it, in milliseconds.
    pub millis: u64,
}

/// A kind of event.
#[derive(Debug)]
pub struct Event {
    /// Its name, as LATENCY shows it.
    pub name: &'static str,
    /// Its samples, oldest first.
    pub samples: VecDeque<Sample>,
    /// The longest ever, in milliseconds.
    pub max_millis: u64,
}

/// All events.
#[derive(Debug, Default)]
pub struct Latency {
    events: Vec<Event>,
}

impl Latency {
    /// Remembers that `name` took so long.
    pub fn add(&mut self, name: &'static str, millis: u64, at: UnixMillis) {
        let place = self.events.iter().position(|event| event.name == name);
        let place = place.unwrap_or_else(|| {
            self.events.push(Event { name, samples: VecDeque::new(), max_millis: 0 });
            self.events.len() - 1
        });
        let event = &mut self.events[place];
        event.max_millis = event.max_millis.max(millis);
        let second = at.0 / 1000;
        if let Some(last) = event.samples.back_mut().filter(|last| last.second == second) {
            last.millis = last.millis.max(millis);
            return;
        }
        if event.samples.len() == SAMPLES_MAX {
            event.samples.pop_front();
        }
        event.samples.push_back(Sample { second, millis });
    }

    /// The events that have happened.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Forgets the events that `wanted` picks. Returns how many there were.
    pub fn forget(&mut self, wanted: impl Fn(&str) -> bool) -> usize {
        let before = self.events.len();
        self.events.retain(|event| !wanted(event.name));
        before - self.events.len()
    }
}

/// How often something took how long, by powers of two of a microsecond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Histogram([u32; Histogram::BUCKETS]);

impl Histogram {
    const BUCKETS: usize = 24;

    /// Counts one.
    pub fn add(&mut self, usec: u64) {
        let bits = 64 - usec.saturating_sub(1).leading_zeros();
        let bucket = (bits as usize).min(Self::BUCKETS - 1);
        self.0[bucket] = self.0[bucket].saturating_add(1);
    }

    /// Upper bounds in microseconds, each with how many took no longer; only where that rises.
    pub fn cumulative(&self) -> Vec<(i64, i64)> {
        let mut rows = Vec::new();
        let mut sum = 0;
        for (bucket, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            sum += i64::from(*count);
            rows.push((1 << bucket, sum));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_bound_says() {
        let mut histogram = Histogram::default();
        for usec in [0, 1, 2, 3, 4, 5, 1 << 40] {
            histogram.add(usec);
        }
        assert_eq!(histogram.cumulative(), [(1, 2), (2, 3), (4, 5), (8, 6), (1 << 23, 7)]);
    }

    #[test]
    fn samples_are_one_per_second_and_not_too_many() {
        let mut latency = Latency::default();
        for second in 0..500 {
            latency.add("command", second, UnixMillis(second * 1000));
            latency.add("command", second + 1, UnixMillis(second * 1000 + 1));
        }
        let event = &latency.events()[0];
        assert_eq!((event.samples.len(), event.max_millis), (SAMPLES_MAX, 500));
        assert_eq!(event.samples.back(), Some(&Sample { second: 499, millis: 500 }));
        assert_eq!(latency.forget(|name| name == "other"), 0);
        assert_eq!(latency.forget(|_| true), 1);
    }
}
