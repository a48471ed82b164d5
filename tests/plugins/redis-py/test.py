"""What redis-py users do, in RESP3 (its default) and in RESP2, blocking and asyncio."""

import asyncio
import time

import redis
import redis.asyncio
from harness import Server, check, finish

server = Server().start()
r = redis.Redis(port=server.port, decode_responses=True)
r2 = redis.Redis(port=server.port, decode_responses=True, protocol=2)


@check
def handshake_in_both_protocols():
    assert r.ping() is True and r2.ping() is True
    assert r.info("server")["redis_version"][0].isdigit()
    assert r.client_id() != r2.client_id()


@check
def strings_and_their_options():
    assert r.set("k", "v", ex=100) is True
    assert r.set("k", "w", nx=True) is None
    assert r.set("k", "w", xx=True, get=True) == "v"
    assert r.ttl("k") == -1
    assert r.getex("k", px=5000) == "w" and 4000 < r.pttl("k") <= 5000
    assert r.set("k", "x", keepttl=True) and r.pttl("k") > 4000
    assert r.getdel("k") == "x" and r.get("k") is None
    at = int(time.time()) + 500
    assert r.set("k", "v", exat=at) and r.expiretime("k") == at
    assert r.persist("k") is True and r.ttl("k") == -1 and r.ttl("none") == -2


@check
def counters_and_many_keys():
    assert r.incr("n") == 1 and r.incrby("n", 41) == 42 and r.decr("n") == 41
    assert r.mset({"a": 1, "b": 2}) is True
    assert r.mget("a", "none", "b") == ["1", None, "2"]
    assert r.exists("a", "b", "a", "none") == 3
    assert r.unlink("a", "b", "none") == 2


@check
def hashes_are_dictionaries():
    for client in (r, r2):
        assert client.hset("h", mapping={"f": "1", "g": "2"}) == 2
        assert client.hgetall("h") == {"f": "1", "g": "2"}
        assert client.hincrby("h", "f", 4) == 5
        assert client.hmget("h", "g", "none") == ["2", None]
        assert client.hlen("h") == 2 and client.hexists("h", "g")
        assert sorted(client.hkeys("h")) == ["f", "g"]
        assert client.delete("h") == 1


@check
def errors_have_their_types():
    r.set("s", "text")
    for call in (lambda: r.hget("s", "f"), lambda: r.incr("s"), lambda: r.set("s", "x", ex=-1)):
        try:
            call()
        except redis.ResponseError:
            continue
        raise AssertionError("no ResponseError")
    try:
        r.rename("missing", "x")
    except redis.ResponseError as error:
        assert "no such key" in str(error), error


@check
def pipelines_and_transactions():
    with r.pipeline(transaction=False) as pipe:
        for n in range(5000):
            pipe.set(f"p{n}", n, ex=600)
        assert all(pipe.execute())
    with r.pipeline() as pipe:
        assert pipe.get("p0").delete("p0").exists("p0").execute() == ["0", 1, 0]


@check
def a_read_modify_write_under_watch():
    def sell(pipe):
        sold = int(pipe.get("sold") or 0)
        pipe.multi()
        pipe.set("sold", sold + 1)

    taken = r.transaction(sell, "sold")
    assert taken == [True] and r.get("sold") == "1"


@check
def an_optimistic_lock_notices_the_other_writer():
    with r.pipeline() as pipe:
        pipe.watch("sold")
        r2.set("sold", "9")
        pipe.multi()
        pipe.set("sold", "2")
        try:
            pipe.execute()
        except redis.WatchError:
            return
    raise AssertionError("no WatchError")


@check
def scan_meets_every_key():
    assert sum(1 for _ in r.scan_iter("p*", count=500)) == 4999
    assert len(r.keys("p499*")) == 11
    assert r.type("p1") == "string" and r.dbsize() >= 4999


@check
def binary_values_are_exact():
    raw = redis.Redis(port=server.port)
    value = bytes(range(256)) * 5000
    raw.set(b"\x00\xffkey\r\n", value)
    assert raw.get(b"\x00\xffkey\r\n") == value


@check
def expiry_is_exact_to_some_milliseconds():
    r.set("brief", "v", px=300)
    time.sleep(0.2)
    assert r.get("brief") == "v"
    time.sleep(0.15)
    assert r.get("brief") is None and r.exists("brief") == 0


@check
def asyncio_with_fifty_connections():
    async def worker(client, n):
        for k in range(20):
            await client.set(f"async:{n}", k)
            assert await client.get(f"async:{n}") == str(k)

    async def main():
        async with redis.asyncio.Redis(port=server.port, decode_responses=True) as client:
            await asyncio.gather(*(worker(client, n) for n in range(50)))

    asyncio.run(main())


@check
def acknowledged_writes_survive_kill():
    r.set("kept", "yes", ex=1000)
    r.hset("hash", mapping={"f": "v"})
    r.delete("sold")
    server.kill()
    server.start()
    assert r.get("kept") == "yes" and 990 < r.ttl("kept") <= 1000
    assert r.hgetall("hash") == {"f": "v"} and r.get("sold") is None


@check
def flushdb_empties_one_database():
    other = redis.Redis(port=server.port, db=3)
    other.set("x", 1)
    assert r.flushdb() is True and r.dbsize() == 0 and other.dbsize() == 1
    assert r.flushall() is True and other.dbsize() == 0


@check
def sigterm_ends_with_code_zero():
    assert server.stop() == 0


finish()
