//! One value to its stored form and back. FORMAT.md §2, "Packed value".
//!
//! ```text
//! raw length u32 | zstd frame without its magic number
//! ```
//! The length stands where zstd would put its magic number, so bounding the output costs nothing.

use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, DParameter, FrameFormat};

use super::{Class, LEVEL, RAW_BYTES_MAX, pays};
use crate::format::DecodeError;

/// Bytes before the frame.
const LENGTH_BYTES: usize = 4;
/// Where a zstd dictionary says its number. Ours is 0, so that no frame spends bytes on it: the record
/// names the dictionary.
const NUMBER: std::ops::Range<usize> = 4..8;

/// A dictionary ready for use.
pub(crate) struct Dictionary {
    pub(crate) id: u16,
    pub(crate) class: Class,
    pub(crate) bytes: Vec<u8>,
    packing: CDict<'static>,
    unpacking: DDict<'static>,
}

impl Dictionary {
    /// Prepares the dictionary in `bytes`; `None` if zstd does not take it for one.
    pub(crate) fn new(id: u16, class: Class, bytes: Vec<u8>) -> Option<Dictionary> {
        let packing = CDict::try_create(&bytes, LEVEL)?;
        let unpacking = DDict::try_create(&bytes)?;
        Some(Dictionary { id, class, bytes, packing, unpacking })
    }
}

/// Takes the number out of a trained dictionary.
pub(super) fn anonymous(mut dictionary: Vec<u8>) -> Vec<u8> {
    if let Some(number) = dictionary.get_mut(NUMBER) {
        number.fill(0);
    }
    dictionary
}

/// zstd's working memory, used again for every value.
pub(crate) struct Coder {
    packing: CCtx<'static>,
    unpacking: DCtx<'static>,
}

impl Coder {
    pub(crate) fn new() -> Coder {
        let mut unpacking = DCtx::create();
        let set = unpacking.set_parameter(DParameter::Format(FrameFormat::Magicless));
        assert!(set.is_ok(), "zstd is built with frames without magic numbers");
        Coder { packing: CCtx::create(), unpacking }
    }

    /// Packs `value` into `out`; false, with `out` worthless, if that does not pay.
    pub(crate) fn pack(
        &mut self,
        dictionary: Option<&Dictionary>,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        if value.len() > RAW_BYTES_MAX {
            return false;
        }
        out.clear();
        out.reserve(zstd::zstd_safe::compress_bound(value.len()));
        let packed = match dictionary {
            Some(dictionary) => self.packing.compress_using_cdict(out, value, &dictionary.packing),
            None => self.packing.compress(out, value, LEVEL),
        };
        let Ok(length) = packed else { return false };
        if !pays(value.len(), length) {
            return false;
        }
        let Some(front) = out.first_chunk_mut::<LENGTH_BYTES>() else { return false };
        *front = (value.len() as u32).to_le_bytes();
        true
    }

    /// Unpacks `stored` into `out`.
    ///
    /// # Errors
    /// When the bytes are not a packed value, or not one of this dictionary.
    pub(crate) fn unpack(
        &mut self,
        dictionary: Option<&Dictionary>,
        stored: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let (length, frame) =
            stored.split_first_chunk::<LENGTH_BYTES>().ok_or(DecodeError::Short)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > RAW_BYTES_MAX {
            return Err(DecodeError::Field("length of a packed value"));
        }
        out.clear();
        out.resize(length, 0);
        let unpacked = match dictionary {
            Some(dictionary) => {
                let unpacking = &dictionary.unpacking;
                self.unpacking.decompress_using_ddict(&mut out[..], frame, unpacking)
            }
            None => self.unpacking.decompress(&mut out[..], frame),
        };
        match unpacked {
            Ok(got) if got == length => Ok(()),
            _ => Err(DecodeError::Field("packed value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::train::tests::session;
    use super::super::{Training, train};
    use super::*;
    use crate::units::Namespace;

    fn dictionary() -> Dictionary {
        let class = Class { namespace: Namespace(0), value_type: 0 };
        let mut training = Training { dictionary_bytes: 4096, ..Training::default() };
        for number in 0..400 {
            training.add(&session(number));
        }
        let trained = train::train(&training).expect("sessions have much in common");
        Dictionary::new(1, class, trained.dictionary).expect("a dictionary")
    }

    #[test]
    fn what_goes_in_comes_out() {
        let dictionary = dictionary();
        let mut coder = Coder::new();
        let (mut packed, mut out) = (Vec::new(), Vec::new());
        for number in 1000..1100 {
            let value = session(number);
            for with in [Some(&dictionary), None] {
                if coder.pack(with, &value, &mut packed) {
                    coder.unpack(with, &packed, &mut out).unwrap();
                    assert_eq!(out, value);
                } else {
                    assert!(with.is_none(), "a session must pay with its dictionary");
                }
            }
        }
    }

    #[test]
    fn noise_is_left_alone() {
        let mut coder = Coder::new();
        let mut noise = vec![0; 4096];
        fastrand(&mut noise);
        assert!(!coder.pack(None, &noise, &mut Vec::new()));
    }

    fn fastrand(bytes: &mut [u8]) {
        let mut state = 88_172_645_463_325_252_u64;
        for byte in bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 24) as u8;
        }
    }

    #[test]
    fn damage_is_an_error_or_bounded() {
        let dictionary = dictionary();
        let mut coder = Coder::new();
        let (mut packed, mut out) = (Vec::new(), Vec::new());
        assert!(coder.pack(Some(&dictionary), &session(7), &mut packed));
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut bad = packed.clone();
                bad[at] ^= 1 << bit;
                // The record's checksum finds every one of these; here only that nothing runs away.
                let _ = coder.unpack(Some(&dictionary), &bad, &mut out);
                assert!(out.len() <= RAW_BYTES_MAX);
            }
            assert!(coder.unpack(Some(&dictionary), &packed[..at], &mut out).is_err());
        }
        packed[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(coder.unpack(Some(&dictionary), &packed, &mut out).is_err());
        assert!(coder.unpack(None, &[], &mut out).is_err());
    }
}
