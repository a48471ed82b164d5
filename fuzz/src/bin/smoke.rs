//! Runs every target on random inputs for a while, without a nightly compiler: a smoke test for CI,
//! not a search. `smoke [SECONDS per target] [SEED] [TARGET]`.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(10);
    let clock = Instant::now();
    let fresh = std::process::id() as u64
        ^ std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_nanos() as u64);
    let seed: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(fresh);
    let only: Option<String> = args.next();
    println!("fuzz smoke: seed {seed}; replay with: smoke {seconds} {seed}");
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let caught = catch_unwind(|| emberlog_fuzz::canary(b"!")).is_err();
    std::panic::set_hook(quiet);
    assert!(caught, "the canary must fail");
    let targets = emberlog_fuzz::TARGETS;
    for (name, target, length) in targets {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut state = seed | 1;
        let mut runs = 0_u64;
        while Instant::now() < end {
            let mut input = Vec::with_capacity(length);
            while input.len() < length {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                input.extend_from_slice(&state.to_le_bytes());
            }
            input.truncate(length);
            target(&input);
            runs += 1;
        }
        println!("{name}: {runs} inputs, no finding");
    }
    println!(
        "fuzz smoke passed in {:.0?}: {} passed, 0 failed",
        clock.elapsed(),
        targets.len() + 1
    );
}
