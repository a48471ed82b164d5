// The npm package leaves out its test helper; this one spawns the same command as the original.
import {ChildProcess, spawn} from "node:child_process"
import net from "node:net"

export const port = "18543"
let server: ChildProcess

export async function connect() {
  server = spawn("redis-server", ["--port", port, "--loglevel", "notice"], {stdio: "inherit"})
  for (let tries = 0; tries < 500; tries++) {
    if (await answers()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error("redis-server does not answer")
}

export async function disconnect() {
  const ended = new Promise((resolve) => server.once("exit", resolve))
  server.kill("SIGKILL")
  await ended
}

// PONG, not a mere open port: a server may listen while it is still loading.
function answers(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(Number(port), "localhost", () => socket.write("PING\r\n"))
    socket.once("data", (data) => {
      resolve(data.toString() === "+PONG\r\n")
      socket.destroy()
    })
    socket.once("error", () => resolve(false))
  })
}
