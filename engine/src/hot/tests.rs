//! The hot set against a plain map, and what it must never evict.

use std::collections::BTreeMap;

use super::*;
use crate::units::{KeyHash, Lsn};

mod hits;

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

fn seeds() -> Vec<u64> {
    match std::env::var("EMBERLOG_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=8).collect(),
    }
}

fn replay(seed: u64) -> String {
    format!("replay: EMBERLOG_SEED={seed} cargo test -p emberlog-engine hot::")
}

/// A key's number, told apart by few identities, so that different keys share one.
fn key(number: u64) -> (Namespace, Identity, Vec<u8>) {
    let identity = Identity::of(KeyHash((number % 50) << 58));
    (Namespace((number % 3) as u16), identity, format!("key {number}").into_bytes())
}

fn new_entry<'a>(key: &'a (Namespace, Identity, Vec<u8>), value: &'a [u8]) -> NewEntry<'a> {
    NewEntry {
        namespace: key.0,
        identity: key.1,
        key: &key.2,
        value,
        value_type: value.len() as u8,
        expires_at: None,
        lsn: Lsn(1),
        location: Location(7),
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    value: Vec<u8>,
    expires_at: Option<UnixMillis>,
    lsn: Lsn,
    location: Location,
    pins: u32,
}

fn check(hot: &Hot, model: &BTreeMap<u64, Known>, note: &str) {
    assert_eq!(hot.len(), model.len(), "{note}");
    for (number, known) in model {
        let (namespace, identity, bytes) = key(*number);
        let entry = hot.peek(namespace, identity, &bytes).expect(note);
        assert_eq!((entry.key(), entry.value_bytes()), (&bytes[..], &known.value[..]), "{note}");
        assert_eq!(entry.value_bytes(), known.value, "{note}");
        assert_eq!(entry.expires_at(), known.expires_at, "{note}");
        assert_eq!((entry.lsn(), entry.location()), (known.lsn, known.location), "{note}");
        assert_eq!(entry.is_pinned(), known.pins > 0, "{note}");
    }
}

/// Evicts, and removes from the model what has gone; returns how many.
fn evict_both(
    hot: &mut Hot,
    model: &mut BTreeMap<u64, Known>,
    budget: usize,
    durable: Lsn,
    note: &str,
) -> usize {
    let before = model.len();
    // One call may stop early; four get through 600 entries.
    for _ in 0..4 {
        for evicted in hot.evict(budget, durable).collect::<Vec<_>>() {
            // An identity stands for up to 12 keys here: find which of them has gone.
            model.retain(|number, known| {
                let key = key(*number);
                let gone = (key.0, key.1) == (evicted.namespace, evicted.identity)
                    && hot.peek(key.0, key.1, &key.2).is_none();
                assert!(!gone || (known.pins == 0 && known.lsn <= durable), "{known:?}; {note}");
                !gone
            });
        }
    }
    let evictable = model.values().any(|known| known.pins == 0 && known.lsn <= durable);
    assert!(hot.bytes() <= budget || !evictable, "above budget; {note}");
    before - model.len()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one arm for each operation")]
fn behaves_as_a_map_that_forgets_only_what_it_may() {
    for seed in seeds() {
        let note = replay(seed);
        let mut random = Random(seed);
        let (mut hot, mut model) = (Hot::new(), BTreeMap::<u64, Known>::new());
        let mut forgotten = 0;
        for step in 1..30_000u64 {
            let number = random.below(600);
            let key = key(number);
            let (namespace, identity, bytes) = (key.0, key.1, &key.2[..]);
            let known = model.get_mut(&number);
            match random.below(10) {
                0..4 => {
                    let value = vec![number as u8; random.below(300) as usize];
                    let expires_at =
                        (random.below(2) == 0).then(|| UnixMillis(random.below(1 << 48)));
                    let (lsn, location) = (Lsn(step), Location(step));
                    let new = NewEntry { expires_at, lsn, location, ..new_entry(&key, &value) };
                    hot.insert(&new, random.below(4) as u8);
                    let pins = known.map_or(0, |known| known.pins);
                    model.insert(number, Known { value, expires_at, lsn, location, pins });
                }
                4 => {
                    assert_eq!(hot.remove(namespace, identity, bytes), known.is_some(), "{note}");
                    model.remove(&number);
                }
                5 => {
                    let expires_at = Some(UnixMillis(step));
                    let done = hot.set_expiry(namespace, identity, bytes, expires_at);
                    assert_eq!(done, known.is_some(), "{note}");
                    if let Some(known) = known {
                        known.expires_at = expires_at;
                    }
                }
                6 => {
                    let from = known.as_ref().map_or(Location(1 << 35), |known| known.location);
                    let to = Location(100_000 + step);
                    let done = hot.set_location(namespace, identity, from, to);
                    assert_eq!(done, known.is_some(), "{note}");
                    if let Some(known) = known {
                        known.location = to;
                    }
                    assert_eq!(hot.peek_at(namespace, identity, to).is_some(), done, "{note}");
                }
                7 if random.below(4) == 0 => {
                    assert_eq!(hot.pin(namespace, identity, bytes), known.is_some(), "{note}");
                    if let Some(known) = known {
                        known.pins += 1;
                    }
                }
                7 => {
                    hot.unpin(namespace, identity, bytes);
                    if let Some(known) = known {
                        known.pins = known.pins.saturating_sub(1);
                    }
                }
                8 => {
                    let found = hot.get(namespace, identity, bytes).map(HotEntry::value);
                    assert_eq!(found.as_deref(), known.map(|k| &k.value[..]), "{note}");
                }
                _ => {
                    let durable = Lsn(step.saturating_sub(random.below(2_000)));
                    let budget = 20_000 + random.below(100_000) as usize;
                    forgotten += evict_both(&mut hot, &mut model, budget, durable, &note);
                }
            }
            if step % 1_000 == 0 {
                check(&hot, &model, &note);
            }
            if step % 9_000 == 0 {
                hot.clear_namespace(Namespace(1));
                model.retain(|number, _| number % 3 != 1);
                check(&hot, &model, &note);
            }
        }
        assert!(forgotten > 1_000, "the test saw evictions: {forgotten}");
    }
}

#[test]
fn when_nothing_may_go_a_call_gives_up_soon_and_a_later_one_succeeds() {
    let mut hot = Hot::new();
    for number in 0..10_000 {
        hot.insert(&NewEntry { lsn: Lsn(9), ..new_entry(&key(number), &[0; 100]) }, 0);
    }
    let first_before = hot.small.oldest();
    assert_eq!(hot.evict(0, Lsn(8)).count(), 0);
    assert_eq!(hot.len(), 10_000);
    // It looked at a bounded number, so entry 1,024 is now the oldest of the queue.
    assert_eq!((first_before, hot.small.oldest()), (Some(0), Some(1_024)));
    assert!(!hot.is_behind(), "nothing that a call soon could do better");
    let mut calls = Vec::new();
    while !hot.is_empty() {
        calls.push(hot.evict(0, Lsn(9)).count());
    }
    assert_eq!(calls, [2_048, 2_048, 2_048, 2_048, 1_808]);
}

#[test]
fn a_call_evicts_twice_what_came_and_some_more() {
    let mut hot = Hot::new();
    for number in 0..30_000 {
        hot.insert(&new_entry(&key(number), &[0; 100]), 0);
    }
    assert_eq!(hot.evict(0, Lsn(9)).count(), 16_384);
    for number in 30_000..31_000 {
        hot.insert(&new_entry(&key(number), &[0; 100]), 0);
    }
    assert_eq!(hot.evict(0, Lsn(9)).count(), 4_048);
    assert!(hot.is_behind());
}

#[test]
fn what_a_clear_takes_is_gone_at_once_and_given_back_in_slices() {
    let mut hot = Hot::new();
    let only_one = (0..).filter(|number| number % 3 == 1).take(20_000).collect::<Vec<u64>>();
    for number in &only_one {
        let key = key(*number);
        assert_eq!(key.0, Namespace(1));
        hot.insert(&new_entry(&key, &[0; 100]), 0);
    }
    assert_eq!(hot.evict(usize::MAX, Lsn(9)).count(), 0);
    let before = hot.bytes();
    hot.clear_namespace(Namespace(1));
    assert_eq!(hot.len(), 0);
    for number in &only_one {
        let key = key(*number);
        assert!(hot.peek(key.0, key.1, &key.2).is_none());
    }
    let table = hot.table.bytes();
    assert!(hot.bytes() > before / 10 * 9 - table, "it is still there, and counted");
    let new = key(4);
    hot.insert(&new_entry(&new, b"new"), 0);
    let (mut calls, mut last) = (0, hot.bytes());
    while hot.is_behind() {
        assert_eq!(hot.evict(300_000, Lsn(9)).count(), 0, "not instead of it");
        calls += 1;
        assert!(last - hot.bytes() <= 20 * 256 * (size_of::<HotEntry>() + 200), "in slices");
        last = hot.bytes();
    }
    assert!(calls >= 5, "{calls}");
    assert!(hot.bytes() < 300_000, "{}", hot.bytes());
    assert!(hot.peek(new.0, new.1, &new.2).is_some());
}

#[test]
fn bytes_go_back_to_what_the_arena_keeps_and_nodes_are_reused() {
    let mut hot = Hot::new();
    assert_eq!(size_of::<HotEntry>(), 80);
    let mut peak = 0;
    for round in 0..5 {
        for number in 0..5_000 {
            hot.insert(&new_entry(&key(number), &[1; 1_000]), 0);
        }
        // 5,000 * (16 + 1,008 + 8 -> 1,040, node 80) and the table.
        let each = hot.bytes() / 5_000;
        assert!((1_120..1_160).contains(&each), "{each} bytes an entry");
        peak = if round == 0 { hot.bytes() } else { peak };
        assert_eq!(hot.bytes(), peak, "a second round needs no more RAM");
        for number in 0..5_000 {
            let (namespace, identity, bytes) = key(number);
            assert!(hot.remove(namespace, identity, &bytes));
        }
        assert_eq!(hot.heap_bytes, 0);
    }
}

#[test]
fn a_value_outlives_its_entry() {
    let mut hot = Hot::new();
    let key = key(1);
    hot.insert(&new_entry(&key, b"value"), 0);
    let value = hot.get(key.0, key.1, &key.2).map(HotEntry::value);
    assert!(hot.remove(key.0, key.1, &key.2));
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
}

#[test]
fn a_mark_is_recent_for_two_generations() {
    let mut ghosts = Ghosts::default();
    assert!(!ghosts.is_recent(0));
    // Generations of 600 bytes: they end with the seventh value of 100 bytes. Every sixth is marked.
    let marks: Vec<u8> = (0..24).map(|_| ghosts.mark(100, 1_000)).collect();
    let marked = |at: usize, mark: u8| (at, mark);
    let given = (0..24).zip(marks).filter(|(_, mark)| *mark != 0).collect::<Vec<_>>();
    assert_eq!(given, [marked(5, 1), marked(11, 2), marked(17, 3), marked(23, 1)]);
    assert!(ghosts.is_recent(1) && ghosts.is_recent(3) && !ghosts.is_recent(2));
}
