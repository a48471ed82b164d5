//! Segment header, trailer, batch header and the list of identities.

use emberlog_engine::format::batch::BatchHead;
use emberlog_engine::format::segment::{SegmentHead, Trailer};
use emberlog_engine::units::{BatchSeq, Incarnation, Lsn, SegmentId, UnixMillis};

use super::{every_flip_is_refused, flips, golden, key_identity};

#[test]
fn segment_header_and_trailer() {
    let g = golden("segment-header");
    let head = SegmentHead {
        store_id: g.value("store id"),
        segment: SegmentId(g.narrow("segment")),
        incarnation: Incarnation(g.narrow("incarnation")),
        segment_bytes: g.narrow("segment bytes"),
        created: UnixMillis(g.value("created")),
    };
    assert_eq!(head.encode()[..], g.bytes);
    assert_eq!(SegmentHead::decode(&g.bytes).unwrap(), head);
    every_flip_is_refused(&g.bytes, SegmentHead::decode);

    let g = golden("trailer");
    let trailer = Trailer {
        store_id: g.value("store id"),
        segment: SegmentId(g.narrow("segment")),
        incarnation: Incarnation(g.narrow("incarnation")),
        data_end: g.narrow("data end"),
        rows_offset: g.narrow("rows offset"),
        rows_bytes: g.narrow("rows bytes"),
        rows_crc: g.narrow("rows crc"),
        seq_min: BatchSeq(g.value("seq min")),
        seq_max: BatchSeq(g.value("seq max")),
        lsn_max: Lsn(g.value("lsn max")),
    };
    assert_eq!(trailer.encode()[..], g.bytes);
    assert_eq!(Trailer::decode(&g.bytes, head.segment_bytes).unwrap(), trailer);
    every_flip_is_refused(&g.bytes, |bytes| Trailer::decode(bytes, head.segment_bytes));
}

#[test]
fn batch_header_and_identities() {
    let (g, list) = (golden("batch-header"), golden("identity-list"));
    let head = BatchHead {
        store_id: g.value("store id"),
        segment: SegmentId(g.narrow("segment")),
        incarnation: Incarnation(g.narrow("incarnation")),
        count: g.narrow("count"),
        bytes: g.narrow("bytes"),
        seq: BatchSeq(g.value("seq")),
        first_lsn: Lsn(g.value("first lsn")),
        durable_lsn: Lsn(g.value("durable lsn")),
        wall: UnixMillis(g.value("wall")),
        epoch: g.narrow("epoch"),
        stream: g.narrow("stream"),
        identities_crc: g.narrow("identities crc"),
        run: g.narrow("run"),
        step: g.narrow("step"),
    };
    assert_eq!(head.encode()[..], g.bytes);
    assert_eq!(BatchHead::decode(&g.bytes).unwrap(), head);
    assert_eq!(head.follows(), Some(BatchSeq(head.seq.0 - u64::from(head.step))));
    every_flip_is_refused(&g.bytes, BatchHead::decode);
    assert_eq!(head.batch_bytes(), 80 + u64::from(head.bytes) + 8 * u64::from(head.count));
    assert_eq!(crc32fast::hash(&list.bytes), head.identities_crc);
    assert!(flips(&list.bytes).all(|(_, bad)| crc32fast::hash(&bad) != head.identities_crc));
    assert_eq!(list.value("identity"), key_identity().to_bits());
}
