//! The hit ratio of the hot set, against LRU.

use std::collections::{BTreeSet, HashMap};

use super::*;

/// The least recently used goes first; entries cost what the hot set says they cost.
#[derive(Default)]
struct Lru {
    last: HashMap<u64, (u64, usize)>,
    order: BTreeSet<(u64, u64)>,
    bytes: usize,
    time: u64,
}

impl Lru {
    fn access(&mut self, number: u64, cost: usize, budget: usize) -> bool {
        self.time += 1;
        let before = self.last.insert(number, (self.time, cost));
        self.order.insert((self.time, number));
        if let Some((time, _)) = before {
            self.order.remove(&(time, number));
            return true;
        }
        self.bytes += cost;
        while self.bytes > budget
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.bytes -= self.last.remove(&oldest).map_or(0, |(_, cost)| cost);
        }
        false
    }
}

/// How keys are drawn.
struct Trace {
    name: String,
    /// Cumulative Zipf weights.
    weights: Vec<f64>,
    /// Of 100 requests, how many belong to a scan over `scanned` keys.
    scan_percent: u64,
    scanned: u64,
    /// Every so many requests, the popular keys become other ones.
    drift_every: u64,
}

impl Trace {
    const KEYS: u64 = 50_000;

    fn new(exponent: f64, scan_percent: u64, scanned: u64, drift_every: u64) -> Trace {
        let mut sum = 0.0;
        let weights = (1..=Self::KEYS)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        let name = format!(
            "zipf {exponent:.1}, {scan_percent:>2} % scans of {scanned}, drift {drift_every}"
        );
        Trace { name, weights, scan_percent, scanned, drift_every }
    }

    fn requests(&self, count: u64, seed: u64) -> impl Iterator<Item = u64> {
        let mut random = Random(seed);
        let mut scan = 0;
        (0..count).map(move |time| {
            if random.below(100) < self.scan_percent {
                scan += 1;
                // Scans walk the same keys by number, where popular ones are spread among the rest.
                return Random(scan % self.scanned).next() % (4 * Self::KEYS);
            }
            let total = self.weights.last().copied().unwrap_or(0.0);
            let drawn = (random.next() >> 11) as f64 / (1u64 << 53) as f64 * total;
            let rank = self.weights.partition_point(|weight| *weight < drawn) as u64;
            let shift = time.checked_div(self.drift_every).unwrap_or(0);
            Random((rank + shift) ^ 0xABCD).next() % (4 * Self::KEYS)
        })
    }
}

/// Hit ratios of the hot set and of LRU on one trace, as a shard would use them: a miss loads the
/// value and looks it up again, the mark is kept in an index.
fn compare(trace: &Trace, budget: usize, seed: u64) -> (f64, f64) {
    let (mut hot, mut lru) = (Hot::new(), Lru::default());
    let mut marks: HashMap<Identity, u8> = HashMap::new();
    let (mut hot_hits, mut lru_hits) = (0, 0);
    let count = 200_000;
    let bytes = vec![0; 2_000];
    for number in trace.requests(count, seed) {
        let identity = Identity::of(KeyHash(Random(number).next()));
        let key = (Namespace(0), identity, number.to_le_bytes().to_vec());
        let value = &bytes[..100 + (Random(!number).next() % 1_900) as usize];
        if hot.get(key.0, key.1, &key.2).is_some() {
            hot_hits += 1;
        } else {
            let ghost = marks.get(&identity).copied().unwrap_or(0);
            hot.insert(&new_entry(&key, value), ghost);
            assert!(hot.pin(key.0, key.1, &key.2) && hot.get(key.0, key.1, &key.2).is_some());
            hot.unpin(key.0, key.1, &key.2);
            for evicted in hot.evict(budget, Lsn(1)) {
                marks.insert(evicted.identity, evicted.freq);
            }
        }
        let node_and_row = size_of::<HotEntry>() + 8;
        let cost =
            HotEntry::new(&new_entry(&key, value), QueueName::Small, &mut Vec::new()).heap_bytes();
        lru_hits += u32::from(lru.access(number, cost + node_and_row, budget));
    }
    (f64::from(hot_hits) / count as f64, f64::from(lru_hits) / count as f64)
}

#[test]
fn hits_at_least_as_often_as_lru() {
    let mut traces = Vec::new();
    for exponent in [0.8, 0.9, 1.0, 1.1] {
        for (scan_percent, scanned, drift_every) in
            [(0, 1, 0), (0, 1, 1_000), (20, 1 << 40, 0), (20, 30_000, 1_000), (50, 1 << 40, 0)]
        {
            traces.push(Trace::new(exponent, scan_percent, scanned, drift_every));
        }
    }
    let mut worse = Vec::new();
    for trace in &traces {
        for budget in [1_000_000, 10_000_000] {
            let (hot, lru) = compare(trace, budget, 1);
            println!(
                "{:52} {:>3} MB: s3-fifo {hot:.4} lru {lru:.4} {:+.4}",
                trace.name,
                budget / 1_000_000,
                hot - lru
            );
            if hot < lru {
                worse.push((trace.name.clone(), budget, hot, lru));
            }
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}

#[test]
fn a_working_set_larger_than_the_small_queue_gets_in_through_the_ghosts() {
    let (mut hot, mut marks) = (Hot::new(), HashMap::new());
    let budget = 5_000_000;
    // 2,500 values of about 1,150 bytes, one after the other: 58 % of the budget, so each has left
    // the small queue long before it is read again.
    let (mut last_hits, mut strangers) = (0, 1 << 32);
    // A sixth of what is missing gets in with every turn.
    for _ in 0..24 {
        last_hits = 0;
        for number in 0..2_500u64 {
            let key = (Namespace(0), Identity::of(KeyHash(Random(number).next())), vec![1]);
            if hot.get(key.0, key.1, &key.2).is_some() {
                last_hits += 1;
                continue;
            }
            hot.insert(&new_entry(&key, &[0; 1_000]), marks.get(&key.1).copied().unwrap_or(0));
            marks.extend(hot.evict(budget, Lsn(1)).map(|evicted| (evicted.identity, evicted.freq)));
            // Others come by and are never seen again. They are as long: none stays for its size.
            strangers += 1;
            let stranger = Identity::of(KeyHash(Random(strangers).next()));
            hot.insert(&new_entry(&(Namespace(1), stranger, vec![2]), &[0; 1_000]), 0);
        }
    }
    assert!(last_hits > 2_300, "{last_hits} of 2,500");
}
