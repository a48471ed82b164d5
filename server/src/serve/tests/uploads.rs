//! Long arguments that are not finished, not wanted, or too long; and values that are copied while they change.

use super::large::{CHUNK, LEN, bulk, bytes, harness};
use super::request;

#[test]
fn arguments_that_nothing_can_be_made_of_are_dropped_and_the_connection_goes_on() {
    let mut h = harness();
    let c = h.connect();
    let long = bytes(1, (64 << 20) + 1);
    let error =
        format!("-ERR an argument of {} bytes is too large for this command\r\n", long.len());
    let most = h.send(c, &request(&[b"HSET", b"h", b"f", &long]));
    assert!(most <= 4 * CHUNK, "{most} bytes of input");
    assert_eq!(h.settle(c), error.as_bytes());
    h.script(c, &[("EXISTS h", ":0"), ("MULTI", "+OK")]);
    h.expect(c, &[b"SET", b"k", &long], error.as_bytes());
    h.script(c, &[("EXEC", "-EXECABORT Transaction discarded because of previous errors.")]);
    // Half the disk: it takes that in until the limit is reached.
    let full =
        "-OOM command not allowed: the disk limit is reached; delete keys or raise disk-limit\r\n";
    h.expect(c, &[b"SET", b"k", &long], full.as_bytes());
    let stats = h.stats();
    assert_eq!((stats.chunks, stats.uploads), (0, 0));
    h.script(c, &[("SET k v", "+OK"), ("GET k", "$1 v")]);
}

#[test]
fn an_upload_that_is_not_finished_leaves_nothing() {
    let mut h = harness();
    let (gone, stuck, other) = (h.connect(), h.connect(), h.connect());
    let value = bytes(1, LEN);
    let whole = request(&[b"SET", b"k", &value]);
    for client in [gone, stuck] {
        h.send(client, &whole[..whole.len() - 3]);
    }
    assert!(h.stats().chunks > 20 && h.stats().uploads == 2);
    h.script(other, &[("EXISTS k", ":0"), ("DBSIZE", ":0"), ("KEYS *", "*0")]);
    h.server.disconnect(gone);
    assert_eq!(h.stats().uploads, 1);
    h.advance(61_000);
    h.server.sweep();
    assert!(h.server.is_finished(stuck), "it sends nothing more");
    h.server.disconnect(stuck);
    assert_eq!((h.stats().chunks, h.stats().uploads), (0, 0));
    // The upload is in the log, its end is not.
    let third = h.connect();
    h.send(third, &whole[..whole.len() - 3]);
    let mut h = h.reopened();
    assert_eq!((h.stats().chunks, h.stats().uploads), (0, 0), "nobody will ever finish it");
    let c = h.connect();
    h.script(c, &[("DBSIZE", ":0")]);
}

#[test]
fn a_client_that_sends_all_and_closes_its_side_is_answered() {
    let mut h = harness();
    let c = h.connect();
    let value = bytes(1, 4 << 20);
    h.send(c, &request(&[b"SET", b"k", &value]));
    h.server.end_of_input(c);
    assert_eq!(h.settle(c), b"+OK\r\n");
    assert!(h.server.is_finished(c));
    let c = h.connect();
    h.expect(c, &[b"GET", b"k"], &bulk(&value));
}

#[test]
fn what_is_copied_is_of_one_version() {
    let (old, new) = (bytes(1, LEN), bytes(2, LEN));
    for turns in 0..6 {
        let mut h = harness();
        let (copier, writer) = (h.connect(), h.connect());
        h.set(writer, "k", &old);
        h.feed(copier, b"COPY k copy\r\n");
        for _ in 0..turns {
            h.drive_once();
        }
        h.expect(writer, &[b"SETRANGE", b"k", b"0", &new[..100]], format!(":{LEN}\r\n").as_bytes());
        let got = h.settle(copier);
        assert_eq!(got, b":1\r\n");
        let changed = [&new[..100], &old[100..]].concat();
        h.expect(writer, &[b"GET", b"k"], &bulk(&changed));
        let copy = h.call(writer, &[b"GET", b"copy"]);
        assert!(copy == bulk(&old) || copy == bulk(&changed), "a mixture after {turns} turns");
        h.ask(writer, "FLUSHALL");
        assert_eq!((h.stats().chunks, h.stats().uploads), (0, 0));
    }
}
