// Two devices of one user in headless Chromium, through kill -9 of the server behind the application.
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { Server } from "./harness.mjs";

const here = dirname(fileURLToPath(import.meta.url));
let passed = 0;
let failed = 0;

function check(what, seen, wanted) {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (a === b) passed += 1;
  else failed += 1;
  console.log(`${a === b ? "ok    " : "FAILED"} ${what}${a === b ? "" : `: saw ${a}, wanted ${b}`}`);
}

async function startApp(server) {
  const env = { ...process.env, REDIS_URL: `redis://127.0.0.1:${server.port}`, PORT: "0" };
  const child = spawn(process.execPath, [join(here, "app.mjs")], { env, stdio: ["ignore", "pipe", "inherit"] });
  const port = await new Promise((resolve, reject) => {
    child.stdout.on("data", (data) => resolve(/listening on (\d+)/.exec(data)?.[1]));
    child.once("exit", (code) => reject(new Error(`the application ended with ${code}`)));
  });
  return { child, url: `http://127.0.0.1:${port}/` };
}

// A browser of its own for each device: its profile, its cookies.
async function device(url) {
  const profile = mkdtempSync(join(process.env.WORK ?? tmpdir(), "profile-"));
  const args = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ];
  const options = { executablePath: process.env.CHROMIUM, headless: true, args };
  const browser = await chromium.launchPersistentContext(profile, options);
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(url);
  return { browser, page };
}

async function login(page, user, name) {
  await page.fill("#user", user);
  await page.fill("#device", name);
  await page.click("#login");
  await page.waitForSelector("#who");
}

const devices = async (page) => (await page.locator(".device").allTextContents()).map((t) => t.replace(" (this one)", "")).sort();
const loggedIn = async (page, url) => {
  await page.goto(url);
  return (await page.locator("#who").count()) === 1;
};

const server = await new Server().start();
const app = await startApp(server);
const [phone, laptop] = [await device(app.url), await device(app.url)];
try {
  await login(phone.page, "ann", "phone");
  await login(laptop.page, "ann", "<b>laptop</b>");
  await phone.page.goto(app.url);
  check("both devices are listed", await devices(phone.page), ["<b>laptop</b>", "phone"]);
  for (let n = 0; n < 3; n++) await phone.page.click("#visit");
  check("visits are counted", await phone.page.textContent("#visits"), "3");

  await server.kill();
  await server.start();
  check("the phone is logged in after a kill -9", await loggedIn(phone.page, app.url), true);
  check("its visits are there", await phone.page.textContent("#visits"), "3");
  check("and so are its devices", await devices(phone.page), ["<b>laptop</b>", "phone"]);
  check("the laptop is logged in too", await loggedIn(laptop.page, app.url), true);

  // The laptop's request is slow; meanwhile the phone logs out everywhere.
  const slow = laptop.page.evaluate(async () => {
    const body = new URLSearchParams({ ms: "1500", note: "late" });
    return (await fetch("/note", { method: "POST", body })).status;
  });
  await phone.page.click("#logout-everywhere");
  await phone.page.waitForSelector("#login");
  await server.kill();
  await server.start();
  check("the late write is refused", await slow, 401);
  check("the phone is logged out after a kill -9", await loggedIn(phone.page, app.url), false);
  check("the laptop is logged out", await loggedIn(laptop.page, app.url), false);

  await login(phone.page, "ann", "phone again");
  check("one device is left", await devices(phone.page), ["phone again"]);
  await phone.page.click("#logout");
  await phone.page.waitForSelector("#login");
  check("and none after it logs out", await loggedIn(phone.page, app.url), false);
} catch (error) {
  check(`the drive goes on to its end: ${error.message}`, false, true);
} finally {
  await phone.browser.close();
  await laptop.browser.close();
  app.child.kill();
  await server.stop();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
