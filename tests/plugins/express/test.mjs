// What users of a session store count on, seen through HTTP only, with the server killed in between.
import assert from "node:assert/strict";
import { createClient } from "redis";
import { Browser, startApp } from "./app.mjs";
import { Server, check, finish, sleep } from "./harness.mjs";

const server = await new Server().start();
const app = await startApp(server.port);

async function killAndRestart() {
  await server.kill();
  await server.start();
  while (!app.client.isReady) await sleep(10);
}

const key = (login) => `sess:${login.id}`;
const alice = new Browser(app.base);
let login;

await check("an anonymous visit stores nothing", async () => {
  assert.equal((await new Browser(app.base).get("/look")).status, 401);
  assert.equal(await app.store.length(), 0);
});

await check("login, visits and the lifetime of the session", async () => {
  login = await alice.post("/login", { user: "alice", basket: ["äpfel", "🍐"] });
  assert.equal((await alice.get("/visit")).views, 1);
  assert.equal((await alice.get("/visit")).views, 2);
  const left = await app.client.ttl(key(login));
  assert.ok(left > 86_390 && left <= 86_400, `TTL ${left}`);
});

await check("the session survives kill -9", async () => {
  await killAndRestart();
  const seen = await alice.get("/look");
  assert.deepEqual([seen.user, seen.views, seen.basket], ["alice", 2, ["äpfel", "🍐"]]);
  assert.equal((await alice.get("/visit")).views, 3);
});

await check("a page view that changes nothing slides the lifetime", async () => {
  await app.client.expire(key(login), 1000);
  await alice.get("/look");
  assert.ok((await app.client.ttl(key(login))) > 86_390);
});

await check("twelve logins, each killed right after the answer, all survive", async () => {
  const users = [];
  for (let n = 0; n < 12; n++) {
    const browser = new Browser(app.base);
    await browser.post("/login", { user: `user${n}` });
    users.push(browser);
    await killAndRestart();
  }
  for (const [n, browser] of users.entries()) {
    const seen = await browser.get("/look");
    assert.equal(seen.user, `user${n}`);
  }
});

await check("login changes the id and the old id is dead", async () => {
  const old = alice.cookie;
  await alice.post("/login", { user: "alice2" });
  assert.notEqual(alice.cookie, old);
  const thief = new Browser(app.base);
  thief.cookie = old;
  assert.equal((await thief.get("/look")).status, 401);
});

await check("a logout is final, also after kill -9", async () => {
  const stolen = new Browser(app.base);
  stolen.cookie = alice.cookie;
  assert.equal((await stolen.get("/look")).user, "alice2");
  await alice.post("/logout");
  assert.equal((await stolen.get("/look")).status, 401);
  await killAndRestart();
  assert.equal((await stolen.get("/look")).status, 401);
});

await check("a session of 900 KB comes back whole", async () => {
  const browser = new Browser(app.base);
  const basket = Array.from({ length: 9000 }, (_, n) => `${n}:${"x".repeat(90)}`);
  await browser.post("/login", { user: "big", basket });
  await killAndRestart();
  assert.deepEqual((await browser.get("/look")).basket, basket);
});

await check("sixty browsers at once keep their own sessions", async () => {
  const browsers = Array.from({ length: 60 }, () => new Browser(app.base));
  await Promise.all(browsers.map((browser, n) => browser.post("/login", { user: `crowd${n}` })));
  for (let round = 1; round <= 3; round++) {
    const seen = await Promise.all(browsers.map((browser) => browser.get("/visit")));
    seen.forEach(({ user, views }, n) => assert.deepEqual([user, views], [`crowd${n}`, round]));
  }
});

await check("the store lists, counts and clears", async () => {
  const ids = await app.store.ids();
  assert.equal(ids.length, await app.store.length());
  assert.equal((await app.store.all()).length, ids.length);
  assert.ok(ids.length >= 60);
  await app.store.clear();
  assert.equal(await app.store.length(), 0);
});

await check("a session with a short cookie ends by itself and stays gone after kill -9", async () => {
  const brief = await startApp(server.port, { maxAge: 1200 });
  const browser = new Browser(brief.base);
  await browser.post("/login", { user: "brief" });
  assert.equal((await browser.get("/look")).user, "brief");
  await sleep(2500); // connect-redis rounds 1.2 s up to 2 s, and the look above slid them along.
  assert.equal((await browser.get("/look")).status, 401);
  brief.close();
  await killAndRestart();
  assert.equal(await app.store.length(), 0);
});

await check("a server with a password", async () => {
  const guarded = await new Server("--requirepass s3cret").start();
  const open = (url) => createClient({ url, socket: { reconnectStrategy: false } }).on("error", () => {});
  await assert.rejects(open(`redis://127.0.0.1:${guarded.port}`).connect(), /NOAUTH/);
  await assert.rejects(open(`redis://:wrong@127.0.0.1:${guarded.port}`).connect(), /WRONGPASS/);
  const client = open(`redis://:s3cret@127.0.0.1:${guarded.port}`);
  await client.connect();
  assert.equal(await client.set("a", "b"), "OK");
  client.destroy();
  await guarded.kill();
});

app.close();
await check("SIGTERM ends the server with exit code 0", async () => assert.equal(await server.stop(), 0));
finish();
