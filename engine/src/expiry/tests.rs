//! The wheel against a sorted list, and the sweep's coverage and pace.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::units::KeyHash;

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state ^ (*state >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

fn seeds() -> Vec<u64> {
    match std::env::var("EMBERLOG_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=20).collect(),
    }
}

fn replay(seed: u64) -> String {
    format!("replay: EMBERLOG_SEED={seed} cargo test -p emberlog-engine expiry::")
}

#[test]
fn everything_taken_comes_out_in_order_and_never_early() {
    for seed in seeds() {
        let mut state = seed;
        let mut now = 1_790_000_000_000 + random(&mut state) % 1000;
        let mut wheel = Wheel::new(1_000 + random(&mut state) % 3_000);
        let mut model: BTreeMap<u64, Vec<(Namespace, Identity)>> = BTreeMap::new();
        // A clock set back does not move the window back.
        let (mut held, mut latest) = (0, now);
        for _ in 0..3_000 {
            for _ in 0..random(&mut state) % 20 {
                let due = (now + random(&mut state) % 5_000).saturating_sub(200);
                let who = (
                    Namespace(random(&mut state) as u16),
                    Identity::of(KeyHash(random(&mut state) << 8)),
                );
                let taken = wheel.schedule(UnixMillis(due), UnixMillis(now), who.0, who.1);
                let behind = model.keys().next().is_some_and(|first| *first <= now);
                if due <= now + wheel.window_ms() && !behind {
                    assert!(taken, "due in {} ms; {}", due as i64 - now as i64, replay(seed));
                } else if due > latest + wheel.window_ms() + 2 * TICK_MS {
                    assert!(!taken, "due in {} ms; {}", due - now, replay(seed));
                }
                if taken {
                    model.entry(due).or_default().push(who);
                    held += 1;
                }
            }
            // Mostly small steps; now and then a stall longer than the window, or a step back.
            now = match random(&mut state) % 100 {
                0 => now + 10_000,
                1 => now - 100,
                _ => now + random(&mut state) % 40,
            };
            latest = latest.max(now);
            if let (Some(next), Some((first, _))) = (wheel.next_due(), model.first_key_value()) {
                assert!(next.0 <= *first && next.0 + TICK_MS > *first, "{}", replay(seed));
            }
            // Now and then the shard is busy and takes only some of what is due.
            let limit = if random(&mut state).is_multiple_of(4) {
                random(&mut state) % 10
            } else {
                u64::MAX
            };
            let mut taken = 0;
            while taken < limit
                && let Some((namespace, identity, due)) = wheel.due(UnixMillis(now))
            {
                taken += 1;
                let (first, whos) = model.iter_mut().next().expect("it was scheduled");
                assert!(due.0 <= now && due.0 == *first, "{}", replay(seed));
                let at = whos.iter().position(|who| *who == (namespace, identity));
                whos.swap_remove(at.expect("it was scheduled for then"));
                if whos.is_empty() {
                    model.pop_first();
                }
                held -= 1;
            }
            if taken < limit {
                assert!(model.keys().next().is_none_or(|due| *due > now), "late; {}", replay(seed));
            }
            assert_eq!(wheel.len(), held, "{}", replay(seed));
        }
    }
}

#[test]
fn a_wheel_that_slept_takes_what_is_near_now() {
    let mut wheel = Wheel::new(10_000);
    let identity = Identity::of(KeyHash(1));
    for now in [0, 1_000_000, 1_790_000_000_000] {
        assert_eq!(wheel.next_due(), None);
        let due = UnixMillis(now + 100);
        assert!(wheel.schedule(due, UnixMillis(now), Namespace(3), identity));
        assert_eq!(wheel.due(UnixMillis(now + 99)), None);
        assert_eq!(wheel.due(UnixMillis(now + 100)), Some((Namespace(3), identity, due)));
    }
}

#[test]
fn rearming_for_ever_leaves_nothing_beyond_the_window_and_costs_24_bytes_an_item() {
    let mut wheel = Wheel::new(2_000);
    let (mut most, mut most_bytes) = (0, 0);
    for now in 0..20_000u64 {
        for key in 0..50u64 {
            let identity = Identity::of(KeyHash(key << 40));
            wheel.schedule(UnixMillis(now + 1_500), UnixMillis(now), Namespace(0), identity);
        }
        while wheel.due(UnixMillis(now)).is_some() {}
        most = most.max(wheel.len());
        if now % 1_000 == 999 {
            most_bytes = most_bytes.max(wheel.bytes());
        }
    }
    assert!(most <= 1_501 * 50, "{most}");
    println!("{most} items in {most_bytes} bytes");
    assert!(most_bytes <= most * 24, "{most_bytes} bytes for {most} items");
}

#[test]
fn a_sweep_visits_every_page_once_a_pass_and_evenly() {
    let wheel = Wheel::new(20_000);
    let mut sweep = Sweep::new(&wheel, UnixMillis(0));
    let pages = [3, 0, 40, 0, 7, 0];
    let mut passes: BTreeMap<u64, BTreeSet<(usize, usize)>> = BTreeMap::new();
    let mut most_at_once = 0;
    for now in (0..60_000).step_by(10) {
        let mut at_once = 0;
        while let Some(visit) = sweep.next(UnixMillis(now), pages.len(), |n| pages[n]) {
            assert!(visit.1 < pages[visit.0]);
            assert!(passes.entry(now / 10_000).or_default().insert(visit), "twice in a pass");
            at_once += 1;
        }
        most_at_once = most_at_once.max(at_once);
    }
    assert_eq!(passes.values().map(BTreeSet::len).collect::<Vec<_>>(), [50; 6]);
    assert_eq!(most_at_once, 1, "50 pages in 10 s are one every 200 ms");
}

#[test]
fn a_sweep_of_nothing_rests_and_notices_growth() {
    let wheel = Wheel::new(1_000);
    let mut sweep = Sweep::new(&wheel, UnixMillis(0));
    assert_eq!(sweep.next(UnixMillis(0), 0, |_| 0), None);
    assert_eq!(sweep.next(UnixMillis(0), 2, |_| 0), None);
    assert_eq!(sweep.next_at(2, |_| 0), UnixMillis(504));
    // A page that appears is visited in this pass or the next, pages that vanish are skipped.
    let mut visits = Vec::new();
    for now in 0..1_100 {
        visits.extend(sweep.next(UnixMillis(now), 2, |n| n));
    }
    assert_eq!(visits, [(1, 0), (1, 0)]);
    assert_eq!(sweep.next(UnixMillis(5_000), 2, |n| 2 * n), Some((1, 0)));
    assert_eq!(sweep.next(UnixMillis(5_000), 2, |_| 0), None);
}

#[test]
fn what_is_upcoming_is_shown_once_by_a_cursor_and_comes_out_all_the_same() {
    let now = UnixMillis(1_790_000_000_000);
    let mut wheel = Wheel::new(10_000);
    let identity = |n: u64| Identity::of(KeyHash(n << 40));
    for n in 0..1000 {
        assert!(wheel.schedule(now.plus(n * 9), now, Namespace(3), identity(n)));
    }
    let mut shown = Vec::new();
    let mut seen = now;
    for step in 1..=300 {
        let until = now.plus(step * 37);
        shown.extend(wheel.upcoming(seen, until).map(|(_, identity, _)| identity));
        seen = until;
    }
    shown.sort_unstable();
    let mut all: Vec<_> = (0..1000).map(identity).collect();
    all.sort_unstable();
    assert_eq!(shown, all);
    let out = std::iter::from_fn(|| wheel.due(now.plus(60_000))).count();
    assert_eq!(out, 1000);
}
