//! Order, barriers, and large values among other replies.

use super::*;

fn ready(output: &Output) -> &str {
    std::str::from_utf8(output.ready()).unwrap()
}

#[test]
fn output_leaves_in_order_behind_its_barriers() {
    let (mut output, mut pool) = (Output::default(), BufferPool::default());
    output.buffer(&mut pool).extend(b"a");
    for (text, barrier) in [("b", 5), ("c", 3), ("d", 7)] {
        let start = output.position();
        output.buffer(&mut pool).extend(text.as_bytes());
        output.hold(start, Hold { barrier: Lsn(barrier), durable: false });
    }
    assert_eq!(ready(&output), "a");
    output.sent(1, &mut pool);
    output.release(Lsn(4), Lsn::NONE);
    assert_eq!(ready(&output), "", "c waits behind b");
    output.release(Lsn(5), Lsn::NONE);
    assert_eq!(ready(&output), "bc");
    output.release(Lsn(7), Lsn::NONE);
    assert_eq!(ready(&output), "bcd");
    output.sent(3, &mut pool);
    assert_eq!((output.pending(), output.position(), output.is_held()), (0, 0, false));
}

#[test]
fn some_replies_wait_for_the_disk_whatever_counts_as_acknowledged() {
    let (mut output, mut pool) = (Output::default(), BufferPool::default());
    for (text, barrier, durable) in [("a", 5, false), ("b", 5, true), ("c", 6, false)] {
        let start = output.position();
        output.buffer(&mut pool).extend(text.as_bytes());
        output.hold(start, Hold { barrier: Lsn(barrier), durable });
    }
    output.release(Lsn(9), Lsn(4));
    assert_eq!(ready(&output), "a");
    output.release(Lsn(9), Lsn(5));
    assert_eq!(ready(&output), "abc");
}

#[test]
fn a_long_reply_leaves_in_pieces_and_what_follows_it_comes_behind_them() {
    let (mut output, mut pool) = (Output::default(), BufferPool::default());
    let hold = |barrier| Hold { barrier: Lsn(barrier), durable: false };
    output.buffer(&mut pool).extend(b"a");
    let start = output.position();
    output.buffer(&mut pool).extend(b"b");
    output.hold(start, hold(5));
    output.append(vec![b"cc".to_vec(), b"dd".to_vec()]);
    let start = output.position();
    output.buffer(&mut pool).extend(b"e");
    output.hold(start, hold(7));
    assert_eq!((ready(&output), output.pending()), ("a", 7));
    output.sent(1, &mut pool);
    assert_eq!(ready(&output), "");
    output.release(Lsn(5), Lsn::NONE);
    let mut left = String::new();
    while !output.ready().is_empty() {
        left.push_str(&ready(&output)[..1]);
        output.sent(1, &mut pool);
    }
    assert_eq!((left.as_str(), output.pending()), ("bccdd", 1), "e waits");
    output.fail(b"-IOERR");
    assert_eq!(ready(&output), "-IOERR");
    output.sent(6, &mut pool);
    assert_eq!((output.pending(), output.position(), output.is_held()), (0, 0, false));
}

#[test]
fn a_long_reply_that_will_never_be_acknowledged_is_dropped_with_its_pieces() {
    let (mut output, mut pool) = (Output::default(), BufferPool::default());
    output.buffer(&mut pool).extend(b"ab");
    output.hold(1, Hold { barrier: Lsn(5), durable: false });
    output.append(vec![b"cc".to_vec(), b"dd".to_vec()]);
    output.fail(b"-IOERR");
    assert_eq!((ready(&output), output.pending()), ("a-IOERR", 7));
}

#[test]
fn what_will_never_be_acknowledged_becomes_an_error() {
    let (mut output, mut pool) = (Output::default(), BufferPool::default());
    output.buffer(&mut pool).extend(b"+a\r\n+b\r\n+c\r\n");
    output.hold(4, Hold { barrier: Lsn(9), durable: false });
    output.fail(b"-IOERR\r\n");
    assert_eq!(ready(&output), "+a\r\n-IOERR\r\n");
}

fn fetch(next: u64, end: u64) -> Fetch {
    Fetch { chunked: Chunked { id: next + 1, len: 100, chunk_bytes: 8 }, next, end }
}

#[test]
fn large_values_leave_part_by_part_in_their_places() {
    let (mut output, mut pool) = (Output::default(), BufferPool::default());
    output.buffer(&mut pool).extend(b"z*2$3\n\n$2\n");
    output.hold(1, Hold { barrier: Lsn(5), durable: false });
    output.insert(&[(5, fetch(7, 10)), (9, fetch(20, 22))]);
    output.buffer(&mut pool).extend(b"+next");
    assert_eq!((ready(&output), output.pending(), output.buffered()), ("z", 20, 15));
    output.sent(1, &mut pool);
    output.release(Lsn(5), Lsn::NONE);
    assert_eq!((ready(&output), output.hungry()), ("*2$3", None));
    output.sent(4, &mut pool);
    assert_eq!(output.hungry(), Some(fetch(7, 10)));
    output.feed(b"ab");
    assert_eq!((ready(&output), output.hungry()), ("ab", None));
    output.sent(2, &mut pool);
    assert_eq!(output.hungry().map(|fetch| fetch.next), Some(9));
    output.feed(b"c");
    output.sent(1, &mut pool);
    assert_eq!(ready(&output), "\n\n$2");
    assert_eq!(output.take_ended().len(), 1);
    output.sent(4, &mut pool);
    output.feed(b"de");
    output.sent(2, &mut pool);
    assert_eq!(ready(&output), "\n+next");
    assert_eq!(output.take_ended().len(), 1);
    output.sent(6, &mut pool);
    assert_eq!((output.pending(), output.position(), output.is_held()), (0, 0, false));
}

#[test]
fn large_values_that_will_not_leave_are_named() {
    let (mut output, mut pool) = (Output::default(), BufferPool::default());
    output.buffer(&mut pool).extend(b"ab");
    output.hold(1, Hold { barrier: Lsn(5), durable: false });
    output.insert(&[(2, fetch(0, 10))]);
    output.fail(b"-IOERR");
    assert_eq!((ready(&output), output.pending()), ("a-IOERR", 7));
    assert_eq!(output.take_ended(), [fetch(0, 10).chunked]);
    output.insert(&[(7, fetch(0, 10))]);
    output.sent(7, &mut pool);
    assert!(output.hungry().is_some());
    output.clear();
    assert_eq!((output.pending(), output.take_ended().len()), (0, 1));
}
