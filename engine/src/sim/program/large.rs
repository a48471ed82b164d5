//! What is done to large values: drawn apart, so that a world without them is what it was before.

use super::{Action, Op, ttl_ms};
use crate::sim::rng::Rng;

/// What a world with large values prefers.
pub(super) struct LargeTaste {
    pub(super) chunk_bytes: u32,
    keys: u64,
    value_bytes: u64,
    /// Of twelve.
    pub(super) often: u64,
    expiring: bool,
}

impl LargeTaste {
    pub(super) fn draw(rng: &mut Rng) -> LargeTaste {
        LargeTaste {
            chunk_bytes: rng.pick(&[64, 128, 256, 1024]),
            keys: rng.pick(&[2, 5, 12]),
            value_bytes: rng.pick(&[300, 2_000, 8_000]),
            often: rng.pick(&[2, 4, 9]),
            expiring: rng.chance(1, 2),
        }
    }

    pub(super) fn op(&self, rng: &mut Rng) -> Op {
        let key = rng.below(self.keys) as u8;
        match rng.below(16) {
            0..=3 => {
                let expires = self.expiring && rng.chance(1, 2);
                let bytes = rng.below(self.value_bytes + 1) as usize;
                Op::Upload(key, bytes, expires.then(|| ttl_ms(rng)))
            }
            4..=8 => Op::Feed(rng.pick(&[1, 5, 200])),
            9 => Op::Abandon,
            10..=12 => {
                let bytes = rng.pick(&[1, u64::from(self.chunk_bytes), 3 * self.value_bytes / 10]);
                Op::Do(Action::Patch(key, rng.pick(&[0, 500, 999, 1000]), bytes as usize))
            }
            13 => Op::Do(Action::Rename(key, rng.below(self.keys) as u8)),
            _ => {
                let from = rng.below(1001) as u16;
                let to = rng.pick(&[from, 1000]);
                Op::Do(Action::Fetch(key, (from, to)))
            }
        }
    }
}
