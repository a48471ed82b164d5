//! Compression where it meets the log: values are packed on their way in and unpacked on their way to
//! the hot set; dictionaries are records like any other, under keys of the engine's own.
//!
//! Invariant: a dictionary is in the log before the first record that needs it, and stays there, and in
//! RAM, while any segment holds such a record. So a value can be unpacked whenever it can be read.

use std::collections::BTreeMap;

use super::drive::Pending;
use super::load::RecordPlace;
use super::{Shard, supply};
use crate::compress::{Class, Classes, Coder, DICTIONARIES_MAX, Dictionary};
use crate::config::Compression;
use crate::format::DecodeError;
use crate::format::record::{self, CODEC_RAW, CODEC_ZSTD, Head};
use crate::io::{Disk, IoDone, IoRequest, IoResult};
use crate::key::Key;
use crate::log::USER_STREAM;
use crate::recover::READ_TRIES;
use crate::space::{LOST, Slot};
use crate::units::{Lsn, Namespace};

/// Each dictionary is stored twice: thousands of values hang on it.
const COPIES: u8 = 2;
/// What stands before a dictionary's bytes: namespace, value type, zero.
const CLASS_BYTES: usize = 4;

/// Everything about compression that a shard holds.
pub(super) struct State {
    coder: Coder,
    classes: Classes,
    /// By number.
    dictionaries: BTreeMap<u16, Dictionary>,
    /// The highest number ever given out, as far as the log tells.
    last_id: u16,
    /// A dictionary is being trained, or waits to be adopted.
    training: bool,
    adopting: Option<(Class, Vec<u8>)>,
    scratch: Vec<u8>,
    /// Copies still to be read at start.
    loading: usize,
}

impl State {
    pub(super) fn new(limits: Compression, segment_bytes: u32) -> State {
        // Small segments: both copies must fit easily.
        let dictionary_bytes = limits.dictionary_bytes.min(segment_bytes as usize / 8);
        State {
            coder: Coder::new(),
            classes: Classes::new(Compression { dictionary_bytes, ..limits }),
            dictionaries: BTreeMap::new(),
            last_id: 0,
            training: false,
            adopting: None,
            scratch: Vec::new(),
            loading: 0,
        }
    }

    /// The number of the next dictionary. A segment remembers its dictionaries by number modulo
    /// [`DICTIONARIES_MAX`], so that must not be taken.
    fn free_id(&self) -> Option<u16> {
        let slot = |id: u16| usize::from(id) % DICTIONARIES_MAX;
        let free = |id: &u16| !self.dictionaries.keys().any(|taken| slot(*taken) == slot(*id));
        (self.last_id..u16::MAX).map(|id| id + 1).take(DICTIONARIES_MAX).find(free)
    }

    pub(super) fn dictionaries(&self) -> usize {
        self.dictionaries.len()
    }
}

/// The key of a copy of a dictionary.
fn dictionary_key(id: u16, copy: u8) -> [u8; 4] {
    let [low, high] = id.to_le_bytes();
    [b'd', low, high, copy]
}

/// A dictionary's record value.
fn encode_dictionary(class: Class, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(CLASS_BYTES + bytes.len());
    value.extend_from_slice(&class.namespace.0.to_le_bytes());
    value.extend_from_slice(&[class.value_type, 0]);
    value.extend_from_slice(bytes);
    value
}

fn decode_dictionary(id: u16, value: &[u8]) -> Option<Dictionary> {
    let ([low, high, value_type, _], bytes) = value.split_first_chunk::<CLASS_BYTES>()?;
    let namespace = Namespace(u16::from_le_bytes([*low, *high]));
    Dictionary::new(id, Class { namespace, value_type: *value_type }, bytes.to_vec())
}

/// A copy of a dictionary being read.
pub(super) struct DictionaryRead {
    id: u16,
    copy: u8,
    place: RecordPlace,
    /// How often, with this one.
    tries: u32,
}

impl Shard {
    /// Switches the compression of new values on or off.
    pub fn set_compression(&mut self, enabled: bool) {
        self.compression.classes.set_enabled(enabled);
    }

    /// Packs a value if that pays, and says so in `head`. Returns the packed bytes, which go back to
    /// [`Shard::packed`].
    pub(super) fn pack(&mut self, head: &mut Head, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let class = Class { namespace: head.namespace, value_type: head.value_type };
        let state = &mut self.compression;
        if !state.training
            && let Some((class, mut training)) = state.classes.note(class, value)
        {
            let current = state.dictionaries.get(&state.classes.dictionary(class));
            training.current = current.map(|dictionary| dictionary.bytes.clone());
            state.training = true;
            self.start(Pending::Training(class), IoRequest::Train(Box::new(training)));
        }
        let state = &mut self.compression;
        if !state.classes.worth_trying(class, key, value) {
            return None;
        }
        let mut out = std::mem::take(&mut state.scratch);
        let dictionary = state.dictionaries.get(&state.classes.dictionary(class));
        let paid = state.coder.pack(dictionary, value, &mut out);
        state.classes.tried(class, key, value.len(), paid);
        if !paid {
            state.scratch = out;
            return None;
        }
        head.codec = CODEC_ZSTD;
        head.dictionary = dictionary.map_or(0, |dictionary| dictionary.id);
        head.value_len = out.len() as u32;
        Some(out)
    }

    /// A value was written as `stored` bytes.
    pub(super) fn packed(&mut self, value: &[u8], out: Option<Vec<u8>>) {
        self.counters.value_bytes += value.len() as u64;
        self.counters.stored_bytes += out.as_ref().map_or(value.len(), Vec::len) as u64;
        if let Some(out) = out {
            self.counters.packed_puts += 1;
            self.compression.scratch = out;
        }
    }

    /// The value of a record that was read; `None` if it is stored as it is.
    ///
    /// # Errors
    /// When it cannot be unpacked, for want of its dictionary or because the bytes are wrong.
    pub(super) fn unpack(
        &mut self,
        head: &Head,
        stored: &[u8],
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        if head.codec == CODEC_RAW {
            return Ok(None);
        }
        let state = &mut self.compression;
        let dictionary = match head.dictionary {
            0 => None,
            id => {
                let known = state.dictionaries.get(&id);
                Some(known.ok_or(DecodeError::Field("dictionary, which is damaged or missing"))?)
            }
        };
        let mut out = Vec::new();
        state.coder.unpack(dictionary, stored, &mut out)?;
        Ok(Some(out))
    }

    pub(super) fn on_trained(&mut self, class: Class, result: IoResult) {
        let state = &mut self.compression;
        if let Ok(IoDone::Trained(Some(trained))) = result.outcome {
            state.adopting = Some((class, trained.dictionary));
        } else {
            state.classes.trained_in_vain(class);
            state.training = false;
        }
    }

    /// Writes a trained dictionary to the log, and packs with it from then on. Waits for room; where
    /// space is scarce there is none.
    pub(super) fn adopt_dictionary(&mut self) {
        if self.closing || self.poisoned || !self.compression.classes.enabled() {
            return;
        }
        let Some((class, bytes)) = self.compression.adopting.take() else { return };
        let value = encode_dictionary(class, &bytes);
        if !self.room_for_dictionary(2 * (value.len() + 128)) {
            self.compression.adopting = Some((class, bytes));
            return;
        }
        self.compression.training = false;
        let adopted = self.compression.free_id().and_then(|id| {
            let dictionary = Dictionary::new(id, class, bytes)?;
            for copy in 0..COPIES {
                if !planted!(UnloggedDictionary) {
                    self.put_internal(&dictionary_key(id, copy), &value)?;
                }
            }
            Some(dictionary)
        });
        let Some(dictionary) = adopted else {
            self.compression.classes.trained_in_vain(class);
            return;
        };
        let state = &mut self.compression;
        state.last_id = dictionary.id;
        state.classes.adopt(class, dictionary.id);
        tracing::info!(dictionary = dictionary.id, class = ?class, "values have a new dictionary");
        state.dictionaries.insert(dictionary.id, dictionary);
        self.counters.dictionaries_trained += 1;
        self.retire_dictionaries();
    }

    fn room_for_dictionary(&mut self, bytes: usize) -> bool {
        let left = self.log.stream(USER_STREAM).bytes_left(self.root.segment_bytes);
        let segments = self.log.segments.ready();
        left >= bytes + (8 << 10) || segments > 3 && self.segments_at_hand() > supply::RESERVE + 1
    }

    /// Writes a key of the engine's own, one that was never written before.
    fn put_internal(&mut self, key: &[u8], value: &[u8]) -> Option<Lsn> {
        let key = self.key(Namespace::INTERNAL, key);
        let slot = self.space(key.namespace).map_or(Slot::Free, |space| space.slot(&key));
        // What owns its identity can only be another key.
        let aside = !matches!(slot, Slot::Free);
        self.write_record(&key, record::SIDE * u8::from(aside), value).ok()
    }

    /// Deletes dictionaries that no record needs any more.
    fn retire_dictionaries(&mut self) {
        let state = &self.compression;
        let idle = state.dictionaries.values().filter(|dictionary| {
            state.classes.dictionary(dictionary.class) != dictionary.id
                && (!self.log.segments.any_needs(dictionary.id) || planted!(DictionaryTooSoon))
        });
        let idle: Vec<u16> = idle.map(|dictionary| dictionary.id).collect();
        for id in idle {
            for copy in 0..COPIES {
                let bytes = dictionary_key(id, copy);
                self.delete_internal(&self.key(Namespace::INTERNAL, &bytes));
            }
            self.compression.dictionaries.remove(&id);
        }
    }

    /// Reads every dictionary that the log has. Part of opening: before the first value is unpacked.
    pub(super) fn load_dictionaries(&mut self, disk: &mut dyn Disk) {
        if self.space(Namespace::INTERNAL).is_none_or(|space| space.len() == 0) {
            return;
        }
        for id in 1..=u16::MAX {
            for copy in 0..COPIES {
                self.read_dictionary(id, copy, 1);
            }
        }
        while self.compression.loading > 0 {
            self.take_one(disk);
        }
        self.drive_until_idle(disk);
        for id in 1..=self.compression.last_id {
            let bytes = dictionary_key(id, 0);
            let key = self.key(Namespace::INTERNAL, &bytes);
            let known = self.space(key.namespace).map(|space| space.slot(&key));
            let wanted = !matches!(known, None | Some(Slot::Free));
            if wanted && !self.compression.dictionaries.contains_key(&id) {
                tracing::error!(
                    dictionary = id,
                    "a dictionary is lost, and every value packed with it"
                );
                self.counters.corrupt_records += 1;
            }
        }
    }

    fn read_dictionary(&mut self, id: u16, copy: u8, tries: u32) {
        let bytes = dictionary_key(id, copy);
        let key = self.key(Namespace::INTERNAL, &bytes);
        let slot = self.space(key.namespace).map(|space| space.slot(&key));
        let Some(Slot::Index(entry) | Slot::Side(entry)) = slot else { return };
        self.compression.last_id = self.compression.last_id.max(id);
        if entry.location == LOST {
            return;
        }
        let (place, request) = self.read_request(key.namespace, key.identity, &entry, usize::MAX);
        self.compression.loading += 1;
        self.start(Pending::Dictionary(DictionaryRead { id, copy, place, tries }), request);
    }

    pub(super) fn on_dictionary_read(&mut self, read: &DictionaryRead, result: IoResult) {
        let &DictionaryRead { id, copy, ref place, tries } = read;
        self.compression.loading -= 1;
        if self.still_there(place).is_none() {
            // Compaction has moved it.
            self.read_dictionary(id, copy, 1);
        } else if result.outcome.is_err() && tries < READ_TRIES {
            self.read_dictionary(id, copy, tries + 1);
        } else {
            let read = result.buffer.as_ref().filter(|_| result.outcome.is_ok());
            let record =
                read.and_then(|bytes| record::decode(&bytes[place.skip..], place.seed).ok());
            let expected = dictionary_key(id, copy);
            let record = record.filter(|record| record.value_ok && record.key == expected);
            if let Some(dictionary) = record.and_then(|record| decode_dictionary(id, record.value))
            {
                let state = &mut self.compression;
                if state.classes.dictionary(dictionary.class) < id {
                    state.classes.adopt(dictionary.class, id);
                }
                state.dictionaries.insert(id, dictionary);
            } else {
                tracing::error!(dictionary = id, copy, "a copy of a dictionary is damaged");
            }
        }
        self.give_back(result);
    }

    fn delete_internal(&mut self, key: &Key<'_>) {
        let slot = self.space(key.namespace).map(|space| space.slot(key));
        let (entry, aside) = match slot {
            Some(Slot::Index(entry)) => (entry, false),
            Some(Slot::Side(entry)) => (entry, true),
            None | Some(Slot::Free) => return,
        };
        if self.room_for_delete(256) == super::Room::Yes {
            // Without room it stays, and is read again at the next start.
            let _left = self.delete_record(key, &entry, aside);
        }
    }
}
