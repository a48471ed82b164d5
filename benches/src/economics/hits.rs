//! Hit ratio of the hot set at equal bytes, beside LRU and moka (W-TinyLFU).

use std::collections::{BinaryHeap, HashMap};

use anyhow::Result;
use emberlog_engine::hot::{Hot, NewEntry};
use emberlog_engine::index::Identity;
use emberlog_engine::units::{KeyHash, Location, Lsn, Namespace};

use super::{Bar, Plot, Section, Series, Settings, Table};

/// `SplitMix64`.
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Bytes of a key's value: 200 to 2,000, by its number.
fn value_bytes(number: u64) -> usize {
    200 + (mix(!number) % 1800) as usize
}

/// What an entry costs in RAM, for all three: what the hot set counts for it, with its node and its
/// place in the table.
fn charge(number: u64) -> usize {
    let heap = (8 + value_bytes(number) + 8).next_multiple_of(16);
    heap + 32 + size_of::<emberlog_engine::hot::HotEntry>() + 6
}

/// A cache under test: whether it had the key; it does afterwards, if it likes.
trait Cache {
    fn request(&mut self, number: u64) -> bool;
}

/// Emberlog's hot set, with the ghost marks where the index keeps them.
struct Ours {
    hot: Hot,
    marks: HashMap<Identity, u8>,
    budget: usize,
    value: Vec<u8>,
}

impl Cache for Ours {
    fn request(&mut self, number: u64) -> bool {
        let identity = Identity::of(KeyHash(mix(number)));
        let (namespace, key) = (Namespace(0), number.to_le_bytes());
        if self.hot.get(namespace, identity, &key).is_some() {
            return true;
        }
        let new = NewEntry {
            namespace,
            identity,
            key: &key,
            value: &self.value[..value_bytes(number)],
            value_type: 0,
            expires_at: None,
            lsn: Lsn(1),
            location: Location(1),
        };
        self.hot.insert(&new, self.marks.get(&identity).copied().unwrap_or(0));
        for evicted in self.hot.evict(self.budget, Lsn(1)) {
            self.marks.insert(evicted.identity, evicted.freq);
        }
        false
    }
}

/// The least recently used goes first.
struct Lru {
    cache: lru::LruCache<u64, ()>,
    bytes: usize,
    budget: usize,
}

impl Cache for Lru {
    fn request(&mut self, number: u64) -> bool {
        if self.cache.get(&number).is_some() {
            return true;
        }
        self.cache.put(number, ());
        self.bytes += charge(number);
        while self.bytes > self.budget
            && let Some((oldest, ())) = self.cache.pop_lru()
        {
            self.bytes -= charge(oldest);
        }
        false
    }
}

impl Cache for moka::sync::Cache<u64, ()> {
    fn request(&mut self, number: u64) -> bool {
        let hit = self.get(&number).is_some();
        if !hit {
            self.insert(number, ());
        }
        // Its housekeeping is put off otherwise, as if another thread did it late.
        self.run_pending_tasks();
        hit
    }
}

/// Requests of one kind.
struct Trace {
    name: String,
    requests: Vec<u64>,
    /// Bytes of everything that is requested, or of what is in use at a time.
    bytes: usize,
}

/// Zipf over `keys` keys, of which `scan_percent` of the requests are instead a walk over four times as
/// many others.
fn zipf(exponent: f64, keys: u64, count: usize, scan_percent: u64) -> Trace {
    let mut sum = 0.0;
    let weights: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut scanned = 0;
    let draw = |_| {
        if random.u64(..100) < scan_percent {
            scanned += 1;
            return keys + scanned % (4 * keys);
        }
        let drawn = random.f64() * sum;
        weights.partition_point(|weight| *weight < drawn) as u64
    };
    let requests = (0..count).map(draw).collect();
    let name = match scan_percent {
        0 => format!("Zipf {exponent}"),
        _ => format!("Zipf {exponent}, {scan_percent} % scans"),
    };
    Trace { name, requests, bytes: (0..keys).map(charge).sum() }
}

/// Session views. Users log in at random moments (Poisson); a session has a geometric number of page
/// views, eight on average, two minutes apart on average (exponential), each of which reads the
/// session; then it is never asked for again. One login in four returns to the session of a user who
/// was here before, within a day.
fn sessions(active: u64, count: usize) -> Trace {
    const VIEW_MS: f64 = 120_000.0;
    const VIEWS: f64 = 8.0;
    let mut random = fastrand::Rng::with_seed(2);
    let mut exponential = |mean: f64| (-mean * (1.0 - random.f64()).ln()) as u64;
    let mut choose = fastrand::Rng::with_seed(3);
    let login_ms = VIEW_MS * VIEWS / active as f64;
    let (mut next_login, mut numbers) = (0, 0);
    let mut queue = BinaryHeap::new();
    let mut requests = Vec::with_capacity(count);
    while requests.len() < count {
        let due = queue.peek().map(|std::cmp::Reverse((at, _))| *at);
        if due.is_none_or(|at| at > next_login) {
            let number = if choose.u8(..4) == 0 && numbers > 1 {
                // Among those of the last day.
                let day = (86_400_000.0 / login_ms) as u64;
                numbers - choose.u64(1..=day.min(numbers - 1))
            } else {
                numbers += 1;
                numbers
            };
            queue.push(std::cmp::Reverse((next_login, number)));
            next_login += exponential(login_ms);
            continue;
        }
        let Some(std::cmp::Reverse((at, number))) = queue.pop() else { continue };
        requests.push(number);
        if choose.f64() > 1.0 / VIEWS {
            queue.push(std::cmp::Reverse((at + exponential(VIEW_MS), number)));
        }
    }
    let bytes = (0..active).map(charge).sum();
    Trace { name: "sessions".to_owned(), requests, bytes }
}

/// Share of the requests after the first quarter that were hits, in percent.
fn hit_ratio(cache: &mut dyn Cache, trace: &Trace) -> f64 {
    let warm = trace.requests.len() / 4;
    let (first, rest) = trace.requests.split_at(warm);
    for number in first {
        cache.request(*number);
    }
    let hits = rest.iter().filter(|number| cache.request(**number)).count();
    hits as f64 * 100.0 / rest.len() as f64
}

/// The trace that the picture shows.
const DRAWN: &str = "Zipf 0.9, 20 % scans";

/// Runs the part.
#[expect(clippy::unnecessary_wraps, reason = "all parts look alike")]
pub(super) fn run(settings: &Settings) -> Result<Section> {
    let (keys, count) = (settings.pick(100_000, 5_000), settings.pick(1_500_000, 50_000));
    let mut traces: Vec<Trace> =
        [0.8, 0.9, 1.0, 1.1].map(|exponent| zipf(exponent, keys, count, 0)).into();
    traces.push(zipf(0.9, keys, count, 20));
    traces.push(zipf(0.9, keys, count, 50));
    traces.push(sessions(keys / 4, count));
    let mut section = Section::new(
        "Hit ratio of the hot set",
        format!(
            "{count} requests over {keys} keys with values of 200 to 2,000 bytes; the hit ratio after the first \
             quarter. Budgets are shares of the bytes of all keys; for sessions, of those that are active at a \
             time ({}). All three are charged what the hot set counts for an entry. *Scans* walk over four \
             times as many other keys in turn. *Sessions*: logins at random moments, eight page views on \
             average, two minutes apart on average, then silence; one login in four takes up a session of the \
             last day. LRU: crate `lru`. moka: its W-TinyLFU, its housekeeping run after every request.",
            keys / 4
        ),
    );
    let head = ["trace", "budget", "emberlog %", "LRU %", "moka %", "over LRU", "over moka"];
    let mut table = Table::new("Hit ratios", &head);
    let (mut over_lru, mut over_moka) = (f64::MAX, f64::MAX);
    let mut drawn = [const { Vec::new() }; 3];
    for trace in &traces {
        let shares: &[usize] =
            if trace.name == "sessions" { &[50, 100, 200] } else { &[2, 10, 30] };
        for share in shares {
            let budget = trace.bytes / 100 * share;
            let value = vec![0; 2000];
            let mut ours = Ours { hot: Hot::new(), marks: HashMap::new(), budget, value };
            let mut lru = Lru { cache: lru::LruCache::unbounded(), bytes: 0, budget };
            let mut moka = moka::sync::Cache::builder()
                .max_capacity(budget as u64)
                .weigher(|number: &u64, (): &()| u32::try_from(charge(*number)).unwrap_or(u32::MAX))
                .build();
            let ratios = [
                hit_ratio(&mut ours, trace),
                hit_ratio(&mut lru, trace),
                hit_ratio(&mut moka, trace),
            ];
            if trace.name == DRAWN {
                let points = drawn.iter_mut().zip(ratios);
                points.for_each(|(points, ratio)| points.push((*share as f64, ratio)));
            }
            over_lru = over_lru.min(ratios[0] - ratios[1]);
            over_moka = over_moka.min(ratios[0] - ratios[2]);
            let cells = ratios.iter().map(|ratio| format!("{ratio:.2}"));
            let gaps = [1, 2].map(|peer| format!("{:+.2}", ratios[0] - ratios[peer]));
            table.row(
                [trace.name.clone(), format!("{share} %")].into_iter().chain(cells).chain(gaps),
            );
        }
    }
    section.bars = vec![
        Bar::at_least("hit ratio over LRU's, least of all rows", over_lru, 0.0, "points"),
        Bar::at_least("hit ratio over moka's, least of all rows", over_moka, -1.0, "points"),
    ];
    section.tables.push(table);
    let named = ["emberlog", "LRU", "moka"].into_iter().zip(drawn);
    section.plots.push(Plot {
        file: "hits",
        title: format!("Hit ratio, {DRAWN}"),
        axes: ("budget, percent of all bytes", "percent"),
        log: (false, false),
        series: named.map(|(name, points)| Series { name: name.into(), points }).collect(),
    });
    Ok(section)
}
