//! The only source of chance in a simulated world: seeded, small, and split by name.
//!
//! Owns: [`Rng`].
//! Invariant: a stream depends on the seed and its name alone, so a component that draws more or
//! less does not disturb the others, and the same seed replays the same world.

/// A stream of pseudo-random numbers (xoshiro256**; Blackman and Vigna).
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// One step of `SplitMix64`, which spreads a poor seed over all bits.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream called `name` of this seed.
    pub fn named(seed: u64, name: &str) -> Rng {
        // FNV-1a of the name, so that streams of neighbouring seeds are unrelated as well.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut state = splitmix(&mut hash) ^ seed.rotate_left(17);
        let mut word = || splitmix(&mut state);
        Rng { state: [word(), word(), word(), word()] }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c2, d2) = (c ^ a, d ^ b);
        self.state = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        result
    }

    /// A number below `limit`, which must not be 0. The bias is below 2^-32 for the small limits
    /// in use.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "no number is below 0");
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `times` out of `of` times.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Fills `bytes` at random.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn streams_repeat_and_differ_by_name_and_seed() {
        let draw = |seed, name: &str| {
            let mut rng = Rng::named(seed, name);
            [rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(1, "disk"), draw(1, "disk"));
        assert_ne!(draw(1, "disk"), draw(1, "program"));
        assert_ne!(draw(1, "disk"), draw(2, "disk"));
    }

    #[test]
    fn ranges_are_covered_evenly() {
        let mut rng = Rng::named(7, "test");
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[rng.range(3, 8) as usize - 3] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert!((0..100).all(|_| rng.chance(3, 3)));
        assert!(!(0..100).any(|_| rng.chance(0, 3)));
    }
}
