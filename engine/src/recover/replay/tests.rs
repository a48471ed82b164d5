//! What a group is when some of it has been lost.

use super::*;

const SPACE: Namespace = Namespace(1);
const SEGMENT: SegmentId = SegmentId(3);

fn replay() -> Replay {
    Replay::new([7; 16], 64 << 10, UnixMillis(1_790_000_000_000))
}

/// Meets the row of a record at 16 bytes times its LSN.
fn meet(replay: &mut Replay, kind: Kind, flags: u8, lsn: u32, key: &[u8]) {
    let key_len = u16::try_from(key.len()).unwrap();
    let head = Head::new(kind, Lsn(lsn.into()));
    let head = Head { flags, key_len, namespace: SPACE, ..head };
    let met = replay.meet(RecordRow { offset: 16 * lsn, head, name: key });
    replay.rows(SEGMENT, &mut vec![met]);
}

fn part(replay: &mut Replay, lsn: u32, key: &[u8]) {
    meet(replay, Kind::Put, GROUPED, lsn, key);
}

fn lose(replay: &mut Replay, key: &[u8]) {
    let identity = replay.identity(key);
    replay.lose(crate::key::pack(SPACE, identity));
}

/// The LSN of the record that a key's entry points to, 0 if it is lost.
fn shown(replay: &mut Replay, key: &[u8]) -> Option<u32> {
    let identity = replay.identity(key);
    let entry = replay.space(SPACE).index.get(identity)?;
    let at = entry.location.split(64 << 10).1;
    Some(if entry.location == LOST { 0 } else { at / 16 })
}

#[test]
fn a_key_whose_second_record_in_a_group_is_lost_is_not_shown_as_the_first_has_it() {
    let mut replay = replay();
    part(&mut replay, 8, b"a");
    part(&mut replay, 9, b"b");
    lose(&mut replay, b"a");
    lose(&mut replay, b"c");
    meet(&mut replay, Kind::Put, 0, 13, b"d");
    let all = [b"a", b"b", b"c", b"d"].map(|key| shown(&mut replay, key));
    assert_eq!(all, [Some(0), Some(9), Some(0), Some(13)]);
    assert_eq!(replay.lost, 2);
}

#[test]
fn nor_one_that_a_lost_clear_of_the_group_has_taken() {
    let mut replay = replay();
    part(&mut replay, 8, b"a");
    replay.lose(u64::from(SPACE.0) << 48 | CLEAR_MARK);
    part(&mut replay, 10, b"b");
    meet(&mut replay, Kind::Commit, 0, 11, b"");
    assert_eq!([b"a", b"b"].map(|key| shown(&mut replay, key)), [None, Some(10)]);
}

#[test]
fn what_the_group_writes_after_that_is_shown() {
    let mut replay = replay();
    part(&mut replay, 8, b"a");
    lose(&mut replay, b"a");
    part(&mut replay, 10, b"a");
    meet(&mut replay, Kind::Commit, 0, 11, b"");
    assert_eq!(shown(&mut replay, b"a"), Some(10));
}

#[test]
fn a_lost_commit_at_the_end_of_the_log_ends_its_group() {
    let mut replay = replay();
    meet(&mut replay, Kind::Put, 0, 7, b"a");
    part(&mut replay, 8, b"a");
    lose(&mut replay, b"b");
    replay.lose(LOST_END_MARK);
    assert_eq!(replay.void_group(), None);
    assert_eq!([b"a", b"b"].map(|key| shown(&mut replay, key)), [Some(8), Some(0)]);
}

#[test]
fn what_is_lost_of_a_void_group_stays_lost_and_the_rest_is_as_before() {
    let mut replay = replay();
    meet(&mut replay, Kind::Put, 0, 7, b"a");
    part(&mut replay, 8, b"a");
    lose(&mut replay, b"b");
    assert_eq!(replay.void_group(), Some(Lsn(8)));
    assert_eq!([b"a", b"b"].map(|key| shown(&mut replay, key)), [Some(7), Some(0)]);
    part(&mut replay, 20, b"c");
    meet(&mut replay, Kind::Commit, 0, 21, b"");
    assert_eq!(shown(&mut replay, b"a"), Some(7));
}
