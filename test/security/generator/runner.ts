import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Case } from './case.ts'
import { runStreams } from './http2-runner.ts'
import { createReplies } from './replies.ts'
import type { World } from './world.ts'

/** The number of the request behind all others. */
export const LAST = 999_999_999

/** Connections at a time. */
const LANES = 48
/** A connection that says nothing for so long has nothing more to say: half a head, a body that never ends. */
const QUIET_MS = 120
/** Before the first reply: a busy machine is no silence. */
const FIRST_MS = 400

/** Sends all cases, several at a time, and returns once every one is answered, cut or silent, and what it started has ended. */
export async function runCases(cases: readonly Case[], world: World): Promise<void> {
  if (world.wire === 'http2') await runStreams(cases, world.door.port)
  else await runConnections(cases, world)
  // Behind whatever still runs: what a case left is in the log by the time of this answer
  await world.door.ask('GET', `${world.base}/queue`, {
    headers: { 'X-API-Key': world.keys.admin, 'X-Tag': `${LAST}.admin` },
  })
}

async function runConnections(cases: readonly Case[], world: World): Promise<void> {
  let next = 0
  const lane = async () => {
    let kept: Socket | undefined
    while (next < cases.length) {
      const one = cases[next++]!
      const socket = one.shared && kept?.writable ? kept : open(world, one.from)
      const reusable = await send(socket, one)
      if (one.shared) kept = reusable ? socket : undefined
      if (!reusable || !one.shared) socket.destroy()
    }
    kept?.destroy()
  }
  await Promise.all(Array.from({ length: LANES }, lane))
}

function open({ door, wire }: World, from: string | undefined): Socket {
  const to = { host: '127.0.0.1', port: door.port, noDelay: true, ...(from !== undefined && { localAddress: from }) }
  const plain = connect(to)
  const socket = wire === 'http1' ? plain : connectTls({ socket: plain, rejectUnauthorized: false })
  if (socket !== plain) plain.on('error', () => plain.destroy())
  return socket.on('error', () => socket.destroy())
}

/** Whether the connection may be used again. */
function send(socket: Socket, { pieces, methods, paced = false }: Case): Promise<boolean> {
  return new Promise((resolve) => {
    const replies = createReplies(methods)
    let timer = setTimeout(() => finish(false), methods.length > 0 ? 5_000 : FIRST_MS)
    const onData = (chunk: Buffer) => {
      const before = replies.statuses.length
      replies.take(chunk)
      if (paced && replies.statuses.length > before) write(replies.statuses.length)
      if (replies.done) return finish(replies.reusable)
      if (methods.length > 0) return
      clearTimeout(timer)
      timer = setTimeout(() => finish(false), QUIET_MS)
    }
    const onEnd = () => finish(false)
    const finish = (reusable: boolean) => {
      clearTimeout(timer)
      socket.off('data', onData).off('end', onEnd).off('error', onEnd).off('close', onEnd)
      resolve(reusable)
    }
    socket.on('data', onData).on('end', onEnd).on('error', onEnd).on('close', onEnd)
    const write = (i: number) => {
      if (i >= pieces.length || socket.destroyed) return
      socket.write(pieces[i]!)
      if (!paced && i + 1 < pieces.length) setImmediate(write, i + 1)
    }
    write(0)
  })
}
