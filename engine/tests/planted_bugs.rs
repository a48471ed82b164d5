//! The simulation itself is tested: bugs planted in the engine must be found. Here those that show
//! within some dozen seeds; `simulate --planted` looks for all of them.

use emberlog_engine::sim::faults::Profile;
use emberlog_engine::sim::sabotage::{Sabotage, found_by};

/// Seeds within which each must be found.
const SEEDS_MAX: u64 = 300;

#[test]
fn planted_bugs_are_found() {
    // Planted bugs panic too; their messages say nothing.
    std::panic::set_hook(Box::new(|_| {}));
    let quick = Sabotage::ALL.iter().filter(|sabotage| sabotage.seeds_max() <= SEEDS_MAX);
    let missed: Vec<&Sabotage> =
        quick.filter(|s| found_by(**s, Profile::Calm, SEEDS_MAX).is_none()).collect();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}
