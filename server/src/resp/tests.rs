//! The parser at every split, its limits, and the numbers.

use super::*;

const WIDE: Limits =
    Limits { args_max: 1 << 20, bulk_max: 64 << 20, whole_max: 64 << 20, unauthenticated: false };

/// Feeds `input` cut at `cuts` and returns every command, or the error after them.
fn commands(input: &[u8], cut: usize, limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let (mut parser, mut found, mut start) = (Parser::default(), Vec::new(), 0);
    for end in [cut, input.len()] {
        loop {
            let window = &input[start..end];
            match parser.parse(window, limits) {
                Err(error) => return (found, Some(error.to_string())),
                Ok(Parsed::Incomplete { missing }) => {
                    assert!(missing > 0);
                    break;
                }
                Ok(Parsed::Long(_)) => parser.keep(),
                Ok(Parsed::Command) => {
                    found.push(parser.args(window).iter().map(<[u8]>::to_vec).collect());
                    start += parser.consumed();
                    parser.reset();
                }
            }
        }
    }
    (found, None)
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn the_same_commands_wherever_the_bytes_are_split() {
    let cases: &[&[u8]] = &[
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb\0\r\n*1\r\n$4\r\nPING\r\n",
        b"PING\r\nset k \"a\\x41\\n b\" 'c\\'d'\n\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
        b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$4\r\nPING\r\n*1\r\n:4\r\n",
        b"*1048577\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$99999999999999999999999\r\n",
        b"GET \"abc\n",
    ];
    for input in cases {
        let whole = commands(input, 0, &WIDE);
        for cut in 1..input.len() {
            assert_eq!(commands(input, cut, &WIDE), whole, "{} cut at {cut}", input.escape_ascii());
        }
    }
}

#[test]
fn random_bytes_give_the_same_outcome_wherever_they_are_split() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck hands values over")]
    fn property(pieces: Vec<u8>, cut: usize) -> bool {
        const ALPHABET: &[&[u8]] =
            &[b"*", b"$", b"\r\n", b"1", b"2", b"-1", b"PING", b"\"", b" ", b"\n", b"0", b"x"];
        let input: Vec<u8> =
            pieces.iter().flat_map(|p| ALPHABET[*p as usize % ALPHABET.len()]).copied().collect();
        let cut = cut % (input.len() + 1);
        commands(&input, 0, &WIDE) == commands(&input, cut, &WIDE)
    }
    quickcheck::QuickCheck::new().tests(5_000).quickcheck(property as fn(Vec<u8>, usize) -> bool);
}

#[test]
fn inline_words_follow_the_quoting_rules() {
    let (found, error) = commands(b"set  k \"a\\x41\\n b\" 'c\\'d' \"\"\r\n", 0, &WIDE);
    assert_eq!(found, vec![words(&["set", "k", "aA\n b", "c'd", ""])]);
    assert_eq!(error, None);
    for bad in [&b"a \"b\n"[..], b"a 'b\n", b"a \"b\"c\n"] {
        let (found, error) = commands(bad, 0, &WIDE);
        assert!(found.is_empty());
        assert_eq!(error.as_deref(), Some("Protocol error: unbalanced quotes in request"));
    }
}

#[test]
fn limits_are_checked_before_anything_is_received() {
    let tight = Limits::UNAUTHENTICATED;
    let cases: &[(&[u8], &Limits, &str)] = &[
        (b"*11\r\n", &tight, "unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", &tight, "unauthenticated bulk length"),
        (b"*1048577\r\n", &WIDE, "invalid multibulk length"),
        (b"*x\r\n", &WIDE, "invalid multibulk length"),
        (b"*9223372036854775808\r\n", &WIDE, "invalid multibulk length"),
        (b"*111111111111111111111111", &WIDE, "invalid multibulk length"),
        (b"*1\r\n$67108865\r\n", &WIDE, "invalid bulk length"),
        (b"*1\r\n+OK\r\n", &WIDE, "expected '$', got '+'"),
    ];
    for (input, limits, text) in cases {
        let (_, error) = commands(input, 0, limits);
        assert_eq!(error, Some(format!("Protocol error: {text}")), "{}", input.escape_ascii());
    }
    let (_, error) = commands(&vec![b'a'; 70_000], 0, &WIDE);
    assert_eq!(error.as_deref(), Some("Protocol error: too big inline request"));
}

#[test]
fn missing_says_how_much_of_the_argument_is_to_come() {
    let mut parser = Parser::default();
    let parsed = parser.parse(b"*1\r\n$1000\r\nab", &WIDE);
    assert_eq!(parsed, Ok(Parsed::Incomplete { missing: 1000 }));
}

#[test]
fn integers_are_canonical() {
    for (text, value) in [
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("99999999999999999999", None),
        ("-0", None),
        ("01", None),
        ("+1", None),
        (" 1", None),
        ("1 ", None),
        ("", None),
        ("-", None),
    ] {
        assert_eq!(parse_i64(text.as_bytes()), value, "{text:?}");
    }
}

#[test]
fn errors_cannot_forge_a_reply() {
    let mut out = Vec::new();
    Reply::new(&mut out, Proto::Resp2).error("ERR unknown 'a\r\n+OK'");
    assert_eq!(out, b"-ERR unknown 'a  +OK'\r\n");
}

#[test]
fn shapes_of_both_versions() {
    type Shape = fn(&mut Reply<'_>);
    let write = |proto, f: &dyn Fn(&mut Reply<'_>)| {
        let mut out = Vec::new();
        f(&mut Reply::new(&mut out, proto));
        String::from_utf8(out).unwrap()
    };
    let cases: &[(Shape, &str, &str)] = &[
        (|r| r.null(), "$-1\r\n", "_\r\n"),
        (|r| r.null_array(), "*-1\r\n", "_\r\n"),
        (|r| r.map(2), "*4\r\n", "%2\r\n"),
        (|r| r.set(2), "*2\r\n", "~2\r\n"),
        (|r| r.push(3), "*3\r\n", ">3\r\n"),
        (|r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
        (|r| r.text("hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        (|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
        (|r| r.integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
    ];
    for (shape, resp2, resp3) in cases {
        assert_eq!(write(Proto::Resp2, shape), *resp2);
        assert_eq!(write(Proto::Resp3, shape), *resp3);
    }
}

#[test]
fn long_arguments_are_taken_piece_by_piece_wherever_the_bytes_are_split() {
    let limits = Limits { whole_max: 4, ..WIDE };
    let input =
        b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\nab\r\ncdefg\r\n$5\r\n12345\r\n*1\r\n$4\r\nPING\r\n";
    for piece in 1..input.len() {
        let (mut parser, mut window, mut commands) = (Parser::default(), Vec::new(), Vec::new());
        let (mut taken, mut kept) = (Vec::new(), 0);
        for bytes in input.chunks(piece) {
            window.extend_from_slice(bytes);
            loop {
                match parser.parse(&window, &limits).unwrap() {
                    Parsed::Incomplete { missing } => {
                        assert!(missing > 0);
                        break;
                    }
                    Parsed::Long(long) if long.argument == 3 => {
                        kept += 1;
                        parser.keep();
                    }
                    Parsed::Long(long) => {
                        assert_eq!((long.argument, long.length), (2, 9));
                        assert_eq!(long.left, 9 - taken.len());
                        let here = long.left.min(window.len() - long.offset);
                        taken.extend(window.drain(long.offset..long.offset + here));
                        parser.taken(here);
                        if here < long.left {
                            break;
                        }
                    }
                    Parsed::Command => {
                        let args = parser.args(&window);
                        commands.push(args.iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
                        window.drain(..parser.consumed());
                        parser.reset();
                    }
                }
            }
        }
        assert_eq!(commands, [words(&["SET", "k", "", "12345"]), words(&["PING"])], "{piece}");
        assert_eq!((taken.as_slice(), kept), (&b"ab\r\ncdefg"[..], 1));
    }
}
