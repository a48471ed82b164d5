//! What a scan makes of batches that are missing, damaged or in the place of another.

use super::*;
use crate::format::batch::IDENTITY_BYTES;
use crate::format::record::Head;
use crate::format::segment::{Row, decode_row};
use crate::log::{LOST_END_MARK, NO_KEY_MARK};
use crate::units::Namespace;

const SEGMENT_BYTES: usize = 64 << 10;

fn subject() -> Subject {
    Subject {
        store_id: 7,
        segment: SegmentId(2),
        incarnation: Incarnation(3),
        durable_lsn: Lsn::NONE,
        proved: None,
        followed: None,
    }
}

/// A batch of two records, numbered by its LSNs `2 * seq` and `2 * seq + 1`; 1024 bytes.
fn batch_of(seq: u64) -> Vec<u8> {
    let about = subject();
    let seed = Seed::new(about.store_id, about.segment, about.incarnation);
    let mut records = Vec::new();
    let mut list = Vec::new();
    for lsn in [2 * seq, 2 * seq + 1] {
        let name = format!("key-{lsn:04}");
        let value = [b'v'; 300];
        let head = Head {
            key_len: 8,
            value_len: 300,
            namespace: Namespace(1),
            ..Head::new(Kind::Put, Lsn(lsn))
        };
        let mut bytes = vec![0; head.padded_bytes()];
        record::encode(&head, name.as_bytes(), &value, seed, &mut bytes);
        records.extend_from_slice(&bytes);
        list.extend_from_slice(&lsn.to_le_bytes());
    }
    let head = BatchHead {
        store_id: about.store_id,
        segment: about.segment,
        incarnation: about.incarnation,
        count: 2,
        bytes: u32::try_from(records.len()).unwrap(),
        seq: BatchSeq(seq),
        first_lsn: Lsn(2 * seq),
        durable_lsn: Lsn(2 * seq - 1),
        wall: UnixMillis(1_790_000_000_000),
        epoch: 0,
        stream: 0,
        identities_crc: crc32fast::hash(&list),
        run: 1,
        step: 1,
    };
    let mut bytes = [&head.encode()[..], &records, &list].concat();
    assert_eq!(bytes.len(), batch::HEADER_BYTES + records.len() + 2 * IDENTITY_BYTES);
    bytes.resize(1024, 0);
    bytes
}

/// What ends a group: `position` records before it in its batch.
fn lost_end_of(position: u32, seq: u64, run: u32, step: u32) -> bool {
    let before = position as usize;
    let about = subject();
    let list = [vec![12; before], vec![NO_KEY_MARK, 13]].concat();
    let list: Vec<u8> = list.into_iter().flat_map(u64::to_le_bytes).collect();
    let head = BatchHead {
        store_id: about.store_id,
        segment: about.segment,
        incarnation: about.incarnation,
        count: position + 2,
        bytes: 0,
        seq: BatchSeq(seq),
        first_lsn: Lsn(20),
        durable_lsn: Lsn(19),
        wall: UnixMillis(1_790_000_000_000),
        epoch: 0,
        stream: 0,
        identities_crc: crc32fast::hash(&list),
        run,
        step,
    };
    let none = Salvaged { rows: Vec::new(), heads: Vec::new(), end: 0 };
    let named = name_lost(&list, 0, &head, &none);
    assert_eq!(named.lost.len(), before + 2);
    named.lost[before] == (Lsn(20 + u64::from(position)), LOST_END_MARK)
}

/// Puts batches into a segment one behind the other, `None` where there is none.
fn segment(batches: &[Option<u64>]) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT_BYTES];
    for (number, batch) in batches.iter().enumerate() {
        if let Some(seq) = batch {
            let at = HEADER_BYTES as usize + number * 1024;
            bytes[at..at + 1024].copy_from_slice(&batch_of(*seq));
        }
    }
    bytes
}

/// The rows in words: `b5` a batch, `r10` a record by its LSN, `l11` a lost one by its identity.
fn told(found: &Scanned) -> String {
    let mut words = Vec::new();
    let mut at = 0;
    while let Ok((row, next)) = decode_row(&found.rows, at) {
        words.push(match row {
            Row::Batch(batch) => format!("b{}", batch.seq.0),
            Row::Record(record) => format!("r{}", record.head.lsn.0),
            Row::Lost(word) => format!("l{word}"),
        });
        at = next;
    }
    assert_eq!(at, found.rows.len());
    words.join(" ")
}

#[test]
fn a_first_batch_that_is_missing_does_not_take_the_others() {
    let found = scan(&segment(&[None, Some(6), Some(7)]), &subject());
    assert_eq!(told(&found), "b5 b6 r12 r13 b7 r14 r15");
    assert_eq!((found.damages, found.data_end), (1, HEADER_BYTES + 3 * 1024));
}

#[test]
fn lost_records_are_named_in_the_rows_and_pin_their_segment() {
    let mut bytes = segment(&[Some(5), Some(6), Some(7)]);
    let second_of_6 = HEADER_BYTES as usize + 1024 + batch::HEADER_BYTES + 352 + 8;
    bytes[second_of_6] ^= 0x40;
    let found = scan(&bytes, &subject());
    assert_eq!(told(&found), "b5 r10 r11 b6 r12 l13 b7 r14 r15");
    assert_eq!((found.damages, found.clear_seq), (1, BatchSeq(6)));
    let whole = scan(&segment(&[Some(5), Some(6), Some(7)]), &subject());
    assert_eq!((whole.damages, whole.clear_seq), (0, BatchSeq(0)));
}

#[test]
fn a_lost_record_has_its_place_among_the_others() {
    let mut bytes = segment(&[Some(5), Some(6), Some(7)]);
    bytes[HEADER_BYTES as usize + 1024 + batch::HEADER_BYTES + 8] ^= 0x40;
    assert_eq!(told(&scan(&bytes, &subject())), "b5 r10 r11 b6 l12 r13 b7 r14 r15");
}

#[test]
fn a_lost_record_about_no_key_ends_a_group_unless_it_may_be_what_voids_it() {
    assert!(lost_end_of(2, 40, 33, 1));
    assert!(lost_end_of(0, 40, 33, 7), "the batch before it is the first of the run");
    assert!(!lost_end_of(0, 40, 33, 8), "the batch before it is of another run");
    assert!(!lost_end_of(0, 40, 33, 0), "the batch before it is not known");
    assert!(lost_end_of(1, 40, 33, 8), "the first record of a run voids what was left of the last");
    assert!(lost_end_of(0, (1 << 24) + 3, 0xff_fffe, 5));
    assert!(!lost_end_of(0, (1 << 24) + 3, 0xff_fffe, 6));
}

#[test]
fn a_batch_in_the_place_of_an_older_one_counts_in_its_order() {
    let astray = |batches: &[Option<u64>]| {
        let found = scan(&segment(batches), &subject());
        (told(&found), found.damages)
    };
    let told = |words: &str, damages| (words.to_owned(), damages);
    // The last batch, meant for the end, is in the place of the first.
    let expected = told("b5 b6 r12 r13 b7 r14 r15 b8 r16 r17", 1);
    assert_eq!(astray(&[Some(8), Some(6), Some(7)]), expected);
    // In that of the second, and the log went on; its own place is empty.
    let expected = told("b5 r10 r11 b6 b7 r14 r15 b8 r16 r17 b9 r18 r19", 1);
    assert_eq!(astray(&[Some(5), Some(8), Some(7), None, Some(9)]), expected);
    // An older batch behind the end, whose own place is empty, is no reason to doubt the others.
    let expected = told("b5 b6 r12 r13 b7 r14 r15", 1);
    assert_eq!(astray(&[None, Some(6), Some(7), None, Some(5)]), expected);
}
