//! A user's sessions to the millisecond, also those whose values are on disk only.

use super::Harness;

/// Creates sessions that end at 10.3 s, and starts again, so that RAM knows only the second.
fn in_its_last_second(more: &[(&str, &str)]) -> Harness {
    let mut h = Harness::new();
    let c = h.connect();
    h.advance(300);
    h.script(c, &[("SESSION.CREATE a USER u IDLE 10", "$1 a")]);
    h.script(c, &[("SESSION.CREATE b USER u IDLE 100", "$1 b")]);
    h.script(c, more);
    let mut h = h.reopened();
    h.connect();
    h.advance(9_999);
    h
}

#[test]
fn a_session_is_listed_until_the_millisecond_in_which_it_ends() {
    let early = |line: &str| in_its_last_second(&[]).ask(0, line);
    assert_eq!(early("SESSION.COUNT u"), ":2");
    assert_eq!(early("SESSION.LIST u"), "*2 $1 a $1 b");
    let late = |line: &str| {
        let mut h = in_its_last_second(&[]);
        h.advance(1);
        h.ask(0, line)
    };
    assert_eq!(late("SESSION.COUNT u"), ":1");
    assert_eq!(late("SESSION.LIST u"), "*1 $1 b");
    assert_eq!(late("SESSION.CREATE c USER u MAXPERUSER 2 REJECT"), "$1 c");
    assert!(early("SESSION.CREATE c USER u MAXPERUSER 2 REJECT").starts_with("-MAXSESSIONS"));
}

#[test]
fn so_it_is_in_a_transaction() {
    for (wait, count) in [(0, 2), (1, 1)] {
        let mut h = in_its_last_second(&[]);
        h.advance(wait);
        h.script(
            0,
            &[
                ("MULTI", "+OK"),
                ("SET x 1", "+QUEUED"),
                ("SESSION.COUNT u", "+QUEUED"),
                ("EXEC", &format!("*2 +OK :{count}")),
            ],
        );
    }
}

#[test]
fn what_was_touched_lives_to_the_end_of_its_second_for_every_command() {
    // A touch leaves the second in RAM, and in the journal, but no millisecond.
    let mut h = in_its_last_second(&[("SESSION.CREATE t USER v IDLE 5", "$1 t")]);
    assert_eq!(h.ask(0, "SESSION.COUNT v"), ":0");
    let mut h = Harness::new();
    let c = h.connect();
    h.advance(300);
    h.script(c, &[("SESSION.CREATE t USER v IDLE 60", "$1 t")]);
    h.advance(5_000);
    h.script(c, &[("SESSION.TOUCH t", ":1")]);
    let mut h = h.reopened();
    h.connect();
    for _ in 0..400 {
        h.advance(250);
        let (count, there) = (h.ask(0, "SESSION.COUNT v"), h.ask(0, "EXISTS t"));
        assert_eq!(count, there);
    }
    assert_eq!(h.ask(0, "SESSION.COUNT v"), ":0");
}
