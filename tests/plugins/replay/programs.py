"""What plugins send, in the order in which they send it.

Facts about each are from its source or its traffic; the scripts are the texts that go over the wire, because their
SHA-1 is part of the protocol.
"""

import hashlib
import re

OK, QUEUED, NIL, NULL = "+OK", "+QUEUED", "$-1", "_"


def b(text):
    """A bulk string as it is shown."""
    return f"${len(text.encode())} {text}"


def arr(*items):
    return " ".join([f"*{len(items)}", *items])


def sha(script):
    return hashlib.sha1(script.encode()).hexdigest()


def run(*steps, client="a"):
    """Steps of one client: (command line or list, expected)."""
    return [(client, words(command), expected) for command, expected in steps]


def words(command):
    return command.split(" ") if isinstance(command, str) else command


def push(kind, *parts):
    return " ".join([f">{len(parts) + 1}", b(kind), *parts])


HELLO3 = "~%[78] .*"

# --- Java ----------------------------------------------------------------------------------------------------------

KEY = "spring:session:sessions:0b5a"
FIELDS = ["creationTime", "1700000000000", "lastAccessedTime", "1700000000000", "maxInactiveInterval", "1800"]
SHOWN = " ".join(b(field) for field in FIELDS)

spring_simple = run(
    ("HELLO 3", HELLO3),
    ("CLIENT SETINFO lib-name Lettuce", "~\\+OK|-ERR .*"),
    ("CLIENT MAINT_NOTIFICATIONS on", "~-ERR .*"),
    # A new session is not asked for first.
    (["HMSET", KEY, *FIELDS, "sessionAttr:cart", "\x01\x02"], OK),
    (["PEXPIREAT", KEY, "{+1800ms}"], ":1"),
    # A page view that reads.
    (["HGETALL", KEY], f"%4 {SHOWN} {b('sessionAttr:cart')} {b(chr(1) + chr(2))}"),
    (["EXISTS", KEY], ":1"),
    (["HMSET", KEY, "lastAccessedTime", "1700000001000"], OK),
    (["PEXPIREAT", KEY, "{+1800ms}"], ":1"),
    (["PTTL", KEY], "~:1(799|80)\\d{3,4}"),
    # A removed attribute is an empty value.
    (["HMSET", KEY, "sessionAttr:cart", ""], OK),
    (["HGET", KEY, "sessionAttr:cart"], "$0 "),
    # A new id against fixation.
    (["RENAME", KEY, KEY + "new"], OK),
    (["RENAME", KEY, KEY + "new"], "-ERR no such key"),
    (["EXISTS", KEY], ":0"),
    (["HGETALL", KEY], "%0"),
    (["DEL", KEY + "new"], ":1"),
    (["DEL", KEY + "new"], ":0"),
)

SHADOW = "spring:session:sessions:expires:0b5a"
MINUTE = "spring:session:expirations:1700000160000"
USER = "spring:session:index:org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME:ann"
CREATED = "spring:session:event:0:created:"

spring_indexed = (
    run(
        ("HELLO 3", HELLO3),
        ("CONFIG GET notify-keyspace-events", "~%1 \\$22 notify-keyspace-events \\$\\d .*"),
        ("CONFIG SET notify-keyspace-events Egx", OK),
        ("CONFIG GET notify-keyspace-events", f"%1 {b('notify-keyspace-events')} {b('gxE')}"),
    )
    + run(
        ("HELLO 3", HELLO3),
        (f"PSUBSCRIBE {CREATED}*", push("psubscribe", b(CREATED + "*"), ":1")),
        ("SUBSCRIBE __keyevent@0__:del", push("subscribe", b("__keyevent@0__:del"), ":2")),
        ("SUBSCRIBE __keyevent@0__:expired", push("subscribe", b("__keyevent@0__:expired"), ":3")),
        client="listener",
    )
    + run(
        (["HMSET", KEY, *FIELDS], OK),
        (["SADD", MINUTE, "expires:0b5a"], ":1"),
        (["PEXPIRE", MINUTE, "2100000"], ":1"),
        (["APPEND", SHADOW, ""], ":0"),
        (["EXISTS", SHADOW], ":1"),
        (["PEXPIRE", SHADOW, "1800000"], ":1"),
        (["PEXPIRE", KEY, "2100000"], ":1"),
        (["SADD", USER, "0b5a"], ":1"),
        (["PUBLISH", CREATED + "0b5a", "x"], ":1"),
    )
    + [("listener", None, push("pmessage", b(CREATED + "*"), b(CREATED + "0b5a"), b("x")))]
    + run(
        # A page view.
        (["HGETALL", KEY], f"%3 {SHOWN}"),
        (["HMSET", KEY, "lastAccessedTime", "1700000001000"], OK),
        (["SREM", MINUTE, "expires:0b5a"], ":1"),
        (["SADD", MINUTE + "0", "expires:0b5a"], ":1"),
        (["PEXPIRE", MINUTE + "0", "2100000"], ":1"),
        (["APPEND", SHADOW, ""], ":0"),
        (["PEXPIRE", SHADOW, "1800000"], ":1"),
        (["PEXPIRE", KEY, "2100000"], ":1"),
        # By user.
        (["SMEMBERS", USER], "~\\~1 \\$4 0b5a"),
        (["PERSIST", SHADOW], ":1"),
        (["PERSIST", SHADOW], ":0"),
        # A new id.
        (["RENAME", KEY, KEY + "2"], OK),
        (["RENAME", SHADOW, SHADOW + "2"], OK),
        (["RENAME", SHADOW, SHADOW + "2"], "-ERR no such key"),
        # The shadow key dies first, and says so.
        (["PEXPIRE", SHADOW + "2", "60"], ":1"),
    )
    # Taking the last member out of a set deletes the set.
    + [("listener", None, push("message", b("__keyevent@0__:del"), b(MINUTE)))]
    + [("listener", None, push("message", b("__keyevent@0__:expired"), b(SHADOW + "2")))]
    + run(
        (["HGET", KEY + "2", "maxInactiveInterval"], b("1800")),
        (["SREM", USER, "0b5a"], ":1"),
        (["EXISTS", USER], ":0"),
        # Every minute.
        (["SMEMBERS", MINUTE + "0"], "~\\~1 \\$12 expires:0b5a"),
        (["DEL", MINUTE + "0"], ":1"),
        (["EXISTS", SHADOW + "2"], ":0"),
        (["DEL", KEY + "2"], ":1"),
    )
    + [
        ("listener", None, push("message", b("__keyevent@0__:del"), b(USER))),
        ("listener", None, push("message", b("__keyevent@0__:del"), b(MINUTE + "0"))),
        ("listener", None, push("message", b("__keyevent@0__:del"), b(KEY + "2"))),
    ]
)

spring_reactive = run(
    ("HELLO 3", HELLO3),
    (["HMSET", KEY, *FIELDS], OK),
    (["ZADD", "spring:session:sessions:expirations", "1700001800000", "0b5a"], ":1"),
    (["ZADD", "spring:session:sessions:expirations", "1700001900000", "0b5a"], ":0"),
    (["ZADD", "spring:session:sessions:expirations", "1700001950000", "77"], ":1"),
    (
        "ZREVRANGEBYSCORE spring:session:sessions:expirations 1700001900000 0 LIMIT 0 100".split(" "),
        arr(b("0b5a")),
    ),
    (["ZREM", "spring:session:sessions:expirations", "0b5a"], ":1"),
    (["SADD", KEY + ":idx", USER], ":1"),
    (["SMEMBERS", KEY + ":idx"], "~" + re.escape(f"~1 {b(USER)}")),
    (["DEL", KEY, KEY + ":idx"], ":2"),
)

# --- .NET ----------------------------------------------------------------------------------------------------------

ASPNET = "webA1b2"
aspnet_9 = run(
    (["HSET", ASPNET, "absexp", "-1", "sldexp", "12000000000", "data", "\x00\x01"], ":3"),
    (["EXPIRE", ASPNET, "1200"], ":1"),
    (["HMGET", ASPNET, "absexp", "sldexp", "data"], arr(b("-1"), b("12000000000"), b("\x00\x01"))),
    (["EXPIRE", ASPNET, "1200"], ":1"),
    (["HMGET", ASPNET, "absexp", "sldexp"], arr(b("-1"), b("12000000000"))),
    (["HGET", ASPNET, "data"], b("\x00\x01")),
    (["PEXPIRE", ASPNET, "1200500"], ":1"),
    (["HMGET", "nothing", "absexp", "sldexp", "data"], arr(NIL, NIL, NIL)),
    (["EXPIRE", "nothing", "1200"], ":0"),
    (["UNLINK", ASPNET], ":1"),
)

ASPNET_SET = """
                redis.call('HSET', KEYS[1], 'absexp', ARGV[1], 'sldexp', ARGV[2], 'data', ARGV[4])
                if ARGV[3] ~= '-1' then
                  redis.call('EXPIRE', KEYS[1], ARGV[3])
                end
                return 1"""
ASPNET_OLD = ASPNET_SET.replace("HSET", "HMSET")
aspnet_8 = run(
    (["EVALSHA", sha(ASPNET_SET), "1", ASPNET, "-1", "1200", "1200", "v"], "~-NOSCRIPT .*"),
    (["EVAL", ASPNET_SET, "1", ASPNET, "-1", "1200", "1200", "v"], ":1"),
    (["TTL", ASPNET], ":1200"),
    (["EVALSHA", sha(ASPNET_SET), "1", ASPNET, "-1", "-1", "-1", "v2"], ":1"),
    (["HMGET", ASPNET, "absexp", "sldexp", "data"], arr(b("-1"), b("-1"), b("v2"))),
    (["EVAL", ASPNET_OLD, "1", ASPNET, "5", "6", "7", "v3"], ":1"),
    (["HGETALL", ASPNET], arr(*map(b, ["absexp", "5", "sldexp", "6", "data", "v3"]))),
    (["DEL", ASPNET], ":1"),
)

# The state server of classic ASP.NET: take the lock, and get the data and the timeout with it.
CLASSIC_LOCK = """local reply = {}
local owner = ARGV[1]
local taken = redis.call('SETNX', KEYS[1], ARGV[1])
if taken == 0 then
    owner = redis.call('GET', KEYS[1])
else
    redis.call('EXPIRE', KEYS[1], ARGV[2])
end
reply[1] = owner
reply[2] = owner == ARGV[1] and redis.call('HGETALL', KEYS[2]) or ''
local timeout = redis.call('HGET', KEYS[3], 'SessionTimeout')
if timeout ~= false then
    reply[3] = timeout
    redis.call('EXPIRE', KEYS[2], timeout)
    redis.call('EXPIRE', KEYS[3], timeout)
else
    reply[3] = '-1'
end
reply[4] = taken == 0
return reply"""
CLASSIC_KEYS = ["3", "{app_1}_Write_Lock", "{app_1}_Data", "{app_1}_Internal"]
aspnet_classic = run(
    (["HMSET", "{app_1}_Data", "cart", "2"], OK),
    (["HSET", "{app_1}_Internal", "SessionTimeout", "900"], ":1"),
    (["EVAL", CLASSIC_LOCK, *CLASSIC_KEYS, "me", "110"], arr(b("me"), arr(b("cart"), b("2")), b("900"), NIL)),
    (["EVAL", CLASSIC_LOCK, *CLASSIC_KEYS, "you", "110"], arr(b("me"), b(""), b("900"), ":1")),
    (["TTL", "{app_1}_Write_Lock"], ":110"),
    (["TTL", "{app_1}_Data"], ":900"),
)

# --- PHP -----------------------------------------------------------------------------------------------------------

UNLOCK = 'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end'
assert sha(UNLOCK) == "b70c2384248f88e6b75b9f89241a180f856ad852"
PHP, LOCK = "PHPREDIS_SESSION:abc", "PHPREDIS_SESSION:abc_LOCK"
phpredis = run(
    ("SELECT 2", OK),
    (["EXISTS", PHP], ":0"),
    (["SET", LOCK, "host|1", "NX", "PX", "30000"], OK),
    (["SET", LOCK, "host|2", "NX", "PX", "30000"], NIL),
    (["GET", PHP], NIL),
    (["GET", LOCK], b("host|1")),
    (["SETEX", PHP, "1440", "user|s:3:\"ann\";"], OK),
    (["EVALSHA", sha(UNLOCK), "1", LOCK, "host|1"], "-NOSCRIPT No matching script. Please use EVAL."),
    (["EVAL", UNLOCK, "1", LOCK, "host|1"], ":1"),
    (["SET", LOCK, "host|3", "NX"], OK),
    (["EVALSHA", sha(UNLOCK), "1", LOCK, "host|9"], ":0"),
    (["EVALSHA", sha(UNLOCK), "1", LOCK, "host|3"], ":1"),
    (["GET", PHP], b("user|s:3:\"ann\";")),
    (["EXPIRE", PHP, "1440"], ":1"),
    (["GETEX", PHP, "EX", "1440"], b("user|s:3:\"ann\";")),
    (["DEL", PHP], ":1"),
)

RELEASE = """if redis.call("get",KEYS[1]) == ARGV[1] then
    return redis.call("del",KEYS[1])
else
    return 0
end"""
assert sha(RELEASE) == "647c65a442733a1aa440f99908d249d13b4d6c4a"
ADD = "return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])"
assert sha(ADD) == "a08c9c69b7c07ae2485190873b90d128a23e502d"
LARAVEL = "laravel_database_laravel_cache:Zx9"
laravel = run(
    (["GET", LARAVEL], NIL),
    (["SETEX", LARAVEL, "7200", "a:1:{}"], OK),
    (["GET", LARAVEL], b("a:1:{}")),
    (["SETEX", LARAVEL, "7200", "a:1:{}"], OK),
    # block(): the lock of a session.
    (["SET", "lock", "owner", "EX", "10", "NX"], OK),
    (["SET", "lock", "other", "EX", "10", "NX"], NIL),
    (["EVAL", RELEASE, "1", "lock", "other"], ":0"),
    (["EVAL", RELEASE, "1", "lock", "owner"], ":1"),
    (["SETNX", "lock", "owner"], ":1"),
    (["SETNX", "lock", "owner"], ":0"),
    # Cache::add.
    (["EVAL", ADD, "1", "added", "v", "60"], OK),
    (["EVAL", ADD, "1", "added", "w", "60"], NIL),
    (["GET", "added"], b("v")),
    (["TTL", "added"], ":60"),
    # putMany.
    ("MULTI", OK),
    (["SETEX", "m1", "60", "1"], QUEUED),
    (["SETEX", "m2", "60", "2"], QUEUED),
    ("EXEC", arr(OK, OK)),
    (["MGET", "m1", "nothing", "m2"], arr(b("1"), NIL, b("2"))),
    (["INCRBY", "m1", "4"], ":5"),
    (["DEL", LARAVEL], ":1"),
)

symfony = run(
    (["GET", "sf_s1"], NIL),
    (["SETEX", "sf_s1", "1440", "_sf2_attributes|a:0:{}"], OK),
    (["GET", "sf_s1"], b("_sf2_attributes|a:0:{}")),
    (["EXPIRE", "sf_s1", "1440"], ":1"),
    (["UNLINK", "sf_s1"], ":1"),
    (["UNLINK", "sf_s1"], ":0"),
)

MAGENTO = "sess_q1"
magento = run(
    ("SELECT 2", OK),
    (["HINCRBY", MAGENTO, "lock", "1"], ":1"),
    (["HGET", MAGENTO, "pid"], NIL),
    (["HMSET", MAGENTO, "pid", "host|7", "lock", "1"], OK),
    (["EXPIRE", MAGENTO, "10800"], ":1"),
    (["HMGET", MAGENTO, "data", "writes"], arr(NIL, NIL)),
    # Somebody else waits.
    (["HINCRBY", MAGENTO, "lock", "1"], ":2"),
    (["HINCRBY", MAGENTO, "wait", "1"], ":1"),
    (["HINCRBY", MAGENTO, "wait", "-1"], ":0"),
    (["HMSET", MAGENTO, "data", ":gz:abc", "lock", "0"], OK),
    (["HINCRBY", MAGENTO, "writes", "1"], ":1"),
    (["EXPIRE", MAGENTO, "10800"], ":1"),
    (["HMGET", MAGENTO, "data", "writes"], arr(b(":gz:abc"), b("1"))),
    (["UNLINK", MAGENTO], ":1"),
)

# --- Ruby, Go, Rust, Python ----------------------------------------------------------------------------------------

rails = run(
    (["get", "_session_id:2::9f"], NIL),
    (["set", "_session_id:2::9f", "v", "nx", "px", "3600000"], OK),
    (["set", "_session_id:2::9f", "w", "nx", "px", "3600000"], NIL),
    (["set", "_session_id:2::9f", "w", "px", "3600000"], OK),
    (["mget", "_session_id:2::9f", "x"], arr(b("w"), NIL)),
    (["incrby", "hits", "1"], ":1"),
    (["expire", "hits", "60", "NX"], ":1"),
    (["expire", "hits", "90", "NX"], ":0"),
    (["getdel", "hits"], b("1")),
    (["unlink", "_session_id:2::9f"], ":1"),
)

redis_session_store = run(
    (["EXISTS", "2::9f"], ":0"),
    (["EXISTS", "9f"], ":0"),
    (["GET", "2::9f"], NIL),
    (["SETEX", "2::9f", "3600", "\x04\x08{}"], OK),
    (["SET", "2::77", "forever"], OK),
    (["DEL", "2::9f"], ":1"),
    (["DEL", "9f"], ":0"),
    ("MULTI", OK),
    (["SETNX", "rack:1", "v"], QUEUED),
    (["EXPIRE", "rack:1", "100"], QUEUED),
    ("EXEC", arr(":1", ":1")),
)

scs = run(
    (["GET", "scs:session:t1"], NIL),
    ("MULTI", OK),
    (["SET", "scs:session:t1", "\x0c\x00"], QUEUED),
    (["PEXPIREAT", "scs:session:t1", "{+3600ms}"], QUEUED),
    ("EXEC", arr(OK, ":1")),
    (["KEYS", "scs:session:*"], arr(b("scs:session:t1"))),
    (["GET", "scs:session:t1"], b("\x0c\x00")),
    (["SCAN", "0", "MATCH", "scs:session:*"], "~\\*2 \\$1 0 \\*1 \\$14 scs:session:t1"),
    (["DEL", "scs:session:t1"], ":1"),
)

tower = run(
    (["PING"], "+PONG"),
    (["SET", "t1", "v", "EXAT", "{+100}", "NX"], OK),
    (["SET", "t1", "w", "EXAT", "{+100}", "NX"], NIL),
    (["SET", "t1", "w", "EXAT", "{+100}", "XX"], OK),
    (["SET", "t2", "w", "EXAT", "{+100}", "XX"], NIL),
    (["GET", "t1"], b("w")),
    (["TTL", "t1"], "~:(99|100)"),
    (["DEL", "t1"], ":1"),
)

actix = run(
    (["CLIENT", "SETINFO", "LIB-NAME", "redis-rs"], "~\\+OK|-ERR .*"),
    (["SET", "s1", "{}", "NX", "EX", "86400"], OK),
    (["SET", "s1", "{}", "NX", "EX", "86400"], NIL),
    (["SET", "s1", "{\"a\":1}", "XX", "EX", "86400"], OK),
    (["SET", "s2", "{}", "XX", "EX", "86400"], NIL),
    (["GET", "s1"], b("{\"a\":1}")),
    (["EXPIRE", "s1", "86400"], ":1"),
    (["DEL", "s1"], ":1"),
)

RELEASE_PY = """
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        redis.call('del', KEYS[1])
        return 1
    """
assert sha(RELEASE_PY) == "c3f8721cbb97f72bc19e972846bd7aaf91901658"
INCR_DJANGO = """
                local exists = redis.call('EXISTS', KEYS[1])
                if (exists == 1) then
                    return redis.call('INCRBY', KEYS[1], ARGV[1])
                else return false end
                """
python_locks = run(
    ("HELLO 3", HELLO3),
    (["SET", "lock", "token", "NX", "PX", "10000"], OK),
    (["EVALSHA", sha(RELEASE_PY), "1", "lock", "token"], "-NOSCRIPT No matching script. Please use EVAL."),
    (["SCRIPT", "LOAD", RELEASE_PY], b(sha(RELEASE_PY))),
    (["SCRIPT", "EXISTS", sha(RELEASE_PY), "0" * 40], "*2 :1 :0"),
    (["EVALSHA", sha(RELEASE_PY), "1", "lock", "nobody"], ":0"),
    (["EVALSHA", sha(RELEASE_PY), "1", "lock", "token"], ":1"),
    (["EVAL", INCR_DJANGO, "1", "n", "5"], NULL),
    (["SET", "n", "1"], OK),
    (["EVAL", INCR_DJANGO, "1", "n", "5"], ":6"),
    (["SET", "n", "x"], OK),
    (["EVAL", INCR_DJANGO, "1", "n", "5"], "~-ERR value is not an integer or out of range script: .*"),
)

oauth2_proxy = run(
    (["SET", "s1.lock", "tok", "NX", "PX", "5000"], OK),
    (["EVAL", UNLOCK.replace('"del",KEYS[1]', '"pexpire",KEYS[1],ARGV[2]'), "1", "s1.lock", "tok", "9000"], ":1"),
    (["PTTL", "s1.lock"], "~:(8|9)\\d{3}"),
    (["EVAL", UNLOCK, "1", "s1.lock", "tok"], ":1"),
)

ALL = [
    ("Spring Session", spring_simple),
    ("Spring Session indexed", spring_indexed),
    ("Spring Session reactive", spring_reactive),
    ("ASP.NET Core 9", aspnet_9),
    ("ASP.NET Core 8", aspnet_8),
    ("classic ASP.NET", aspnet_classic),
    ("phpredis with locking", phpredis),
    ("Laravel", laravel),
    ("Symfony", symfony),
    ("Magento", magento),
    ("Rails", rails),
    ("redis-session-store", redis_session_store),
    ("scs", scs),
    ("tower-sessions", tower),
    ("actix-session", actix),
    ("redis-py and django-redis locks", python_locks),
    ("oauth2-proxy", oauth2_proxy),
]
