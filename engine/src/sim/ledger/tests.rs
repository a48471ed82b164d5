use super::*;
use crate::io::{Buffer, Disk};
use crate::sim::faults::FaultPlan;
use crate::sim::rng::Rng;
use crate::units::{BatchSeq, Lsn, Namespace};

const INCARNATION: Incarnation = Incarnation(1);

/// A ledger and the disk that it is about.
struct Desk {
    ledger: Ledger,
    disk: SimDisk,
    next_id: u64,
}

impl Desk {
    fn new() -> Desk {
        let mut disk = SimDisk::new(512, 1 << 20, FaultPlan::default(), Rng::named(1, "ledger"));
        for segment in 0..3 {
            let file = FileId::Segment(SegmentId(segment));
            run(&mut disk, IoId(0), IoRequest::Allocate { file, bytes: 16384 });
        }
        Desk { ledger: Ledger::new(true), disk, next_id: 1 }
    }

    /// A batch is acknowledged; `written` says whether it really is on the disk.
    fn batch(&mut self, place: (u32, u64), seq: u64, records: &[(Head, u64)], written: bool) {
        let (id, request) = (IoId(self.next_id), write(place, seq, records));
        self.next_id += 1;
        self.ledger.note_start(id, &request);
        if written {
            run(&mut self.disk, id, request);
        }
        self.ledger.note_done(id, true);
    }

    fn shaken(&self) -> (Vec<u64>, Vec<u16>) {
        let shaken = self.ledger.shaken(&self.disk);
        (shaken.keys.into_iter().collect(), shaken.cleared.into_iter().collect())
    }
}

fn run(disk: &mut SimDisk, id: IoId, request: IoRequest) {
    disk.start(id, request);
    disk.submit();
    assert!(disk.complete_next());
    assert!(disk.finished().is_some_and(|(_, result)| result.outcome.is_ok()));
}

fn write((segment, offset): (u32, u64), seq: u64, records: &[(Head, u64)]) -> IoRequest {
    let segment = SegmentId(segment);
    let seed = Seed::new(7, segment, INCARNATION);
    let mut buffer = Buffer::new(4096);
    let mut at = HEADER_BYTES;
    for (head, _) in records {
        at += record::encode(head, &[], &[], seed, &mut buffer[at..]);
    }
    let head = BatchHead {
        store_id: 7,
        segment,
        incarnation: INCARNATION,
        count: records.len() as u32,
        bytes: (at - HEADER_BYTES) as u32,
        seq: BatchSeq(seq),
        first_lsn: records[0].0.lsn,
        durable_lsn: Lsn(0),
        wall: UnixMillis(1),
        epoch: 0,
        stream: USER_STREAM as u8,
        identities_crc: 0,
        run: 1,
        step: 1,
    };
    buffer[..HEADER_BYTES].copy_from_slice(&head.encode());
    for (_, word) in records {
        buffer[at..at + IDENTITY_BYTES].copy_from_slice(&word.to_le_bytes());
        at += IDENTITY_BYTES;
    }
    let bytes = at.next_multiple_of(512);
    IoRequest::Write { file: FileId::Segment(segment), offset, buffer, bytes, durable: true }
}

/// A delete, so that no value is needed.
fn alone(lsn: u64, word: u64) -> (Head, u64) {
    (Head { namespace: Namespace(0), ..Head::new(Kind::Delete, Lsn(lsn)) }, word)
}

fn part(lsn: u64, word: u64) -> (Head, u64) {
    let (head, word) = alone(lsn, word);
    (Head { flags: GROUPED, ..head }, word)
}

fn cleared(lsn: u64, namespace: u16) -> (Head, u64) {
    let head = Head { flags: GROUPED, ..Head::new(Kind::Clear, Lsn(lsn)) };
    (head, u64::from(namespace) << 48 | CLEAR_MARK)
}

fn commit(lsn: u64) -> (Head, u64) {
    (Head::new(Kind::Commit, Lsn(lsn)), NO_KEY_MARK)
}

#[test]
fn a_group_whose_end_was_never_written_is_shaken_as_a_whole() {
    let mut desk = Desk::new();
    desk.batch((0, 4096), 1, &[part(1, 8), commit(2), alone(3, 10)], true);
    desk.batch((0, 4608), 2, &[alone(4, 11), part(5, 12), cleared(6, 3)], true);
    desk.batch((0, 5120), 3, &[part(7, 13)], true);
    assert_eq!(desk.shaken(), (vec![], vec![]));
    desk.batch((1, 4096), 4, &[part(8, 14), commit(9)], false);
    assert_eq!(desk.shaken(), (vec![12, 13, 14], vec![3]));
}

#[test]
fn so_is_one_of_which_only_the_commit_is_missing() {
    let mut desk = Desk::new();
    desk.batch((0, 4096), 1, &[alone(1, 10), part(2, 11)], true);
    desk.batch((1, 4096), 2, &[commit(3), alone(4, 12)], false);
    assert_eq!(desk.shaken(), (vec![11, 12], vec![]));
}

#[test]
fn what_stands_before_a_lost_batch_that_ends_no_group_is_not() {
    let mut desk = Desk::new();
    desk.batch((0, 4096), 1, &[part(1, 10), commit(2)], true);
    desk.batch((1, 4096), 2, &[part(3, 11), commit(4)], false);
    assert_eq!(desk.shaken(), (vec![11], vec![]));
}

#[test]
fn nor_is_a_group_that_a_later_batch_proves() {
    let mut desk = Desk::new();
    desk.batch((0, 4096), 1, &[part(1, 10)], true);
    desk.batch((1, 4096), 2, &[part(2, 11), commit(3)], false);
    desk.batch((2, 4096), 3, &[alone(4, 12)], true);
    assert_eq!(desk.shaken(), (vec![11], vec![]));
}
