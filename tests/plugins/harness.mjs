// The server as a child process and a counter of checks, for the suites written in JavaScript.
// SERVER holds the command that starts the server, without --port and --dir.
import { spawn } from "node:child_process";
import { mkdtempSync, openSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export { sleep };

export class Server {
  constructor(flags = "") {
    this.flags = flags;
    this.folder = mkdtempSync(join(process.env.WORK ?? tmpdir(), "data-"));
  }

  async start() {
    this.port ??= await freePort();
    const log = openSync(`${this.folder}.log`, "a");
    const line = `exec ${process.env.SERVER} ${this.flags} --port ${this.port} --dir '${this.folder}'`;
    this.child = spawn("sh", ["-c", line], { stdio: ["ignore", log, log] });
    this.ended = new Promise((resolve) => this.child.once("exit", (code, signal) => resolve(code ?? signal)));
    for (let tries = 0; tries < 3000; tries++) {
      if (this.child.exitCode !== null) throw new Error(`the server ended, see ${this.folder}.log`);
      if (await answers(this.port)) return this;
      await sleep(10);
    }
    throw new Error(`no answer to PING, see ${this.folder}.log`);
  }

  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  async stop() {
    this.child.kill("SIGTERM");
    return await this.ended;
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

// PONG, not a mere open port: a server may listen while it is still recovering and answer -LOADING.
function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.once("data", (data) => resolve(!data.toString().startsWith("-LOADING")) || socket.destroy());
    socket.once("error", () => resolve(false));
    socket.setTimeout(1000, () => resolve(false) || socket.destroy());
  });
}

let passed = 0;
let failed = 0;

export async function check(name, body) {
  try {
    await body();
    passed++;
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}\n${error.stack ?? error}`);
  }
}

export function finish() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
