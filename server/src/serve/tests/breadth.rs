//! Replies of what goes beyond Redis 7.0: fields that expire; and of SORT and PFCOUNT.

use super::Harness;

#[test]
fn fields_that_expire() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("HSET h a 1 b 2 c 3", ":3"),
            ("HEXPIRE h 100 FIELDS 2 a x", "*2 :1 :-2"),
            ("HEXPIRE h 100 NX FIELDS 1 a", "*1 :0"),
            ("HEXPIRE h 50 GT FIELDS 1 a", "*1 :0"),
            ("HEXPIRE h 50 LT FIELDS 2 a b", "*2 :1 :1"),
            ("HTTL h FIELDS 3 a c x", "*3 :50 :-1 :-2"),
            ("HPTTL h FIELDS 1 a", "*1 :50000"),
            ("HEXPIRETIME h FIELDS 1 a", "*1 :1700000050"),
            ("HPEXPIRETIME h FIELDS 1 a", "*1 :1700000050000"),
            ("HPERSIST h FIELDS 3 a c x", "*3 :1 :-1 :-2"),
            ("HPEXPIREAT h 1 FIELDS 1 a", "*1 :2"),
            ("HGETALL h", "*4 $1 b $1 2 $1 c $1 3"),
            ("TTL h", ":-1"),
            ("EXPIRE h 1000", ":1"),
            ("TTL h", ":1000"),
            ("HTTL h FIELDS 1 b", "*1 :50"),
            ("PERSIST h", ":1"),
            ("HINCRBY h b 5", ":7"),
            ("HTTL h FIELDS 1 b", "*1 :50"),
            ("COPY h copy", ":1"),
            ("HSET h b 2", ":0"),
            ("HTTL h FIELDS 1 b", "*1 :-1"),
            (
                "HEXPIRE h 10 FIELDS 2 b",
                "-ERR The `numfields` parameter must match the number of arguments",
            ),
            ("HEXPIRE h 10 FIELDS 0 b", "-ERR Parameter `numFields` should be greater than 0"),
            (
                "HEXPIRE h 10 NX b 1 1",
                "-ERR Mandatory argument FIELDS is missing or not at the right position",
            ),
            ("HEXPIRE h -1 FIELDS 1 b", "-ERR invalid expire time, must be >= 0"),
            ("HTTL nope FIELDS 1 b", "*1 :-2"),
            ("HGETEX h EX 20 FIELDS 1 b", "*1 $1 2"),
            ("HGETEX h PERSIST FIELDS 1 b", "*1 $1 2"),
            ("HSETEX h FNX EX 9 FIELDS 1 b 4", ":0"),
            ("HSETEX h EX 9 FIELDS 2 b 4 d 5", ":1"),
            ("HTTL h FIELDS 2 b d", "*2 :9 :9"),
            ("HGETDEL h FIELDS 2 c x", "*2 $1 3 $-1"),
        ],
    );
    // A cold hash that expires keeps what it is.
    let mut h = h.reopened();
    assert_eq!(h.ask(c, "HMGET h b d"), "*2 $1 4 $1 5");
    h.advance(9_000);
    h.script(c, &[("EXISTS h", ":0"), ("HLEN h", ":0"), ("HSET h a 1", ":1"), ("HLEN copy", ":2")]);
    h.advance(41_000);
    h.script(c, &[("HGETALL copy", "*2 $1 c $1 3"), ("HEXISTS copy b", ":0"), ("TTL h", ":-1")]);
}

#[test]
fn sorting_follows_patterns_to_cold_keys() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("RPUSH ids 3 1 2", ":3"),
            ("MSET w1 9 w2 5 w3 7", "+OK"),
            ("HSET n1 name one", ":1"),
            ("HSET n3 name three", ":1"),
            ("SORT ids", "*3 $1 1 $1 2 $1 3"),
            ("SORT ids DESC LIMIT 0 2", "*2 $1 3 $1 2"),
            ("SORT ids BY nosort DESC LIMIT 0 2", "*2 $1 2 $1 1"),
            ("SET bad x", "+OK"),
            ("SORT bad", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("RPUSH words b a", ":2"),
            ("SORT words", "-ERR One or more scores can't be converted into double"),
            ("SORT words ALPHA STORE sorted", ":2"),
            ("LRANGE sorted 0 -1", "*2 $1 a $1 b"),
        ],
    );
    let mut h = h.reopened();
    let sorted = "*6 $1 2 $-1 $1 3 $5 three $1 1 $3 one";
    assert_eq!(h.ask(c, "SORT ids BY w* GET # GET n*->name"), sorted);
    let mut h = h.reopened();
    h.script(c, &[("MULTI", "+OK"), ("SORT ids BY w* GET # GET n*->name", "+QUEUED")]);
    assert_eq!(h.ask(c, "EXEC"), format!("*1 {sorted}"));
}

#[test]
fn different_elements_are_counted() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("PFADD a x y z", ":1"),
            ("PFADD a x", ":0"),
            ("PFADD b y w", ":1"),
            ("PFCOUNT a b nope", ":4"),
            ("PFMERGE all a b", "+OK"),
            ("PFCOUNT all", ":4"),
            ("SET s x", "+OK"),
            ("PFADD s x", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
        ],
    );
}

#[test]
fn strings_are_changed_and_deleted_on_condition() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("SET q v IFEQ v", "$-1"),
            ("SET q v IFNE v", "+OK"),
            ("SET q w IFEQ v", "+OK"),
            ("SET q x IFNE w GET", "$1 w"),
            ("SET q x IFEQ w XX", "-ERR syntax error"),
            ("DELIFEQ q x", ":0"),
            ("DELEX q IFNE w", ":0"),
            ("DELIFEQ q w", ":1"),
        ],
    );
}

#[test]
fn places_are_found_by_circle_and_box() {
    let mut h = Harness::new();
    let c = h.connect();
    let near = "FROMLONLAT 15 37";
    h.script(
        c,
        &[
            ("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2"),
            ("GEODIST g Palermo Catania km", "$8 166.2742"),
            ("GEOHASH g Palermo nope", "*2 $11 sqc8b49rny0 $-1"),
            ("GEOADD g 181 0 x", "-ERR invalid longitude,latitude pair 181.000000,0.000000"),
            (&format!("GEOSEARCH g {near} BYRADIUS 200 km ASC"), "*2 $7 Catania $7 Palermo"),
            (&format!("GEOSEARCH g {near} BYRADIUS 200 km COUNT 1"), "*1 $7 Catania"),
            (
                &format!("GEOSEARCH g {near} BYBOX 200 200 km WITHDIST"),
                "*1 *2 $7 Catania $7 56.4413",
            ),
            (&format!("GEOSEARCHSTORE near g {near} BYRADIUS 100 km"), ":1"),
            ("ZRANGE near 0 -1", "*1 $7 Catania"),
            ("GEOPOS g nope", "*1 *-1"),
        ],
    );
}
