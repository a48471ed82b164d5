use super::*;

fn key(name: &str) -> ModelKey {
    (0, name.as_bytes().into())
}

fn put(name: &str, value: &str) -> Change {
    let value = value.as_bytes().into();
    Change::Put {
        key: key(name),
        value,
        value_type: 0,
        expires_at: None,
        label: ModelLabel::default(),
    }
}

fn clock(ms: u64) -> Clock {
    Clock { earliest: UnixMillis(ms), latest: UnixMillis(ms) }
}

fn found(value: &str, lsn: u64) -> (Seen, Clock) {
    let value = value.as_bytes().into();
    (Seen::Found { value, value_type: 0, expires_at: None, lsn: Lsn(lsn) }, clock(1))
}

fn absent() -> (Seen, Clock) {
    (Seen::Absent, clock(1))
}

fn model() -> Model {
    let mut model = Model::new(false);
    model.apply(put("a", "1"), Some(Lsn(1))).unwrap();
    model.apply(put("b", "1"), Some(Lsn(2))).unwrap();
    model.promise(Lsn(1));
    model.apply(put("a", "2"), Some(Lsn(3))).unwrap();
    model
}

#[test]
fn a_recovery_shows_a_prefix_that_holds_what_was_promised() {
    let try_it =
        |a, b| model().recovered(&[(key("a"), a), (key("b"), b)].into(), Lsn(9), &BTreeSet::new());
    assert_eq!(try_it(found("1", 1), absent()), Ok(Lsn(1)));
    assert_eq!(try_it(found("1", 1), found("1", 2)), Ok(Lsn(2)));
    assert_eq!(try_it(found("2", 3), found("1", 2)), Ok(Lsn(3)));
    assert!(try_it(found("2", 3), absent()).is_err(), "a gap");
    assert!(try_it(absent(), absent()).is_err(), "a promise broken");
    assert!(try_it(found("3", 3), found("1", 2)).is_err(), "a value never written");
}

#[test]
fn groups_are_all_or_nothing() {
    let mut model = Model::new(false);
    model.begin();
    model.apply(put("a", "1"), Some(Lsn(1))).unwrap();
    model.apply(put("b", "1"), Some(Lsn(2))).unwrap();
    model.commit(Lsn(3)).unwrap();
    assert_eq!(model.barrier(&key("a")), Lsn(3));
    let seen = |a, b| [(key("a"), a), (key("b"), b)].into();
    assert!(
        model.clone().recovered(&seen(found("1", 1), absent()), Lsn(9), &BTreeSet::new()).is_err()
    );
    assert_eq!(
        model.clone().recovered(&seen(absent(), absent()), Lsn(9), &BTreeSet::new()),
        Ok(Lsn(0))
    );
    assert_eq!(
        model.recovered(&seen(found("1", 1), found("1", 2)), Lsn(9), &BTreeSet::new()),
        Ok(Lsn(3))
    );
}

#[test]
fn touches_may_live_a_quantum_longer_after_a_recovery_and_shorter_only_until_they_settle() {
    let mut model = Model::new(false);
    let at = UnixMillis(10_500);
    let value: Value = b"v".as_slice().into();
    let expires_at = Some(UnixMillis(5_000));
    let put = Change::Put {
        key: key("a"),
        value: value.clone(),
        value_type: 0,
        expires_at,
        label: ModelLabel::default(),
    };
    model.apply(put, Some(Lsn(1))).unwrap();
    model.promise(Lsn(1));
    model.apply(Change::Touch(key("a"), at, 32_000), None).unwrap();
    let seen = |ms| Seen::Found {
        value: value.clone(),
        value_type: 0,
        expires_at: Some(UnixMillis(ms)),
        lsn: Lsn(1),
    };
    let now = clock(6_000);
    assert!(model.observe(&key("a"), &seen(5_000), now).is_err());
    assert!(model.observe(&key("a"), &seen(10_500), now).is_ok());
    assert!(model.observe(&key("a"), &seen(11_001), now).is_err());
    assert!(model.observe(&key("a"), &Seen::Absent, now).is_err());
    let recovered = |model: &Model, ms| {
        let seen = [(key("a"), (seen(ms), now))].into();
        model.clone().recovered(&seen, Lsn(9), &BTreeSet::new())
    };
    // Never earlier, and less than a quantum of 32 s later.
    assert!(recovered(&model, 10_499).is_err() && recovered(&model, 43_001).is_err());
    assert!(recovered(&model, 10_500).is_ok() && recovered(&model, 43_000).is_ok());
    // Second 12 ends a cell of 13: it is entered as the next one.
    model.apply(Change::Touch(key("a"), UnixMillis(11_500), 32_000), None).unwrap();
    assert!(model.observe(&key("a"), &seen(13_000), now).is_ok());
    assert!(model.observe(&key("a"), &seen(13_001), now).is_err());
    assert!(recovered(&model, 44_000).is_ok() && recovered(&model, 44_001).is_err());
}

#[test]
fn a_lost_key_may_be_listed_if_a_version_was_and_shows_nothing_it_was_not() {
    let mut model = Model::new(true);
    let hidden = ModelLabel { hidden: true, ..ModelLabel::default() };
    model.apply(put("a", "1"), Some(Lsn(1))).unwrap();
    model.promise(Lsn(1));
    let value: Value = b"2".as_slice().into();
    let (value_type, expires_at) = (0, None);
    let again = Change::Put { key: key("a"), value, value_type, expires_at, label: hidden };
    model.apply(again, Some(Lsn(2))).unwrap();
    let lost = [(key("a"), (Seen::Lost, clock(1)))].into();
    model.recovered(&lost, Lsn(2), &BTreeSet::new()).unwrap();
    // Either version may be the one that was lost, and one of them can be listed.
    assert_eq!(model.visible(0).count(), 1);
    assert!(model.clone().observe(&key("a"), &Seen::Absent, clock(1)).is_err());
    let judged = |model: &Model, seen: Seen| {
        let seen = [(key("a"), (seen, clock(1)))].into();
        model.clone().recovered(&seen, Lsn(2), &BTreeSet::new()).is_ok()
    };
    let found = |value: &str, lsn| Seen::Found {
        value: value.as_bytes().into(),
        value_type: 0,
        expires_at: None,
        lsn: Lsn(lsn),
    };
    assert!(judged(&model, Seen::Lost) && judged(&model, found("2", 2)));
    assert!(!judged(&model, found("3", 2)) && !judged(&model, Seen::Absent));
}
