//! The engine in simulated worlds: seeds that once found a bug, fresh ones, and the same one twice.
//!
//! A failure prints its seed; `cargo run --release -p emberlog-tools --bin simulate -- --seed N
//! --profile P` replays it and shortens it.

use std::time::{SystemTime, UNIX_EPOCH};

use emberlog_engine::sim::faults::Profile;
use emberlog_engine::sim::harness::{Outcome, run};
use emberlog_engine::sim::program::Program;

fn world(seed: u64, profile: Profile) -> Outcome {
    carry_out(&Program::draw(seed, profile))
}

fn carry_out(program: &Program) -> Outcome {
    let Program { seed, profile, .. } = *program;
    let name = profile.name();
    let replay = format!(
        "cargo run --release -p emberlog-tools --bin simulate -- --seed {seed} --profile {name}"
    );
    match run(program) {
        Ok(outcome) => outcome,
        Err(failure) => {
            panic!("seed {seed}: at {}: {}\nreplay: {replay}", failure.at, failure.message)
        }
    }
}

/// Seeds that found bugs, with the profile; what each found stands in `docs/RELIABILITY.md`.
const CORPUS: [(u64, Profile); 53] = [
    (1, Profile::Calm),
    (3, Profile::Calm),
    (10, Profile::Calm),
    (23, Profile::Calm),
    (29, Profile::Calm),
    (69, Profile::Calm),
    (104, Profile::Calm),
    (131, Profile::Calm),
    (380, Profile::Calm),
    (1016, Profile::Calm),
    (2176, Profile::Calm),
    (2277, Profile::Calm),
    (2402, Profile::Calm),
    (3037, Profile::Calm),
    (8271, Profile::Calm),
    (3, Profile::InModel),
    (66, Profile::InModel),
    (77, Profile::InModel),
    (132, Profile::InModel),
    (196, Profile::InModel),
    (236, Profile::InModel),
    (386, Profile::InModel),
    (1499, Profile::InModel),
    (1650, Profile::InModel),
    (4580, Profile::InModel),
    (6778, Profile::InModel),
    (17_903, Profile::InModel),
    (18_977, Profile::InModel),
    (21_776, Profile::InModel),
    (27_155, Profile::InModel),
    (54_303, Profile::InModel),
    (56_354, Profile::InModel),
    (71_117, Profile::InModel),
    (1_000_923, Profile::InModel),
    (5_003_645, Profile::InModel),
    (7_008_389, Profile::InModel),
    (707, Profile::Beyond),
    (1451, Profile::Beyond),
    (10_076, Profile::Beyond),
    (10_333, Profile::Beyond),
    (10_490, Profile::Beyond),
    (11_747, Profile::Beyond),
    (12_440, Profile::Beyond),
    (13_040, Profile::Beyond),
    (20_034, Profile::Beyond),
    (22_305, Profile::Beyond),
    (49_489, Profile::Beyond),
    (111_255, Profile::Beyond),
    (132_004, Profile::Beyond),
    (135_793, Profile::Beyond),
    (700_940, Profile::Beyond),
    (705_696, Profile::Beyond),
    (816_178, Profile::Beyond),
];

#[test]
fn seeds_that_once_found_a_bug() {
    for (seed, profile) in CORPUS {
        world(seed, profile);
        // As it was when it found its bug: without large values, and some without labels.
        let plain = Program::draw_plain(seed, profile);
        carry_out(&plain);
        carry_out(&Program { labelled: false, ..plain });
    }
}

#[test]
fn fresh_seeds() {
    #[expect(clippy::disallowed_methods, reason = "every run shall see other worlds")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let start = now.as_secs() << 20;
    for seed in start..start + 60 {
        world(seed, Profile::Calm);
        world(seed, Profile::InModel);
        world(seed, Profile::Beyond);
    }
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    for seed in 500..510 {
        let profile = if seed % 2 == 0 { Profile::Calm } else { Profile::InModel };
        let (first, second) = (world(seed, profile), world(seed, profile));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
        assert_ne!(first.trace, world(seed + 1000, profile).trace);
    }
}

/// A simulation that never saw a thing has proved nothing about it.
#[test]
fn worlds_see_everything_that_matters() {
    let mut total = emberlog_engine::sim::counts::Counts::default();
    for seed in 0..400 {
        total.add(&world(seed, Profile::InModel).counts);
    }
    let missing: Vec<&str> = total
        .named()
        .into_iter()
        .filter(|(name, count)| {
            *count == 0
                && !["lost_named", "open_refused", "shaken", "closed_for_good"].contains(name)
        })
        .map(|(name, _)| name)
        .collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}
