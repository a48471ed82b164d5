// An application as a newcomer writes it: login, a counter, a shopping basket, logout.
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";

export async function startApp(redisPort, cookie = {}) {
  const client = createClient({ url: `redis://127.0.0.1:${redisPort}` });
  client.on("error", () => {}); // The client reconnects by itself; requests meanwhile wait for it.
  await client.connect();
  const store = new RedisStore({ client });
  const app = express();
  app.use(express.json({ limit: "2mb" }));
  app.use(session({ store, secret: "test", resave: false, saveUninitialized: false, cookie }));

  app.post("/login", (req, res, next) => {
    // A new id at login, so that an id planted before it is worth nothing.
    req.session.regenerate((error) => {
      if (error) return next(error);
      Object.assign(req.session, { user: req.body.user, views: 0, basket: req.body.basket });
      res.json({ id: req.sessionID });
    });
  });
  app.get("/visit", (req, res) => {
    if (!req.session.user) return res.status(401).json({});
    req.session.views++;
    res.json({ user: req.session.user, views: req.session.views });
  });
  app.get("/look", (req, res) => {
    if (!req.session.user) return res.status(401).json({});
    res.json({ user: req.session.user, views: req.session.views, basket: req.session.basket });
  });
  app.post("/logout", (req, res, next) => req.session.destroy((error) => (error ? next(error) : res.json({}))));
  app.use((error, req, res, next) => res.status(500).json({ error: String(error) }));

  const listener = await new Promise((resolve) => {
    const server = app.listen(0, "127.0.0.1", () => resolve(server));
  });
  return {
    client,
    store,
    base: `http://127.0.0.1:${listener.address().port}`,
    close() {
      listener.close();
      listener.closeAllConnections();
      client.destroy();
    },
  };
}

// A browser that knows one cookie.
export class Browser {
  constructor(base) {
    this.base = base;
    this.cookie = "";
  }

  async send(method, path, body) {
    const headers = { cookie: this.cookie, "content-type": "application/json" };
    const response = await fetch(this.base + path, { method, headers, body: body && JSON.stringify(body) });
    const set = response.headers.get("set-cookie");
    if (set) this.cookie = set.split(";")[0];
    return { status: response.status, ...(await response.json()) };
  }

  get = (path) => this.send("GET", path);
  post = (path, body = {}) => this.send("POST", path, body);
}
