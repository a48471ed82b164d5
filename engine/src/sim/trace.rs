//! A running hash of everything that happens in a world, to prove that a seed replays.
//!
//! Owns: [`Trace`].
//! Invariant: equal hashes mean equal events in equal order, but for collisions of 64 bits.

/// Hash of the events so far, and their number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0 }
    }
}

impl Trace {
    /// Notes an event by a name and numbers.
    pub fn note(&mut self, name: &str, numbers: &[u64]) {
        self.events += 1;
        self.bytes(name.as_bytes());
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Trace;

    #[test]
    fn order_and_content_count() {
        let hash = |events: &[(&str, u64)]| {
            let mut trace = Trace::default();
            for (name, number) in events {
                trace.note(name, &[*number]);
            }
            assert_eq!(trace.events(), events.len() as u64);
            trace.hash()
        };
        assert_eq!(hash(&[("read", 1), ("write", 2)]), hash(&[("read", 1), ("write", 2)]));
        assert_ne!(hash(&[("read", 1), ("write", 2)]), hash(&[("write", 2), ("read", 1)]));
        assert_ne!(hash(&[("read", 1)]), hash(&[("read", 2)]));
    }
}
