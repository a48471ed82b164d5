// A small web application whose sessions are session objects: it logs in, counts visits, lists devices and logs out
// everywhere. REDIS_URL names the server, PORT where to listen.
import express from "express";
import { createClient } from "redis";

const IDLE_S = "1800";
const ABSOLUTE_S = "43200";

const store = createClient({ url: process.env.REDIS_URL });
store.on("error", () => {}); // It connects again by itself.
await store.connect();
const send = (...words) => store.sendCommand(words.map(String));

const app = express();
app.use(express.urlencoded({ extended: false }));

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const cookieOf = (request) => /(?:^|;\s*)sid=([\w-]+)/.exec(request.headers.cookie ?? "")?.[1];
const facts = (flat) => (Array.isArray(flat) ? Object.fromEntries(pairs(flat)) : flat);

function* pairs(flat) {
  for (let at = 0; at < flat.length; at += 2) yield [flat[at], flat[at + 1]];
}

function page(response, body) {
  response.type("html").send(`<!doctype html><meta charset="utf-8"><title>Devices</title><main>${body}</main>`);
}

const button = (action, label) => `<form method="post" action="${action}"><button id="${action.slice(1)}">${label}</button></form>`;

app.get("/", async (request, response) => {
  const sid = cookieOf(request);
  const found = sid && (await send("SESSION.GET", sid, "META"));
  if (!found) {
    return page(
      response,
      `<form method="post" action="/login"><input name="user" id="user"><input name="device" id="device">
       <button id="login">Log in</button></form>`,
    );
  }
  const [meta, fields] = [facts(found[0]), facts(found[1])];
  const sessions = await send("SESSION.LIST", meta.user, "META");
  const devices = sessions.map(([id, about]) => {
    const own = id === sid ? " (this one)" : "";
    return `<li class="device">${escape(facts(about).device)}${own}</li>`;
  });
  page(
    response,
    `<h1 id="who">${escape(meta.user)}</h1><p id="visits">${escape(fields.visits ?? 0)}</p><p id="note">${escape(fields.note ?? "")}</p>
     <ul>${devices.join("")}</ul>${button("/visit", "Visit")}${button("/logout", "Log out")}
     ${button("/logout-everywhere", "Log out everywhere")}`,
  );
});

app.post("/login", async (request, response) => {
  const { user, device } = request.body;
  const limits = ["IDLE", IDLE_S, "ABSOLUTE", ABSOLUTE_S, "MAXPERUSER", "5", "EVICT"];
  const sid = await send("SESSION.CREATE", "*", "USER", user, "DEVICE", device, ...limits);
  response.cookie("sid", sid, { httpOnly: true, sameSite: "lax" }).redirect("/");
});

app.post("/visit", async (request, response) => {
  await send("SESSION.INCR", cookieOf(request), "visits", "1");
  response.redirect("/");
});

// A slow request: it has its session, works for a while, and writes what it found.
app.post("/note", async (request, response) => {
  const sid = cookieOf(request);
  await send("SESSION.GET", sid);
  await new Promise((resolve) => setTimeout(resolve, Number(request.body.ms)));
  await send("SESSION.SET", sid, "FIELDS", "1", "note", request.body.note);
  response.send("written");
});

app.post("/logout", async (request, response) => {
  await send("SESSION.DESTROY", cookieOf(request));
  response.clearCookie("sid").redirect("/");
});

app.post("/logout-everywhere", async (request, response) => {
  const found = await send("SESSION.GET", cookieOf(request), "META");
  if (found) await send("SESSION.REVOKE", facts(found[0]).user);
  response.clearCookie("sid").redirect("/");
});

app.use((error, request, response, next) => {
  const ended = /^(REVOKED|NOSESSION)/.test(error.message);
  if (ended) response.clearCookie("sid");
  response.status(ended ? 401 : 500).send(escape(error.message));
});

const listening = app.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log(`listening on ${listening.address().port}`);
});
