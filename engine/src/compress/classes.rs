//! What is alike: values of one type in one namespace share a dictionary.
//!
//! Owns: the samples being collected, when a class is due for training, and which values are not
//! worth trying.
//! Invariant: one class collects at a time, so samples take bounded memory.

use hashbrown::HashMap;

use super::{DICTIONARIES_MAX, RAW_BYTES_MAX, RAW_BYTES_MIN, Training};
use crate::config::Compression;
use crate::key::WordHash;
use crate::units::Namespace;

/// Longest part of a value that is taken as a sample.
const SAMPLE_PART_BYTES: usize = 8 << 10;
/// Classes that are told apart; values of further ones are packed without a dictionary.
const CLASSES_MAX: usize = DICTIONARIES_MAX;
/// Kinds of values that are told apart in what recently did not pay.
const KINDS: usize = 256;
/// In the worst case one value in this many is tried.
const SKIP_BITS_MAX: u8 = 8;
/// How much longer the pause before the next training may become, as a power of two.
const PATIENCE_MAX: u32 = 8;

/// Values that share a dictionary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Class {
    pub(crate) namespace: Namespace,
    pub(crate) value_type: u8,
}

impl Class {
    fn number(self) -> u64 {
        u64::from(self.namespace.0) << 8 | u64::from(self.value_type)
    }
}

/// What is known of a class.
#[derive(Clone, Copy, Default)]
struct State {
    /// Its current dictionary; 0 is none.
    dictionary: u16,
    /// Bytes of its values since it was last trained.
    bytes: u64,
    /// Bytes after which it is due.
    due: u64,
    /// Trainings in a row that gained nothing.
    vain: u32,
}

/// How values of some kind fared recently.
#[derive(Clone, Copy, Default)]
struct Luck {
    /// Values still to be stored as they are without trying.
    skip: u16,
    /// The next failure skips one less than two to this power.
    bits: u8,
}

/// The classes of a store.
pub(crate) struct Classes {
    limits: Compression,
    states: HashMap<u64, State, WordHash>,
    luck: Box<[Luck; KINDS]>,
    collecting: Option<(Class, Training)>,
    /// Values of other classes since one began to collect.
    others: usize,
}

impl Classes {
    pub(crate) fn new(limits: Compression) -> Classes {
        Classes {
            limits,
            states: HashMap::default(),
            luck: Box::new([Luck::default(); KINDS]),
            collecting: None,
            others: 0,
        }
    }

    /// Whether values are packed at all.
    pub(crate) fn set_enabled(&mut self, enabled: bool) {
        self.limits.enabled = enabled;
        self.collecting = None;
    }

    pub(crate) fn enabled(&self) -> bool {
        self.limits.enabled
    }

    /// The current dictionary of a class; 0 is none.
    pub(crate) fn dictionary(&self, class: Class) -> u16 {
        self.states.get(&class.number()).map_or(0, |state| state.dictionary)
    }

    /// From now on values of the class are packed with this dictionary.
    pub(crate) fn adopt(&mut self, class: Class, dictionary: u16) {
        let due = self.limits.retrain_bytes;
        self.states.insert(class.number(), State { dictionary, due, ..State::default() });
        self.luck.fill(Luck::default());
    }

    /// Training gained nothing: the next one is longer in coming.
    pub(crate) fn trained_in_vain(&mut self, class: Class) {
        let retrain = self.limits.retrain_bytes;
        let state = self.states.entry(class.number()).or_default();
        state.due = retrain << state.vain;
        state.vain = (state.vain + 1).min(PATIENCE_MAX);
        state.bytes = 0;
    }

    /// Takes note of a value to be written; the samples of its class if they are complete.
    pub(crate) fn note(&mut self, class: Class, value: &[u8]) -> Option<(Class, Training)> {
        if !self.limits.enabled || !(RAW_BYTES_MIN..=RAW_BYTES_MAX).contains(&value.len()) {
            return None;
        }
        let known = self.states.len();
        let state = match self.states.entry(class.number()) {
            hashbrown::hash_map::Entry::Occupied(state) => state.into_mut(),
            hashbrown::hash_map::Entry::Vacant(place) if known < CLASSES_MAX => {
                place.insert(State::default())
            }
            hashbrown::hash_map::Entry::Vacant(_) => return None,
        };
        state.bytes += value.len() as u64;
        if self.collecting.is_none() {
            if state.bytes < state.due {
                return None;
            }
            let dictionary_bytes = self.limits.dictionary_bytes;
            self.collecting = Some((class, Training { dictionary_bytes, ..Training::default() }));
            self.others = 0;
        }
        let (collector, training) = self.collecting.as_mut()?;
        if *collector == class {
            training.add(&value[..value.len().min(SAMPLE_PART_BYTES)]);
        } else {
            // A class that has fallen silent does not keep the others waiting.
            self.others += 1;
        }
        let full = training.lengths.len() >= self.limits.samples_max
            || training.samples.len() >= self.limits.sample_bytes_max;
        if full {
            return self.collecting.take();
        }
        if self.others > self.limits.samples_max * 4 {
            let (class, _) = self.collecting.take()?;
            self.trained_in_vain(class);
        }
        None
    }

    /// Whether a value is worth trying: not if its like recently did not pay.
    pub(crate) fn worth_trying(&mut self, class: Class, key: &[u8], value: &[u8]) -> bool {
        if !self.limits.enabled || !(RAW_BYTES_MIN..=RAW_BYTES_MAX).contains(&value.len()) {
            return false;
        }
        let luck = &mut self.luck[kind(class, key, value.len())];
        let tried = luck.skip == 0;
        luck.skip = luck.skip.saturating_sub(1);
        tried
    }

    /// What came of trying.
    pub(crate) fn tried(&mut self, class: Class, key: &[u8], raw: usize, paid: bool) {
        let luck = &mut self.luck[kind(class, key, raw)];
        if paid {
            *luck = Luck::default();
            return;
        }
        luck.bits = (luck.bits + 1).min(SKIP_BITS_MAX);
        luck.skip = (1 << luck.bits) - 1;
    }
}

/// Values whose keys begin alike and that are about as long are of one kind.
fn kind(class: Class, key: &[u8], length: usize) -> usize {
    let prefix = key.iter().take(12).take_while(|byte| !byte.is_ascii_digit() && **byte != b':');
    let mut hash = class.number() << 8 | u64::from(length.ilog2());
    for byte in prefix {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    hash = (hash ^ hash >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 56) as usize % KINDS
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: Class = Class { namespace: Namespace(0), value_type: 0 };
    const OTHER: Class = Class { namespace: Namespace(0), value_type: 1 };

    fn classes() -> Classes {
        let limits =
            Compression { samples_max: 10, retrain_bytes: 5_000, ..Compression::default() };
        Classes::new(Compression { enabled: true, ..limits })
    }

    #[test]
    fn samples_are_complete_once_and_again_when_due() {
        let mut classes = classes();
        let value = [b'v'; 100];
        let complete = (0..10).filter(|_| classes.note(CLASS, &value).is_some()).count();
        assert_eq!(complete, 1);
        classes.adopt(CLASS, 7);
        assert_eq!((classes.dictionary(CLASS), classes.dictionary(OTHER)), (7, 0));
        let complete = (0..49).filter(|_| classes.note(CLASS, &value).is_some()).count();
        assert_eq!(complete, 0, "5,000 bytes must come first");
        assert!((0..11).any(|_| classes.note(CLASS, &value).is_some()));
    }

    #[test]
    fn a_silent_class_gives_way() {
        let mut classes = classes();
        let value = [b'v'; 100];
        assert!(classes.note(CLASS, &value).is_none());
        assert!((0..60).any(|_| classes.note(OTHER, &value).is_some()));
    }

    #[test]
    fn what_does_not_pay_is_tried_seldom_and_forgiven_at_once() {
        let mut classes = classes();
        let value = [b'v'; 100];
        let mut tried = 0;
        for _ in 0..25_600 {
            if classes.worth_trying(CLASS, b"noise:1", &value) {
                tried += 1;
                classes.tried(CLASS, b"noise:1", 100, false);
            }
        }
        assert!((50..=120).contains(&tried), "{tried}");
        assert!(classes.worth_trying(CLASS, b"session:1", &value));
        while !classes.worth_trying(CLASS, b"noise:2", &value) {}
        classes.tried(CLASS, b"noise:2", 100, true);
        assert!(classes.worth_trying(CLASS, b"noise:3", &value));
    }
}
