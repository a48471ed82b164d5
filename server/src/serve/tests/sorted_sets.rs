//! Replies of sorted set commands, as Redis gives them.

use super::Harness;

#[test]
fn sorted_sets() {
    let mut h = Harness::new();
    let c = h.connect();
    h.script(
        c,
        &[
            ("ZADD z 2 b 1 a 3 c", ":3"),
            ("ZADD z NX 9 a 4 d", ":1"),
            ("ZADD z XX CH 5 d 9 x", ":1"),
            ("ZADD z GT CH 1 d", ":0"),
            ("ZADD z LT INCR 1 d", "$-1"),
            ("ZADD z INCR 1 d", "$1 6"),
            ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
            ("ZINCRBY z 0.5 d", "$3 6.5"),
            ("ZSCORE z d", "$3 6.5"),
            ("ZMSCORE z a x", "*2 $1 1 $-1"),
            ("ZCARD z", ":4"),
            ("ZRANK z c", ":2"),
            ("ZREVRANK z c WITHSCORE", "*2 :1 $1 3"),
            ("ZRANGE z 0 1 WITHSCORES", "*4 $1 a $1 1 $1 b $1 2"),
            ("ZRANGE z (1 +inf BYSCORE LIMIT 1 1", "*1 $1 c"),
            ("ZREVRANGEBYSCORE z 3 (1", "*2 $1 c $1 b"),
            ("ZCOUNT z 2 (3", ":1"),
            ("ZRANGESTORE y z 0 1", ":2"),
            (
                "ZUNION 2 y z WEIGHTS 10 1 WITHSCORES",
                "*8 $1 c $1 3 $1 d $3 6.5 $1 a $2 11 $1 b $2 22",
            ),
            ("ZINTERSTORE w 2 y z AGGREGATE MAX", ":2"),
            ("ZDIFF 2 z w", "*2 $1 c $1 d"),
            ("ZINTERCARD 2 y z LIMIT 1", ":1"),
            ("ZPOPMIN w 5", "*4 $1 a $1 1 $1 b $1 2"),
            ("EXISTS w", ":0"),
            ("ZPOPMAX z", "*2 $1 d $3 6.5"),
            ("ZMPOP 2 w y MAX", "*2 $1 y *1 *2 $1 b $1 2"),
            ("ZREMRANGEBYSCORE z -inf 1", ":1"),
            ("ZRANDMEMBER y -2 WITHSCORES", "*4 $1 a $1 1 $1 a $1 1"),
            ("ZSCAN y 0", "*2 $1 0 *2 $1 a $1 1"),
            ("ZADD l 0 a 0 b 0 c", ":3"),
            ("ZRANGEBYLEX l (a +", "*2 $1 b $1 c"),
            ("ZLEXCOUNT l - [b", ":2"),
            ("ZADD n inf a", ":1"),
            ("ZINCRBY n -inf a", "-ERR resulting score is not a number (NaN)"),
            ("ZADD n nan a", "-ERR value is not a valid float"),
            ("TYPE n", "+zset"),
        ],
    );
    assert!(h.ask(c, "HELLO 3").starts_with('%'));
    h.script(
        c,
        &[
            ("ZRANGE z 0 -1 WITHSCORES", "*2 *2 $1 b ,2 *2 $1 c ,3"),
            ("ZPOPMIN z", "*2 $1 b ,2"),
            ("ZPOPMIN z 1", "*1 *2 $1 c ,3"),
            ("ZADD cold 1 a 2 b", ":2"),
        ],
    );
    let mut h = h.reopened();
    assert_eq!(h.ask(c, "ZINTER 2 cold l WITHSCORES"), "*2 *2 $1 a ,1 *2 $1 b ,2");
    h.script(c, &[("MULTI", "+OK"), ("ZREM cold a", "+QUEUED"), ("ZCARD cold", "+QUEUED")]);
    assert_eq!(h.ask(c, "EXEC"), "*2 :1 :1");
}
