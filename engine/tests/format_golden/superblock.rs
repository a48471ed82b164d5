//! The superblock and the tails behind it.

use emberlog_engine::format::superblock::{CheckpointRef, SLOT_BYTES, Superblock};
use emberlog_engine::format::tails::{self, TAILS_MAX, Tail};
use emberlog_engine::units::{BatchSeq, Incarnation, Lsn, SegmentId, UnixMillis};

use super::{every_flip_is_refused, golden};

#[test]
fn superblock() {
    let g = golden("superblock");
    let checkpoint = |which: &str| CheckpointRef {
        number: g.value(&format!("{which} number")),
        start_seq: BatchSeq(g.value(&format!("{which} start seq"))),
        pages: g.value(&format!("{which} pages")),
        wall: UnixMillis(g.value(&format!("{which} wall"))),
    };
    let stated = Superblock {
        generation: g.value("generation"),
        store_id: g.value("store id"),
        hash_seed: g.raw("hash seed").try_into().unwrap(),
        segment_bytes: g.narrow("segment bytes"),
        block_bytes: g.narrow("block bytes"),
        newest: checkpoint("newest"),
        older: checkpoint("older"),
        durable_lsn: Lsn(g.value("durable lsn")),
        durable_seq: BatchSeq(g.value("durable seq")),
        clean: g.value("flags") == 1,
    };
    assert_eq!(stated.encode()[..], g.bytes);
    assert_eq!(Superblock::decode(&g.bytes).unwrap(), stated);
    every_flip_is_refused(&g.bytes, Superblock::decode);
}

#[test]
fn tails_behind_it() {
    let g = golden("tails");
    let store_id = g.value("store id");
    let tail = Tail {
        segment: SegmentId(g.narrow("segment")),
        incarnation: Incarnation(g.narrow("incarnation")),
        end: g.narrow("end"),
        seq: BatchSeq(g.value("seq")),
    };
    let bytes = tails::encode(store_id, &[tail]);
    let (stated, zeros) = bytes.split_at(g.bytes.len());
    assert_eq!(stated, g.bytes);
    assert!(zeros.iter().all(|byte| *byte == 0));
    assert_eq!(tails::decode(&bytes, store_id).unwrap(), [tail]);
    assert!(tails::decode(&bytes, store_id + 1).is_err());
    every_flip_is_refused(&bytes, |bytes| tails::decode(bytes, store_id));
    let many = vec![tail; TAILS_MAX + 1];
    let kept = tails::decode(&tails::encode(store_id, &many), store_id).unwrap();
    assert_eq!(kept, many[..TAILS_MAX]);
    const { assert!(tails::OFFSET + tails::BYTES <= SLOT_BYTES) }
}
