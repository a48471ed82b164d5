//! RAM per entry, time per operation and the longest pause of the index, as it grows.
//!
//! `benches index [ENTRIES]` (default 10 million) inserts that many entries one by one into an empty index
//! and reports the process's resident memory before and after, so allocator overhead and
//! half-finished growth are in it.

#![expect(clippy::cast_precision_loss, reason = "results are printed with three digits")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use emberlog_engine::index::{Entry, Expiry, Identity, Index, SizeClass};
use emberlog_engine::units::{KeyHash, Location, UnixMillis};

/// The hash of key number `n`: `SplitMix64`, as good as a keyed hash of a key.
fn hash(n: u64) -> KeyHash {
    let z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    KeyHash(z ^ (z >> 31))
}

fn identity(n: u64) -> Identity {
    Identity::of(hash(n))
}

fn entry(n: u64) -> Entry {
    Entry {
        location: Location(n + 1),
        size: SizeClass::of(400),
        expiry: Expiry::FAR,
        freq: 0,
        touch: 0,
    }
}

/// Resident bytes of this process.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// What one dependent random read costs in `bytes` of RAM: the floor of a cold lookup.
fn memory_latency_ns(bytes: u64) -> f64 {
    let words = bytes / 8;
    let memory: Vec<u64> = (0..words).map(|n| hash(n).0).collect();
    let mut at = 0;
    let ns = per_operation(2_000_000, || {
        for n in 0..2_000_000u64 {
            at = memory[usize::try_from((at ^ n) % words).unwrap_or(0)];
        }
    });
    black_box(at);
    ns
}

/// Nanoseconds of `work` per operation.
fn per_operation(operations: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9 / operations as f64
}

/// Pauses of at least 100 us, by the number of the insert.
pub(crate) type Pauses = BTreeMap<u64, Duration>;

/// Inserts one by one, timing each; returns the pauses and the most bytes per entry on the way.
pub(crate) fn insert_all(index: &mut Index, entries: u64) -> (Pauses, f64) {
    let (mut pauses, mut most_bytes) = (Pauses::new(), 0.0f64);
    let mut last = Instant::now();
    for n in 0..entries {
        index.insert(identity(n), entry(n));
        let now = Instant::now();
        if now - last >= Duration::from_micros(100) {
            pauses.insert(n, now - last);
        }
        last = now;
        if n > entries / 2 && n.is_multiple_of(1024) {
            most_bytes = most_bytes.max(index.bytes() as f64 / n as f64);
        }
    }
    (pauses, most_bytes)
}

/// The longest pause that every run made at the same insert. The work is the same in each, so what
/// one run alone shows is the scheduler's.
pub(crate) fn longest_common(runs: &[Pauses]) -> Duration {
    let in_all = |n: &u64| runs.iter().map(|run| run.get(n).copied()).min().flatten();
    runs.first().into_iter().flat_map(BTreeMap::keys).filter_map(in_all).max().unwrap_or_default()
}

/// Times reads and updates of single entries.
fn lookups(index: &mut Index, entries: u64) {
    let mut found = 0u64;
    let hit = per_operation(entries, || {
        for n in 0..entries {
            // Dependent on the last result, so that lookups do not overlap: cold latency.
            let n = (n.wrapping_mul(0x9E37_79B9) + found) % entries;
            found += u64::from(index.get(identity(n)).is_some());
        }
    });
    assert_eq!(found, entries, "every entry is found");
    let independent = per_operation(entries, || {
        for n in 0..entries {
            black_box(index.get(identity(n.wrapping_mul(0x9E37_79B9) % entries)));
        }
    });
    let miss = per_operation(entries, || {
        for n in 0..entries {
            black_box(index.get(identity(n + entries)));
        }
    });
    println!("get: cold hit {hit:.0} ns, independent hits {independent:.0} ns, miss {miss:.0} ns");
    let update = per_operation(entries, || {
        for n in 0..entries {
            index.update(identity(n), |entry| entry.freq = 1);
        }
    });
    println!("update {update:.0} ns");
}

/// Times visits and scans.
fn walks(index: &Index) {
    let page = per_operation(index.pages() as u64, || {
        index.for_each(|identity, entry| {
            black_box((identity, entry));
        });
    });
    println!("visit_page {:.1} us", page / 1000.0);
    let sweep = per_operation(index.pages() as u64, || {
        let now = UnixMillis(1_790_000_000_000);
        for page in 0..index.pages() {
            index.visit_due(page, now.0 / 1000 + 30, now, |identity, entry| {
                black_box((identity, entry));
            });
        }
    });
    println!("visit_due, nothing due {:.1} us", sweep / 1000.0);
    let scan = per_operation(1000, || {
        for n in 0..1000 {
            black_box(index.scan(identity(n).x(), 10));
        }
    });
    println!("scan of 10 {:.1} us", scan / 1000.0);
}

/// Measures the index alone.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Entries.
    #[arg(default_value_t = 10_000_000)]
    entries: u64,
}

/// Measures, and prints.
pub(crate) fn run(arguments: &Arguments) {
    let entries = arguments.entries;
    let before = resident_bytes();
    let mut index = Index::new();
    let start = Instant::now();
    let (pauses, most_bytes) = insert_all(&mut index, entries);
    let insert_ns = start.elapsed().as_secs_f64() * 1e9 / entries as f64;
    let resident = resident_bytes() - before;

    println!("entries {}, pages {}", index.len(), index.pages());
    println!("RSS {:.2} bytes per entry", resident as f64 / entries as f64);
    println!("Index::bytes() {:.2} per entry", index.bytes() as f64 / entries as f64);
    println!("most Index::bytes() per entry in the second half {most_bytes:.2}");
    let mut runs = vec![pauses];
    for _ in 0..2 {
        runs.push(insert_all(&mut Index::new(), entries).0);
    }
    let single: Vec<_> = runs.iter().filter_map(|run| run.values().max()).collect();
    println!(
        "insert with growth {insert_ns:.0} ns; longest pause common to 3 runs {:?}, of each {single:?}",
        longest_common(&runs)
    );

    println!(
        "this machine: {:.0} ns for a random read of as much RAM",
        memory_latency_ns(resident)
    );
    lookups(&mut index, entries);
    walks(&index);

    drop(index);
    let mut index = Index::with_capacity(usize::try_from(entries).unwrap_or(usize::MAX));
    let known = per_operation(entries, || {
        for n in 0..entries {
            index.insert(identity(n), entry(n));
        }
    });
    println!("insert with a known count {known:.0} ns");
    let clear = per_operation(1, || index.clear());
    println!("clear {:.1} ms", clear / 1e6);
}
