//! The index against a plain ordered map, with good hashes and with very bad ones.

use std::collections::BTreeMap;

use super::*;
use crate::units::{KeyHash, Location, UnixMillis};

/// `SplitMix64`: small, seedable, good enough to stand for a keyed hash.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn entry(random: &mut Random) -> Entry {
    let now = UnixMillis(1_790_000_000_000);
    let expires = random.below(3) == 0;
    Entry {
        location: Location(1 + random.below((1 << 36) - 1)),
        size: SizeClass::of(random.below(1 << 20) as usize),
        expiry: Expiry::of(expires.then(|| now.plus(random.below(1 << 36))), now),
        freq: random.below(4) as u8,
        touch: random.below(8) as u8,
    }
}

/// How a key number becomes a hash: well, or in the ways that hurt a cuckoo page most.
#[derive(Clone, Copy, Debug)]
enum Hashing {
    Good,
    /// Eight values of `x`, all buckets: identities collide and pages are lopsided.
    FewXs,
    /// All `x` in one page, few buckets: most entries end in the stash.
    OnePage,
    /// `x` spread out, one bucket of `h`.
    OneBucket,
}

impl Hashing {
    const ALL: [Hashing; 4] = [Hashing::Good, Hashing::FewXs, Hashing::OnePage, Hashing::OneBucket];

    fn hash(self, key: u64) -> KeyHash {
        let good = Random(key).next();
        KeyHash(match self {
            Hashing::Good => good,
            Hashing::FewXs => good & (7 << 61 | 0x1FF << 17),
            Hashing::OnePage => (good & 0xFFF) << 26 | (good >> 40 & 3) << 17,
            Hashing::OneBucket => good & !(0x1FF << 17),
        })
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("EMBERLOG_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=4).collect(),
    }
}

fn replay(seed: u64) -> String {
    format!("replay: EMBERLOG_SEED={seed} cargo test -p emberlog-engine index::")
}

fn all(index: &Index) -> BTreeMap<Identity, Entry> {
    let mut found = BTreeMap::new();
    index.for_each(|identity, entry| {
        assert!(
            found.insert(identity, entry).is_none(),
            "an entry is met once while nothing moves"
        );
    });
    found
}

#[test]
fn behaves_as_a_map_under_any_hash() {
    for seed in seeds() {
        for hashing in Hashing::ALL {
            let note = format!("{hashing:?}; {}", replay(seed));
            let mut random = Random(seed);
            let (mut index, mut model) = (Index::new(), BTreeMap::new());
            for step in 0..60_000u64 {
                let identity = Identity::of(hashing.hash(random.below(20_000)));
                match random.below(8) {
                    0..4 => {
                        let entry = entry(&mut random);
                        assert_eq!(
                            index.insert(identity, entry),
                            model.insert(identity, entry),
                            "{note}"
                        );
                    }
                    4 => assert_eq!(index.remove(identity), model.remove(&identity), "{note}"),
                    5 => {
                        let new = entry(&mut random);
                        let known = model.get_mut(&identity).map(|entry| *entry = new).is_some();
                        assert_eq!(index.update(identity, |entry| *entry = new), known, "{note}");
                    }
                    _ => assert_eq!(index.get(identity), model.get(&identity).copied(), "{note}"),
                }
                if step % 10_000 == 9_999 {
                    assert_eq!(all(&index), model, "{note}");
                }
            }
            assert_eq!(index.len(), model.len(), "{note}");
            let expiring = model.values().filter(|entry| entry.expiry.is_some()).count();
            assert_eq!(index.expiring_len(), expiring, "{note}");
            index.clear();
            assert_eq!((index.len(), index.expiring_len(), index.bytes()), (0, 0, 0));
        }
    }
}

#[test]
fn grows_through_every_size_without_losing_an_entry() {
    for seed in seeds() {
        let mut random = Random(seed);
        let mut index = Index::new();
        let mut stash_max = 0;
        // 600 K entries: 140 pages, by the eighth; every entry is checked at several sizes.
        for key in 0..600_000u64 {
            let identity = Identity::of(Hashing::Good.hash(key));
            let location = Location(key + 1);
            assert_eq!(index.insert(identity, Entry { location, ..entry(&mut random) }), None);
            stash_max = stash_max.max(index.stash.len());
            if key.is_power_of_two() || key == 599_999 {
                for known in 0..=key {
                    let found = index.get(Identity::of(Hashing::Good.hash(known)));
                    assert_eq!(found.map(|e| e.location.0), Some(known + 1), "{}", replay(seed));
                }
            }
        }
        let load = index.len() as f64 / (index.pages() * PAGE_SLOTS) as f64;
        println!("seed {seed}: {} pages, load {load:.3}, stash at most {stash_max}", index.pages());
        assert!(load > 0.80 && stash_max < 20, "load {load}, stash {stash_max}; {}", replay(seed));
    }
}

#[test]
fn a_known_count_needs_no_growth() {
    for entries in [1, 4_000, 100_000] {
        let mut index = Index::with_capacity(entries);
        let pages = index.pages();
        let mut random = Random(1);
        for key in 0..entries as u64 {
            index.insert(Identity::of(Hashing::Good.hash(key)), entry(&mut random));
        }
        assert_eq!((index.pages(), index.target), (pages, pages));
    }
    assert_eq!(Index::with_capacity(0).bytes(), 0);
}

/// Keys 0..4,000 stay; keys above come and go and drive growth while `step` walks.
fn walk_while_changing(
    seed: u64,
    hashing: Hashing,
    mut step: impl FnMut(&Index) -> Option<Vec<Identity>>,
) -> (BTreeMap<Identity, u64>, BTreeMap<Identity, u64>) {
    let mut random = Random(seed);
    let mut index = Index::new();
    let stay: BTreeMap<_, _> =
        (0..4_000).map(|key| (Identity::of(hashing.hash(key)), key)).collect();
    for identity in stay.keys() {
        index.insert(*identity, entry(&mut random));
    }
    for _ in 0..random.below(40_000) {
        let identity = Identity::of(hashing.hash(random.next()));
        index.insert(identity, entry(&mut random));
    }
    let mut met: BTreeMap<Identity, u64> = BTreeMap::new();
    while let Some(identities) = step(&index) {
        for identity in identities {
            *met.entry(identity).or_default() += 1;
        }
        for _ in 0..random.below(2_000) {
            let identity = Identity::of(hashing.hash(random.below(150_000)));
            if stay.contains_key(&identity) {
                index.update(identity, |entry| entry.freq = 0);
            } else if random.below(5) == 0 {
                index.remove(identity);
            } else {
                index.insert(identity, entry(&mut random));
            }
        }
    }
    (stay, met)
}

#[test]
fn a_walk_over_pages_meets_every_entry_that_stays() {
    for seed in seeds() {
        for hashing in Hashing::ALL {
            let mut page = 0;
            let (stay, met) = walk_while_changing(seed, hashing, |index| {
                let mut identities = Vec::new();
                (page < index.pages()).then(|| {
                    index.visit_page(page, |identity, _| identities.push(identity));
                    page += 1;
                    identities
                })
            });
            for identity in stay.keys() {
                assert!(met.contains_key(identity), "{identity:?} {hashing:?}; {}", replay(seed));
            }
        }
    }
}

#[test]
fn a_scan_meets_every_entry_that_stays_exactly_once() {
    for seed in seeds() {
        for hashing in Hashing::ALL {
            for (count, coarse) in [(1, 0), (10, 10), (1_000, 0), (1_000, 31), (50_000, 10)] {
                // Small counts start near the end, or they would take for ever.
                let first = if count <= 10 { (1 << 38) - (1 << 30) } else { 0 };
                let mut cursor = Some(first);
                let (stay, met) = walk_while_changing(seed, hashing, |index| {
                    let (found, next) = index.scan_where(cursor?, count, coarse, |_| true);
                    assert_eq!(next % (1 << coarse), 0, "{hashing:?} {}", replay(seed));
                    let sorted = found.windows(2).all(|pair| pair[0].0 < pair[1].0);
                    assert!(sorted, "{hashing:?} {}", replay(seed));
                    cursor = (next != 0).then_some(next);
                    Some(found.into_iter().map(|(identity, _)| identity).collect())
                });
                for identity in stay.keys().filter(|identity| identity.x() >= first) {
                    let times = met.get(identity).copied();
                    assert_eq!(times, Some(1), "{identity:?} {hashing:?}; {}", replay(seed));
                }
            }
        }
    }
}

#[test]
fn a_scan_keeps_equal_xs_together_and_is_complete_on_a_still_index() {
    for hashing in Hashing::ALL {
        let mut random = Random(9);
        let mut index = Index::new();
        for key in 0..30_000 {
            index.insert(Identity::of(hashing.hash(key)), entry(&mut random));
        }
        for (count, coarse) in [(7, 0), (100, 20), (100, 36), (5_000, 10), (usize::MAX, 0)] {
            let (mut scanned, mut cursor, mut last_x) = (Vec::new(), 0, None);
            loop {
                let (found, next) = index.scan_where(cursor, count, coarse, |_| true);
                let x = |found: Option<&(Identity, Entry)>| found.map(|(id, _)| id.x() >> coarse);
                let first_x = x(found.first());
                assert!(first_x.is_none() || first_x > last_x, "{hashing:?}: an x was split");
                last_x = x(found.last()).or(last_x);
                scanned.extend(found);
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(scanned, all(&index).into_iter().collect::<Vec<_>>(), "{hashing:?} {count}");
        }
    }
}

#[test]
fn a_scan_for_some_entries_meets_these_and_no_others() {
    for hashing in Hashing::ALL {
        let mut random = Random(11);
        let mut index = Index::new();
        for key in 0..30_000 {
            index.insert(Identity::of(hashing.hash(key)), entry(&mut random));
        }
        let wanted = |entry: &Entry| entry.location.0.is_multiple_of(5);
        let (mut scanned, mut cursor) = index.scan_where(0, 100, 10, wanted);
        while cursor != 0 {
            let (found, next) = index.scan_where(cursor, 100, 10, wanted);
            scanned.extend(found);
            cursor = next;
        }
        let expected: Vec<_> = all(&index).into_iter().filter(|(_, e)| wanted(e)).collect();
        assert!(!expected.is_empty() && expected.len() < index.len());
        assert_eq!(scanned, expected, "{hashing:?}");
    }
}

#[test]
fn a_sweep_meets_what_is_due_and_nothing_else() {
    for hashing in Hashing::ALL {
        let mut random = Random(4);
        let mut index = Index::new();
        for key in 0..30_000 {
            index.insert(Identity::of(hashing.hash(key)), entry(&mut random));
        }
        let now = UnixMillis(1_790_000_000_000);
        let until = now.0 / 1000 + 5_000_000;
        let mut due = BTreeMap::new();
        for page in 0..index.pages() {
            index.visit_due(page, until, now, |identity, entry| {
                assert!(due.insert(identity, entry).is_none());
            });
        }
        let mut expected = all(&index);
        expected.retain(|_, e| matches!(e.expiry.due(now), Due::At(secs) if secs <= until));
        assert_eq!(due, expected, "{hashing:?}");
        assert!(!due.is_empty() || matches!(hashing, Hashing::FewXs), "{hashing:?}");
    }
}

#[test]
fn random_entries_are_spread_and_exist() {
    let mut index = Index::new();
    assert_eq!(index.random(5), None);
    let mut random = Random(3);
    for key in 0..20_000 {
        index.insert(Identity::of(Hashing::Good.hash(key)), entry(&mut random));
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5_000 {
        let (identity, entry) = index.random(random.next()).expect("there are entries");
        assert_eq!(index.get(identity), Some(entry));
        seen.insert(identity);
    }
    // 5,000 draws with gap bias from 20,000: uniform would give 4,424 different ones.
    assert!(seen.len() > 3_500, "{}", seen.len());
    // One entry left among empty pages is found from anywhere.
    let (last, _) = index.random(0).expect("there are entries");
    let identities: Vec<_> = all(&index).into_keys().filter(|id| *id != last).collect();
    for identity in identities {
        index.remove(identity);
    }
    for _ in 0..100 {
        assert_eq!(index.random(random.next()).map(|found| found.0), Some(last));
    }
}

#[test]
fn nothing_is_found_in_an_empty_index() {
    let mut index = Index::new();
    let identity = Identity::of(KeyHash(42));
    assert_eq!(index.get(identity), None);
    assert_eq!(index.remove(identity), None);
    assert!(!index.update(identity, |_| unreachable!("no entry")));
    assert_eq!(index.scan(0, 10), (Vec::new(), 0));
    assert_eq!((index.pages(), index.bytes()), (0, 0));
}

/// What recovery does: rows in the index's own order, or in any order, and no known count.
#[test]
fn a_bulk_fill_loses_nothing_and_ends_as_small_as_slow_growth() {
    for (hashing, sorted) in
        [(Hashing::Good, false), (Hashing::Good, true), (Hashing::OneBucket, false)]
    {
        for entries in [0, 1, 5_000, 40_000, 300_000_u64] {
            let entries =
                if matches!(hashing, Hashing::Good) { entries } else { entries.min(3000) };
            let mut random = Random(entries);
            let identities = (0..entries).map(|key| Identity::of(hashing.hash(key)));
            let mut expected: Vec<_> = identities.map(|id| (id, entry(&mut random))).collect();
            expected.sort_by_key(|(identity, _)| *identity);
            expected.dedup_by_key(|(identity, _)| *identity);
            let mut index = Index::new();
            index.begin_bulk();
            if sorted {
                index.reserve_empty(expected.len());
            }
            let mut order: Vec<_> = (0..expected.len()).collect();
            if !sorted {
                order.sort_by_key(|at| Random(*at as u64).next());
            }
            for at in order {
                assert_eq!(index.insert(expected[at].0, expected[at].1), None);
            }
            index.end_bulk();
            assert_eq!(index.len(), expected.len());
            for (identity, entry) in &expected {
                assert_eq!(index.get(*identity), Some(*entry), "{hashing:?} of {entries}");
            }
            let mut visited = 0;
            index.for_each(|_, _| visited += 1);
            assert_eq!(visited, expected.len(), "{hashing:?} of {entries}");
            if entries == 300_000 {
                let bytes = index.bytes() as f64 / entries as f64;
                assert!(bytes < 16.1, "{bytes} bytes per entry");
            }
            // It grows on as any other.
            for key in 0..5000 {
                let id = Identity::of(Hashing::Good.hash(key + (1 << 40)));
                index.insert(id, entry(&mut random));
            }
            for (identity, entry) in &expected {
                assert_eq!(index.get(*identity), Some(*entry), "{hashing:?} of {entries}, grown");
            }
        }
    }
}
