//! Places where the engine behaves oddly on purpose, though rightly: late, early, in small steps.
//! What is rare in production becomes common in simulated worlds.
//!
//! Owns: [`Site`], and which of them are live on this thread.
//! Invariant: in a world a quarter of the sites are live, and a live one fires a quarter of the
//! times; without the feature `sim` none of this exists.

use std::cell::RefCell;

use super::rng::Rng;

/// A place that may behave oddly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Site {
    /// A batch is closed before its time.
    CloseEarly,
    /// Footers wait for another turn.
    FooterLater,
    /// A checkpoint is taken before it is due.
    CheckpointEarly,
    /// Segments are not made ready this time.
    RefillLater,
}

/// How many there are.
const SITES: u64 = 4;

thread_local! {
    static STATE: RefCell<Option<(u64, Rng)>> = const { RefCell::new(None) };
}

/// Chooses the live sites of a world.
pub fn begin(seed: u64) {
    let mut rng = Rng::named(seed, "buggify");
    let live = (0..SITES).filter(|_| rng.chance(1, 4)).fold(0, |live, site| live | 1 << site);
    STATE.set(Some((live, rng)));
}

/// No site is live any more.
pub fn end() {
    STATE.set(None);
}

/// Whether the site behaves oddly this time.
pub fn fires(site: Site) -> bool {
    STATE.with_borrow_mut(|state| match state {
        Some((live, rng)) if *live >> site as u8 & 1 == 1 => rng.chance(1, 4),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::{Site, begin, end, fires};

    #[test]
    fn a_quarter_is_live_and_fires_a_quarter_of_the_times() {
        let (mut live, mut fired) = (0, 0);
        for seed in 0..1_000 {
            begin(seed);
            let times = (0..100).filter(|_| fires(Site::CloseEarly)).count();
            live += u32::from(times > 0);
            fired += times;
        }
        end();
        assert!((200..300).contains(&live), "{live}");
        assert!((5_000..7_500).contains(&fired), "{fired}");
        assert!(!fires(Site::CloseEarly));
    }
}
