// What ioredis users do: plain commands, pipelines, transactions, streams of keys, binary values, reconnects.
import assert from "node:assert/strict";
import { promisify } from "node:util";
import { RedisStore } from "connect-redis";
import Redis from "ioredis";
import { Server, check, finish, sleep } from "./harness.mjs";

const server = await new Server().start();
const redis = new Redis(server.port, "127.0.0.1", { maxRetriesPerRequest: null });
redis.on("error", () => {});

await check("handshake and ready check", async () => {
  assert.equal(await redis.ping(), "PONG");
  assert.match(await redis.info(), /redis_version:\d+\.\d+/);
});

await check("strings, counters and options", async () => {
  assert.equal(await redis.set("a", "1", "EX", 100), "OK");
  assert.equal(await redis.set("a", "2", "NX"), null);
  assert.equal(await redis.set("a", "2", "XX", "KEEPTTL"), "OK");
  assert.ok((await redis.ttl("a")) > 90);
  assert.equal(await redis.incrby("a", 40), 42);
  assert.deepEqual(await redis.mget("a", "missing"), ["42", null]);
  assert.equal(await redis.del("a", "missing"), 1);
});

await check("binary values and keys", async () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  await redis.set(bytes, bytes);
  assert.deepEqual(await redis.getBuffer(bytes), bytes);
});

await check("hashes", async () => {
  assert.equal(await redis.hset("h", { name: "x", size: "1" }), 2);
  assert.deepEqual(await redis.hgetall("h"), { name: "x", size: "1" });
  assert.deepEqual(await redis.hmget("h", "size", "none"), ["1", null]);
  assert.equal(await redis.hdel("h", "name", "size"), 2);
  assert.equal(await redis.exists("h"), 0);
});

await check("a pipeline of 10,000 answers in order", async () => {
  const pipeline = redis.pipeline();
  for (let n = 0; n < 10_000; n++) pipeline.set(`p:${n % 100}`, n).get(`p:${n % 100}`);
  const replies = await pipeline.exec();
  replies.forEach(([error, value], index) => {
    assert.equal(error, null);
    assert.equal(value, index % 2 ? String((index - 1) / 2) : "OK");
  });
});

await check("MULTI, EXEC and a WATCH that is hit", async () => {
  assert.deepEqual(await redis.multi().set("m", 1).incr("m").exec(), [[null, "OK"], [null, 2]]);
  const other = redis.duplicate();
  await redis.watch("m");
  await other.set("m", 7);
  assert.equal(await redis.multi().set("m", 8).exec(), null);
  assert.equal(await redis.get("m"), "7");
  other.disconnect();
});

await check("an error inside a pipeline stays in its place", async () => {
  const replies = await redis.pipeline().set("s", "text").hset("s", "f", "v").get("s").exec();
  assert.match(String(replies[1][0]), /WRONGTYPE/);
  assert.equal(replies[2][1], "text");
});

await check("a scan stream meets every key", async () => {
  const fill = redis.pipeline();
  for (let n = 0; n < 3000; n++) fill.set(`scan:${n}`, n);
  await fill.exec();
  const found = new Set();
  for await (const keys of redis.scanStream({ match: "scan:*", count: 100 })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 3000);
});

await check("databases are apart", async () => {
  const second = redis.duplicate({ db: 1 });
  await redis.set("here", "0");
  assert.equal(await second.get("here"), null);
  await second.flushdb();
  assert.equal(await redis.get("here"), "0");
  second.disconnect();
});

await check("connect-redis 8 over ioredis", async () => {
  const store = new RedisStore({ client: redis, prefix: "app:" });
  const [set, get, touch, destroy] = ["set", "get", "touch", "destroy"].map((name) => promisify(store[name]).bind(store));
  const session = { user: "u", cookie: { originalMaxAge: 60_000, expires: new Date(Date.now() + 60_000).toISOString() } };
  await set("1", session);
  assert.deepEqual(await get("1"), session);
  await redis.expire("app:1", 5);
  await touch("1", session);
  assert.ok((await redis.ttl("app:1")) > 50);
  await destroy("1");
  assert.equal((await get("1")) ?? null, null);
});

await check("commands queued while the server is killed and restarted are answered", async () => {
  await redis.set("kept", "yes");
  await server.kill();
  const queued = redis.get("kept");
  await sleep(100);
  await server.start();
  assert.equal(await queued, "yes");
});

redis.disconnect();
await server.kill();
finish();
