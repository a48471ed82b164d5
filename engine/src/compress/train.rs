//! Making a dictionary: too slow for the shard's thread, so it is work for whoever drives the disk.
//!
//! Invariant: the same samples give the same dictionary.

use super::classes::Class;
use super::frame::{Coder, Dictionary, anonymous};
use crate::units::Namespace;

/// Samples to train on, and to judge the result by.
#[derive(Clone, Debug, Default)]
pub struct Training {
    /// All samples, one behind the other.
    pub samples: Vec<u8>,
    /// The length of each.
    pub lengths: Vec<usize>,
    /// The longest that the dictionary may be, in bytes.
    pub dictionary_bytes: usize,
    /// The dictionary in use, which the new one must beat.
    pub current: Option<Vec<u8>>,
}

/// A dictionary that pays.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Its bytes.
    pub dictionary: Vec<u8>,
}

impl Training {
    /// Adds a sample.
    pub fn add(&mut self, sample: &[u8]) {
        self.samples.extend_from_slice(sample);
        self.lengths.push(sample.len());
    }

    /// Trains a dictionary, in some hundred milliseconds of one core; `None` if it does not pay.
    pub fn carry_out(&self) -> Option<Trained> {
        train(self)
    }
}

/// Trains on three samples of four and judges by the fourth: at least 5 % less than the dictionary in use
/// (or none) leaves, and worth unpacking at all.
pub(super) fn train(training: &Training) -> Option<Trained> {
    let (mut learned, mut lengths, mut held_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = training.samples.as_slice();
    for (number, length) in training.lengths.iter().enumerate() {
        let (sample, behind) = rest.split_at_checked(*length)?;
        rest = behind;
        if number % 4 == 3 {
            held_out.push(sample);
        } else {
            learned.extend_from_slice(sample);
            lengths.push(*length);
        }
    }
    let mut dictionary = Vec::with_capacity(training.dictionary_bytes);
    zstd::zstd_safe::train_from_buffer(&mut dictionary, &learned, &lengths).ok()?;
    let dictionary = anonymous(dictionary);
    let raw: usize = held_out.iter().map(|sample| sample.len()).sum();
    let before = packed_bytes(training.current.as_ref(), &held_out)?;
    let after = packed_bytes(Some(&dictionary), &held_out)?;
    (after <= before - before / 20 && super::pays(raw, after)).then_some(Trained { dictionary })
}

/// What the samples take when stored with this dictionary.
fn packed_bytes(dictionary: Option<&Vec<u8>>, samples: &[&[u8]]) -> Option<usize> {
    let class = Class { namespace: Namespace(0), value_type: 0 };
    let dictionary = match dictionary {
        Some(bytes) => Some(Dictionary::new(0, class, bytes.clone())?),
        None => None,
    };
    let mut coder = Coder::new();
    let mut out = Vec::new();
    let stored = samples.iter().map(|sample| {
        if coder.pack(dictionary.as_ref(), sample, &mut out) { out.len() } else { sample.len() }
    });
    Some(stored.sum())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A session as a web framework stores it, with a token of its own.
    pub(in super::super) fn session(number: u64) -> Vec<u8> {
        let token = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "{{\"cookie\":{{\"originalMaxAge\":86400000,\"expires\":\"2026-11-24T10:{:02}:00.000Z\",\
             \"httpOnly\":true,\"path\":\"/\",\"sameSite\":\"lax\"}},\"csrf\":\"{token:016x}{:016x}\",\
             \"user\":{{\"id\":{number},\"name\":\"user{number}\",\"roles\":[\"member\"]}}}}",
            number % 60,
            token.rotate_left(17) ^ 0x5bd1_e995,
        )
        .into_bytes()
    }

    fn training(count: u64) -> Training {
        let mut training = Training { dictionary_bytes: 8192, ..Training::default() };
        (0..count).for_each(|number| training.add(&session(number)));
        training
    }

    #[test]
    fn the_same_samples_give_the_same_dictionary() {
        let once = train(&training(500)).unwrap();
        assert_eq!(once.dictionary, train(&training(500)).unwrap().dictionary);
    }

    #[test]
    fn a_dictionary_as_good_as_the_present_one_is_not_adopted() {
        let mut again = training(500);
        again.current = Some(train(&again).unwrap().dictionary);
        assert!(train(&again).is_none());
    }

    #[test]
    fn noise_and_too_few_samples_give_none() {
        let mut noise = Training { dictionary_bytes: 8192, ..Training::default() };
        let mut state = 1_u64;
        for _ in 0..500 {
            let sample: Vec<u8> = (0..300)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 33) as u8
                })
                .collect();
            noise.add(&sample);
        }
        assert!(train(&noise).is_none());
        assert!(train(&training(2)).is_none());
        assert!(train(&Training::default()).is_none());
        let torn = Training { lengths: vec![10], ..Training::default() };
        assert!(train(&torn).is_none());
    }
}
