// Libraries of Node that live on scripts: locks and rate limits, through both clients.
import assert from "node:assert/strict";
import Redis from "ioredis";
import Redlock from "redlock";
import { RateLimiterRedis, BurstyRateLimiter } from "rate-limiter-flexible";
import { createClient } from "redis";
import { Server, check, finish, sleep } from "./harness.mjs";

const server = await new Server().start();
const redis = new Redis(server.port, "127.0.0.1");
const node = await createClient({ url: `redis://127.0.0.1:${server.port}` }).connect();

await check("redlock: one holder, extension, release", async () => {
  const locks = new Redlock([redis], { retryCount: 0 });
  const lock = await locks.lock("locks:a", 2000);
  await assert.rejects(locks.lock("locks:a", 2000), /exceeded 0 attempts|unable to lock/i);
  const longer = await lock.extend(4000);
  assert.ok((await redis.pttl("locks:a")) > 2000);
  await longer.unlock();
  assert.equal(await redis.exists("locks:a"), 0);
});

await check("redlock: waits until the holder lets go", async () => {
  const locks = new Redlock([redis], { retryCount: 50, retryDelay: 20 });
  const first = await locks.lock("locks:b", 5000);
  setTimeout(() => first.unlock(), 100);
  const second = await locks.lock("locks:b", 5000);
  await second.unlock();
});

for (const [name, storeClient] of [["ioredis", redis], ["node-redis", node]]) {
  await check(`rate-limiter-flexible over ${name}`, async () => {
    const useRedisPackage = name === "node-redis";
    const limiter = new RateLimiterRedis({ storeClient, useRedisPackage, keyPrefix: name, points: 3, duration: 5 });
    for (const left of [2, 1, 0]) assert.equal((await limiter.consume("user")).remainingPoints, left);
    const refused = await limiter.consume("user").catch((refusal) => refusal);
    assert.equal(refused.remainingPoints, 0);
    assert.ok(refused.msBeforeNext > 4000 && refused.msBeforeNext <= 5000, String(refused.msBeforeNext));
    await limiter.reward("user", 2);
    assert.equal((await limiter.get("user")).consumedPoints, 2);
    await limiter.delete("user");
    assert.equal(await limiter.get("user"), null);
    const parallel = await Promise.allSettled(Array.from({ length: 20 }, () => limiter.consume("crowd")));
    assert.equal(parallel.filter((outcome) => outcome.status === "fulfilled").length, 3);
  });
}

await check("rate-limiter-flexible: bursts and blocking", async () => {
  const slow = new RateLimiterRedis({ storeClient: redis, keyPrefix: "slow", points: 1, duration: 10, blockDuration: 20 });
  const burst = new RateLimiterRedis({ storeClient: redis, keyPrefix: "burst", points: 2, duration: 10 });
  const both = new BurstyRateLimiter(slow, burst);
  await both.consume("x");
  await both.consume("x");
  await both.consume("x");
  await assert.rejects(both.consume("x"));
  assert.ok((await redis.pttl("slow:x")) > 15_000);
});

await check("ioredis: a script of one's own, by digest after the first time", async () => {
  redis.defineCommand("echoed", { numberOfKeys: 1, lua: "return {KEYS[1], ARGV[1], redis.call('incr', KEYS[1])}" });
  assert.deepEqual(await redis.echoed("n", "x"), ["n", "x", 1]);
  await redis.script("FLUSH");
  assert.deepEqual(await redis.echoed("n", "y"), ["n", "y", 2]);
  const replies = await redis.pipeline().echoed("n", "z").echoed("n", "z").exec();
  assert.deepEqual(replies, [[null, ["n", "z", 3]], [null, ["n", "z", 4]]]);
});

await check("node-redis: types of a script's answer in RESP3", async () => {
  const raw = (body, ...rest) => node.sendCommand(["EVAL", body, "0", ...rest]);
  assert.equal(await raw("return false"), null);
  assert.equal(await raw("return true"), 1);
  assert.equal(await raw("redis.setresp(3) return true"), true);
  assert.equal(await raw("return {double=2.5}"), 2.5);
  assert.deepEqual({ ...(await raw("return {map={a=1}}")) }, { a: 1 });
  await assert.rejects(raw("return redis.error_reply('BAD thing')"), /BAD thing/);
});

redis.disconnect();
node.destroy();
await sleep(10);
server.kill();
finish();
