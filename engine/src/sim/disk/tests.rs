use super::*;
use crate::io::Buffer;
use crate::io::IoErrorKind;
use crate::units::SegmentId;

const FILE: FileId = FileId::Segment(SegmentId(0));

fn disk(plan: FaultPlan) -> SimDisk {
    SimDisk::new(512, 1 << 20, plan, Rng::named(1, "disk"))
}

fn run(disk: &mut SimDisk, request: IoRequest) -> IoResult {
    disk.start(IoId(1), request);
    disk.submit();
    assert!(disk.complete_next());
    disk.finished().unwrap().1
}

fn write(byte: u8, durable: bool) -> IoRequest {
    let mut buffer = Buffer::new(8192);
    buffer.fill(byte);
    IoRequest::Write { file: FILE, offset: 0, buffer, bytes: 8192, durable }
}

fn read(disk: &mut SimDisk) -> Vec<u8> {
    let request = IoRequest::Read { file: FILE, offset: 0, buffer: Buffer::new(8192), bytes: 8192 };
    run(disk, request).buffer.unwrap()[..8192].to_vec()
}

fn with_file(plan: FaultPlan) -> SimDisk {
    let mut disk = disk(plan);
    let allocated = run(&mut disk, IoRequest::Allocate { file: FILE, bytes: 8192 });
    assert!(allocated.outcome.is_ok());
    disk
}

#[test]
fn a_completed_durable_write_survives_and_one_in_flight_is_torn() {
    let mut torn = 0;
    for seed in 0..200 {
        let mut disk = with_file(FaultPlan::default());
        disk.rng = Rng::named(seed, "disk");
        run(&mut disk, write(1, true)).outcome.unwrap();
        disk.crash(Crash::Power);
        assert_eq!(read(&mut disk), [1; 8192]);
        disk.start(IoId(2), write(2, true));
        disk.submit();
        disk.crash(Crash::Power);
        let left = read(&mut disk);
        torn += u32::from(left != [1; 8192] && left != [2; 8192]);
    }
    assert!((20..180).contains(&torn), "{torn} of 200 were torn");
}

#[test]
fn an_unsynced_write_stays_through_a_kill_and_may_go_with_the_power() {
    let mut gone = 0;
    for seed in 0..100 {
        let mut disk = with_file(FaultPlan::default());
        disk.rng = Rng::named(seed, "disk");
        run(&mut disk, write(3, false)).outcome.unwrap();
        disk.crash(Crash::Kill);
        assert_eq!(read(&mut disk), [3; 8192]);
        disk.crash(Crash::Power);
        gone += u32::from(read(&mut disk) == [0; 8192]);
        run(&mut disk, write(4, false)).outcome.unwrap();
        run(&mut disk, IoRequest::Sync { file: FILE }).outcome.unwrap();
        disk.crash(Crash::Power);
        assert_eq!(read(&mut disk), [4; 8192], "synced");
    }
    assert!((10..60).contains(&gone), "{gone} of 100 were lost");
}

#[test]
fn errors_are_those_of_the_contract() {
    let mut disk = disk(FaultPlan::default());
    let kind = |result: IoResult| result.outcome.unwrap_err().kind;
    assert_eq!(kind(run(&mut disk, write(1, true))), IoErrorKind::NotFound);
    let big = IoRequest::Allocate { file: FILE, bytes: 2 << 20 };
    assert_eq!(kind(run(&mut disk, big)), IoErrorKind::NoSpace);
    assert!(disk.files.is_empty(), "no file is left");
    run(&mut disk, IoRequest::Allocate { file: FILE, bytes: 4096 }).outcome.unwrap();
    assert_eq!(kind(run(&mut disk, write(1, true))), IoErrorKind::PastEnd);
}

#[test]
fn completions_come_out_of_order_and_the_clock_moves_with_them() {
    let mut disk = with_file(FaultPlan { shuffled: true, ..FaultPlan::default() });
    for id in 0..50 {
        let buffer = Buffer::new(512);
        let request = IoRequest::Read { file: FILE, offset: 0, buffer, bytes: 512 };
        disk.start(IoId(id), request);
    }
    disk.submit();
    let (mut order, mut last) = (Vec::new(), 0);
    while disk.complete_next() {
        assert!(disk.clock_us() >= last);
        last = disk.clock_us();
        order.push(disk.finished().unwrap().0.0);
    }
    assert!(!order.is_sorted());
    order.sort_unstable();
    assert_eq!(order, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_bad_sector_stays_bad_until_it_is_written() {
    let mut disk = with_file(FaultPlan { bad_sector: 100_000, ..FaultPlan::default() });
    let request = |disk: &mut SimDisk| {
        let buffer = Buffer::new(8192);
        run(disk, IoRequest::Read { file: FILE, offset: 0, buffer, bytes: 8192 }).outcome
    };
    assert!(request(&mut disk).is_err());
    disk.set_plan(FaultPlan::default());
    assert!(request(&mut disk).is_err());
    run(&mut disk, write(1, true)).outcome.unwrap();
    assert!(request(&mut disk).is_ok());
}

#[test]
#[should_panic(expected = "two writes")]
fn overlapping_writes_are_a_bug_of_the_caller() {
    let mut disk = with_file(FaultPlan::default());
    disk.start(IoId(1), write(1, true));
    disk.start(IoId(2), write(2, true));
    disk.submit();
}
