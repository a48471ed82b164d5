//! The interpreter without a server: a host that answers from a list.

use super::*;
use crate::resp::OwnedArgs;

fn clock() -> u64 {
    emberlog_engine::driver::now().0 * 1000
}

fn engine() -> Engine {
    Engine::new(Limits { memory_bytes: 32 << 20 }, clock, |args| args.get(0) == Some(b"get"))
        .unwrap()
}

/// Answers ECHO, fails everything else, stops at STOP.
struct Parrot;

impl Host for Parrot {
    fn call(&mut self, args: Args<'_>, proto: Proto, out: &mut Vec<u8>) -> Result<(), Abort> {
        let mut reply = Reply::new(out, proto);
        match args.at(0) {
            b"echo" => reply.bulk(args.at(1)),
            b"null" => reply.null(),
            b"map" => {
                reply.map(1);
                reply.bulk(b"a");
                reply.double(1.5);
            }
            b"stop" => return Err(Abort),
            _ => reply.error("WRONGTYPE no"),
        }
        Ok(())
    }
}

fn run_for(
    engine: &mut Engine,
    body: &str,
    time_us: u64,
    argv: &[&str],
) -> Result<String, Failure> {
    let sha = digest(body.as_bytes());
    let script = engine.compile(sha, body.as_bytes(), false).map_err(Failure::Error)?;
    let mut strings = OwnedArgs::default();
    for arg in argv {
        strings.push(arg.as_bytes());
    }
    let (none, view) = (strings.view().first(0), strings.view());
    let returned = engine.run((&script, &sha), (none, view), (time_us, 0), &mut Parrot)?;
    let mut bytes = Vec::new();
    returned.write(&mut Reply::new(&mut bytes, Proto::Resp2)).map_err(Failure::Error)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().replace("\r\n", " "))
}

fn run(body: &str) -> Result<String, Failure> {
    run_for(&mut engine(), body, 5_000_000, &[])
}

#[test]
fn values_become_the_replies_of_redis() {
    for (body, reply) in [
        ("return 3.99", ":3"),
        ("return -3.99", ":-3"),
        ("return 1e300", ":-9223372036854775808"),
        ("return 'x'", "$1 x"),
        ("return true", ":1"),
        ("return false", "$-1"),
        ("return", "$-1"),
        ("return {1,2,nil,4}", "*2 :1 :2"),
        ("return {1.9,'a',true,false,{ok='fine'},{err='bad'}}", "*6 :1 $1 a :1 $-1 +fine -bad"),
        ("return {double=3.5}", "$3 3.5"),
        ("return {map={a=1}}", "*2 $1 a :1"),
        ("return {set={a=true}}", "*1 $1 a"),
        ("return {big_number='12'}", "$2 12"),
        ("return {verbatim_string={format='txt',string='abc'}}", "$3 abc"),
        ("return redis.status_reply('fine')", "+fine"),
        ("return redis.error_reply('My Err')", "-My Err"),
        ("return redis.error_reply('-My Err')", "-My Err"),
        ("return redis.error_reply('Word')", "-ERR Word"),
        ("return redis.error_reply({})", "-ERR wrong number or type of arguments"),
        ("return redis.call('echo', 0.1)", "$19 0.10000000000000001"),
        ("return redis.call('echo', 1e15)", "$16 1000000000000000"),
        ("return redis.call('echo', 1e20)", "$5 1e+20"),
        ("return redis.call('null')", "$-1"),
        ("redis.setresp(3) return tostring(redis.call('null'))", "$3 nil"),
        ("redis.setresp(3) return redis.call('map').map.a.double * 2", ":3"),
        ("return tostring(redis.pcall('nope').err)", "$12 WRONGTYPE no"),
        (
            "local ok, e = pcall(redis.call, 'nope') return {tostring(ok), e}",
            "*2 $5 false $12 WRONGTYPE no",
        ),
        ("return #KEYS .. ARGV[1]", "$2 0a"),
        ("return redis.sha1hex('')", "$40 da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("return loadstring('return 5')()", ":5"),
        ("return load(function() return nil end) == nil and 1 or 2", ":2"),
        ("return getmetatable('').__index == string and 1 or 0", ":1"),
        ("local t = {} rawset(t, 1, 2) return t[1]", ":2"),
        ("return select('#', unpack({1, 2, 3}))", ":3"),
        (
            "local f = coroutine.wrap(function() coroutine.yield(redis.call('echo', 'y')) end) return f()",
            "$1 y",
        ),
    ] {
        assert_eq!(run_for(&mut engine(), body, 5_000_000, &["a"]).as_deref(), Ok(reply), "{body}");
    }
}

#[test]
fn failures_are_told_as_redis_tells_them() {
    for (body, text) in [
        (
            "return foo",
            "ERR user_script:1: Script attempted to access nonexistent global variable 'foo'",
        ),
        ("foo = 1", "ERR user_script:1: Attempt to modify a readonly table"),
        ("redis.x = 1", "ERR user_script:1: Attempt to modify a readonly table"),
        ("string.rep = 1", "ERR user_script:1: Attempt to modify a readonly table"),
        ("getmetatable('').__index = nil", "ERR user_script:1: Attempt to modify a readonly table"),
        ("setmetatable(_G, {})", "ERR Attempt to modify a readonly table"),
        ("rawset(_G, 'x', 1)", "ERR Attempt to modify a readonly table"),
        ("error('boom')", "ERR user_script:1: boom"),
        ("error({err = 'My Err'})", "My Err"),
        ("error({foo = 1})", "ERR unknown error"),
        ("error()", "ERR nil"),
        ("error(12)", "ERR user_script:1: 12"),
        ("local t\nreturn t.x", "ERR user_script:2: attempt to index local 't' (a nil value)"),
        ("return redis.call('get')", "WRONGTYPE no"),
        ("return redis.call()", "ERR Please specify at least one argument for this redis lib call"),
        (
            "return redis.call({})",
            "ERR Lua redis lib command arguments must be strings or integers",
        ),
        ("return redis.sha1hex()", "ERR wrong number of arguments"),
        ("return redis.setresp(4)", "ERR RESP version must be 2 or 3."),
        ("return redis.log(1)", "ERR redis.log() requires two arguments or more."),
        ("return redis.log(9, 'x')", "ERR Invalid debug level."),
        ("return redis.acl_check_cmd('x')", "ERR Invalid command passed to redis.acl_check_cmd()"),
        (
            "return cjson.decode('[1,')",
            "ERR user_script:1: Expected value but found T_END at character 4",
        ),
    ] {
        let line = body.matches('\n').count() + 1;
        let sha = crate::process::hex(&digest(body.as_bytes()));
        let expected = format!("{text} script: {sha}, on @user_script:{line}.");
        assert_eq!(run(body), Err(Failure::Error(expected)), "{body}");
    }
    let syntax =
        "ERR Error compiling script (new function): user_script:1: unexpected symbol near '='";
    assert_eq!(run("x = = 1"), Err(Failure::Error(syntax.to_owned())));
}

#[test]
fn nothing_dangerous_is_in_reach() {
    for name in [
        "os", "io", "require", "package", "debug", "dofile", "loadfile", "print", "getfenv",
        "setfenv", "newproxy", "module",
    ] {
        let Err(Failure::Error(text)) = run(&format!("return {name}")) else {
            panic!("{name} is there")
        };
        assert!(text.contains("nonexistent global"), "{text}");
    }
    assert_eq!(run("return tostring(string.dump)").as_deref(), Ok("$3 nil"));
    // Bytecode is not compiled, wherever it comes from.
    assert_eq!(run("return tostring(loadstring('\\27Lua'))").as_deref(), Ok("$3 nil"));
    assert!(matches!(run("\u{1b}Lua"), Err(Failure::Error(_))));
}

#[test]
fn what_a_script_leaves_behind_is_gone() {
    let mut engine = engine();
    for (body, reply) in [
        ("table.insert(_G, 7) table.insert(redis, 7) return _G[1]", ":7"),
        ("return tostring(rawget(_G, 1)) .. tostring(rawget(redis, 1))", "$6 nilnil"),
        ("cjson.encode_max_depth(2) return cjson.encode_max_depth()", ":2"),
        ("return cjson.encode_max_depth()", ":1000"),
        ("KEYS[1] = 'x' return #KEYS", ":1"),
        ("return #KEYS", ":0"),
        ("collectgarbage('stop') return collectgarbage('count') > 0", ":1"),
    ] {
        assert_eq!(run_for(&mut engine, body, 5_000_000, &[]).as_deref(), Ok(reply), "{body}");
    }
}

#[test]
fn a_script_ends_at_its_limits_whatever_it_catches() {
    let mut engine = engine();
    for body in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() while true do pcall(f) end end while true do pcall(f) end",
        "local c = coroutine.wrap(function() while true do end end) while true do pcall(c) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
    ] {
        assert_eq!(run_for(&mut engine, body, 20_000, &[]), Err(Failure::Killed), "{body}");
        // The next one is not affected.
        assert_eq!(run_for(&mut engine, "return 1", 5_000_000, &[]).as_deref(), Ok(":1"));
    }
    for body in [
        "return string.rep('x', 100000000)",
        "local t = {} while true do t[#t + 1] = 'x' .. #t end",
    ] {
        let Err(Failure::Error(text)) = run_for(&mut engine, body, 60_000_000, &[]) else {
            panic!("{body}")
        };
        assert!(text.starts_with("ERR not enough memory script: "), "{text}");
        assert_eq!(run_for(&mut engine, "return 1", 5_000_000, &[]).as_deref(), Ok(":1"));
    }
    let Err(Failure::Error(text)) = run("local function f() return 1 + f() end return f()") else {
        panic!()
    };
    assert!(text.contains("stack overflow"), "{text}");
}

#[test]
fn a_stopped_script_calls_nothing_any_more() {
    struct Counting(usize);
    impl Host for Counting {
        fn call(&mut self, _: Args<'_>, _: Proto, _: &mut Vec<u8>) -> Result<(), Abort> {
            self.0 += 1;
            Err(Abort)
        }
    }
    let mut engine = engine();
    for body in [
        "while true do pcall(redis.call, 'x') redis.pcall('x') end",
        "while true do coroutine.resume(coroutine.create(function() redis.call('x') end)) end",
    ] {
        let sha = digest(body.as_bytes());
        let script = engine.compile(sha, body.as_bytes(), false).unwrap();
        let none = OwnedArgs::default();
        let mut host = Counting(0);
        let (keys, argv) = (none.view(), none.view());
        let outcome = engine.run((&script, &sha), (keys, argv), (5_000_000, 0), &mut host);
        assert!(matches!(outcome, Err(Failure::Aborted)));
        assert_eq!(host.0, 1);
    }
}

#[test]
fn json_is_that_of_lua_cjson() {
    for (body, text) in [
        ("cjson.encode({1,2,3,[6]=1})", "[1,2,3,null,null,1]"),
        ("cjson.encode({})", "{}"),
        ("cjson.encode({a={}})", r#"{"a":{}}"#),
        (r#"cjson.encode('x/y\\"\n\1\127')"#, r#""x\/y\\\"\n\u0001\u007f""#),
        ("cjson.encode(1/3)", "0.33333333333333"),
        ("cjson.encode(1e100)", "1e+100"),
        ("cjson.encode(123456789012345678)", "1.2345678901235e+17"),
        ("cjson.encode(-0.0)", "-0"),
        ("cjson.encode({[1.5]=1})", r#"{"1.5":1}"#),
        ("cjson.encode({cjson.null, true, false})", "[null,true,false]"),
        (r#"cjson.decode('"\\ud83d\\ude00\\u00e9\\/"')"#, "😀é/"),
        ("tostring(cjson.decode('null') == cjson.null)", "true"),
        ("tostring(cjson.decode('[0x10, 1e5, -1.5, +1, 01]')[3])", "-1.5"),
        ("tostring(cjson.decode('[0x10, 1e5, -1.5, +1, 01]')[1])", "16"),
        ("cjson.encode(cjson.decode('{\"a\":[1,{\"b\":null}]}'))", r#"{"a":[1,{"b":null}]}"#),
    ] {
        let body = format!("return {body}");
        let expected = format!("${} {text}", text.len());
        assert_eq!(run(&body).as_deref(), Ok(expected.as_str()), "{body}");
    }
    for (body, text) in [
        ("cjson.encode({1,[1000]=1})", "Cannot serialise table: excessively sparse array"),
        ("cjson.encode(1/0)", "Cannot serialise number: must not be NaN or Inf"),
        ("cjson.encode(function() end)", "Cannot serialise function: type not supported"),
        (
            "cjson.encode({[true]=1})",
            "Cannot serialise boolean: table key must be a number or string",
        ),
        ("cjson.encode(setmetatable({}, {}))x", ""),
        ("cjson.decode('nope')", "Expected value but found invalid token at character 1"),
        ("cjson.decode('[1,2')", "Expected comma or array end but found T_END at character 5"),
        (r#"cjson.decode('{"a" 1}')"#, "Expected colon but found T_NUMBER at character 6"),
        ("cjson.decode('[1,]')", "Expected value but found T_ARR_END at character 4"),
        ("cjson.decode('{}x')", "Expected the end but found invalid token at character 3"),
        (
            r#"cjson.decode('"\\ud83d"')"#,
            "Expected value but found invalid unicode escape code at character 2",
        ),
        (
            r#"cjson.decode('"abc')"#,
            "Expected value but found unexpected end of string at character 5",
        ),
        (r#"cjson.decode('"\\x"')"#, "Expected value but found invalid escape code at character 2"),
        ("cjson.decode('{1:2}')", "Expected object key string but found T_NUMBER at character 2"),
        ("cjson.decode('')", "Expected value but found T_END at character 1"),
        ("cjson.decode()", "bad argument #1 to 'decode' (expected 1 argument)"),
        (
            "cjson.decode(string.rep('[', 1001))",
            "Found too many nested data structures (1001) at character 1001",
        ),
    ] {
        let Err(Failure::Error(error)) = run(&format!("return {body}")) else { panic!("{body}") };
        assert!(error.contains(text), "{body}: {error}");
    }
    let Err(Failure::Error(error)) = run("local t = {} t.t = t return cjson.encode(t)") else {
        panic!()
    };
    assert!(error.contains("Cannot serialise, excessive nesting (1001)"), "{error}");
}

#[test]
fn the_other_libraries_agree_with_those_of_redis() {
    for (body, text) in [
        (
            "bit.tohex(255,4)..bit.bor(1,2)..bit.lshift(1,31)..bit.arshift(-8,1)..bit.bswap(1)",
            "00ff3-2147483648-416777216",
        ),
        ("bit.tobit(2^40+5)..' '..bit.bxor(5,1)..' '..bit.bnot(0)..' '..bit.rol(1,33)", "5 4 -1 2"),
        ("tostring(struct.unpack('>I2','ab'))", "24930"),
        ("table.concat({struct.unpack('<i4d',struct.pack('<i4d',-5,1.5))},',')", "-5,1.5,13"),
        ("struct.pack('>I2c0s', 3, 'abc', 'z'):gsub('%z', '0')", "0\u{3}abcz0"),
        ("table.concat({struct.unpack('>Bc0', '\\3abcd')}, ',')", "abc,5"),
        ("tostring(struct.size('!8Bd'))", "16"),
        (
            "table.concat({cmsgpack.unpack(cmsgpack.pack(1,'a',-7,2.5,70000,-70000,2^40))},',')",
            "1,a,-7,2.5,70000,-70000,1099511627776",
        ),
        ("cjson.encode(cmsgpack.unpack(cmsgpack.pack({1,{a='b'},{}})))", r#"[1,{"a":"b"},{}]"#),
        ("table.concat({cmsgpack.unpack_one(cmsgpack.pack(5,6))},',')", "1,5"),
        ("table.concat({cmsgpack.unpack_limit(cmsgpack.pack(5,6),2)},',')", "-1,5,6"),
        (
            "(cmsgpack.pack({a=1}):gsub('.', function(c) return string.format('%02x', c:byte()) end))",
            "81a16101",
        ),
    ] {
        let body = format!("return {body}");
        let expected = format!("${} {text}", text.len());
        assert_eq!(run(&body).as_deref(), Ok(expected.as_str()), "{body}");
    }
    for (body, text) in [
        ("cmsgpack.unpack('\\217')", "Missing bytes in input."),
        ("cmsgpack.unpack('\\193')", "Bad data format in input."),
        ("struct.unpack('>I4', 'ab')", "data string too short"),
        ("struct.pack('q', 1)", "invalid format option 'q'"),
    ] {
        let Err(Failure::Error(error)) = run(&format!("return {body}")) else { panic!("{body}") };
        assert!(error.contains(text), "{body}: {error}");
    }
}

#[test]
fn the_first_line_declares() {
    let declared = |body: &str| shebang(body.as_bytes()).map(|(declared, _)| declared.no_writes);
    assert_eq!(declared("#!lua flags=no-writes,allow-stale\nreturn 1"), Ok(true));
    assert_eq!(
        declared("#!lua name=x\nreturn 1"),
        Err("ERR Unknown lua shebang option: name=x".into())
    );
    assert_eq!(declared("#!lua\n"), Ok(false));
    assert_eq!(declared("#!js\n"), Err("ERR Unexpected engine in script shebang: #!js".into()));
    assert_eq!(declared("#!lua"), Err("ERR Invalid script shebang".into()));
    assert_eq!(declared("#!lua flags=x\n"), Err("ERR Unexpected flag in script shebang: x".into()));
    assert_eq!(run("#!lua\nreturn 7").as_deref(), Ok(":7"));
}

#[test]
fn large_tables_go_whole_through_every_conversion() {
    const N: usize = 50_000;
    let strings = format!("local t = {{}} for i = 1, {N} do t[i] = 'x' .. i end ");
    let named = format!("local t = {{}} for i = 1, {N} do t['k' .. i] = 'x' .. i end ");
    let reply = run(&format!("{strings} return t")).unwrap();
    assert!(reply.starts_with("*50000 $2 x1 $2 x2 ") && reply.ends_with(" $6 x50000"));
    let reply = run(&format!("{named} return {{map = t}}")).unwrap();
    assert!(reply.starts_with("*100000 "), "{}", &reply[..20]);
    let reply = run(&format!("{named} return {{set = t}}")).unwrap();
    assert!(reply.starts_with("*50000 "), "{}", &reply[..20]);
    for body in [
        format!("{strings} return #cjson.decode(cjson.encode(t))"),
        format!("{strings} return #cmsgpack.unpack(cmsgpack.pack(t))"),
        format!(
            "{named} local n = 0 for _ in pairs(cjson.decode(cjson.encode(t))) do n = n + 1 end return n"
        ),
        format!(
            "{named} local n = 0 for _ in pairs(cmsgpack.unpack(cmsgpack.pack(t))) do n = n + 1 end return n"
        ),
    ] {
        assert_eq!(run(&body).as_deref(), Ok(":50000"), "{body}");
    }
    // Lua itself passes fewer values than that at a time.
    let Err(Failure::Error(text)) = run(&format!("{strings} return redis.call('echo', unpack(t))"))
    else {
        panic!()
    };
    assert!(text.contains("too many results to unpack"), "{text}");
    let deep = "local t = {} for _ = 1, 1100 do t = {t} end return t";
    assert_eq!(run(deep), Err(Failure::Error("ERR reached lua stack limit".into())));
    let deep = "local t = {} for _ = 1, 900 do t = {t} end return #cjson.encode(t)";
    assert_eq!(run(deep).as_deref(), Ok(":1802"));
}
