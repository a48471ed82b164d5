use super::*;

#[test]
fn rows_of_touches_lose_their_values_in_a_footer_and_nothing_else_changes() {
    let put = record::Head { key_len: 3, ..record::Head::new(Kind::Put, Lsn(5)) };
    let touch = record::Head { value_len: 14, touch: 3, ..record::Head::new(Kind::Touch, Lsn(6)) };
    let rows = |value: &[u8]| {
        let mut rows = Vec::new();
        let batch = BatchRow { offset: 4096, count: 2, seq: BatchSeq(9), wall: UnixMillis(1) };
        push_batch_row(&mut rows, &batch);
        push_record_row(&mut rows, 4176, &put, b"abc");
        push_record_row(&mut rows, 4224, &touch, value);
        push_lost_row(&mut rows, 7);
        rows
    };
    let (read, bare) = (rows(&[1; 14]), rows(&[]));
    assert_eq!(footer_rows(&read), bare);
    assert_eq!(footer_rows(&bare), bare);
    for rows in [read, bare] {
        let (mut at, mut kinds) = (0, Vec::new());
        while let Ok((row, next)) = decode_row(&rows, at) {
            let kind = if let Row::Record(row) = row { Some(row.head.kind) } else { None };
            assert_eq!(skip_row(&rows, at), Ok((kind, next)));
            kinds.push(kind);
            at = next;
        }
        assert_eq!((at, kinds.len()), (rows.len(), 4));
    }
    let mut half = Vec::new();
    push_record_row(&mut half, 4224, &touch, &[1; 7]);
    assert!(decode_row(&half, 0).is_err(), "half of a touch record's value");
}

#[test]
fn rows_round_trip() {
    let mut rows = Vec::new();
    let batch = BatchRow { offset: 4096, count: 1, seq: BatchSeq(9), wall: UnixMillis(1234) };
    let head = record::Head {
        key_len: 3,
        value_len: 9,
        expires_at: Some(UnixMillis(55)),
        ..record::Head::new(Kind::Put, Lsn(5))
    };
    push_batch_row(&mut rows, &batch);
    push_record_row(&mut rows, 4176, &head, b"abc");
    assert_eq!(rows.len(), batch_row_bytes() + record_row_bytes(&head));
    let (first, next) = decode_row(&rows, 0).unwrap();
    assert_eq!(first, Row::Batch(batch));
    let (second, end) = decode_row(&rows, next).unwrap();
    assert_eq!(second, Row::Record(RecordRow { offset: 4176, head, name: b"abc" }));
    assert_eq!(end, rows.len());
    for cut in 0..rows.len() {
        let mut at = 0;
        while let Ok((_, next)) = decode_row(&rows[..cut], at) {
            at = next;
        }
        assert!(at <= cut);
    }
}

#[test]
fn trailer_refuses_offsets_outside_the_segment() {
    let good = Trailer {
        store_id: 1,
        segment: SegmentId(2),
        incarnation: Incarnation(3),
        data_end: 8192,
        rows_offset: 12288,
        rows_bytes: 100,
        rows_crc: 7,
        seq_min: BatchSeq(1),
        seq_max: BatchSeq(2),
        lsn_max: Lsn(4),
    };
    assert_eq!(Trailer::decode(&good.encode(), 16384).unwrap(), good);
    assert!(Trailer::decode(&good.encode(), 12288).is_err());
    let crossed = Trailer { data_end: 12289, ..good };
    assert!(Trailer::decode(&crossed.encode(), 16384).is_err());
}
