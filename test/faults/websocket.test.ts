import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ask1, request, UPGRADE } from './client.ts'
import { rowsOf } from './doc.ts'
import { type Served, serve } from './process.ts'
import { answerWell, misbehaving, type Upstream } from './upstream.ts'
import { SOCKET_FAULTS, type SocketFault, switching, textFrame } from './websocket.ts'

const ROWS = rowsOf('When ComfyUI fails on a WebSocket')
const LONGEST = 'answers a close frame, and never closes'

interface Stage {
  readonly upstream: Upstream
  readonly served: Served
  /** Open before the first fault. */
  readonly descriptors: number
}

let stage: Stage
/** The one fault that takes 10 s: it has a stage of its own, and the others go on meanwhile. */
let longest: Promise<SeenSocket>

beforeAll(async () => {
  longest = openStage().then(async (own) => {
    const seen = await run(own, SOCKET_FAULTS[LONGEST]!)
    await closeStage(own)
    return seen
  })
  stage = await openStage()
})

afterAll(() => closeStage(stage))

async function openStage(): Promise<Stage> {
  const upstream = await misbehaving()
  const served = await serve(upstream.url, ['--idle-timeout', '1s'])
  const made = { upstream, served, descriptors: 0 }
  await good(made)
  await upstream.letGo()
  return { ...made, descriptors: served.fds() }
}

async function closeStage({ served, upstream }: Stage): Promise<void> {
  await served.close()
  await upstream.close()
}

/** The fault, the next good requests, and nothing left open. */
async function run(at: Stage, fault: SocketFault): Promise<SeenSocket> {
  at.upstream.answer = fault.answer
  const seen = await join(at, fault, '/ws?clientId=fault')
  // A client that is held back is not listened to: that it has left is noticed with the upstream's end, or a ping.
  if (fault.client === 'sends much') await at.upstream.letGo()
  // No connection is kept for a WebSocket that is over, whatever the upstream does with its end of it.
  await at.served.fdsWithin(at.descriptors)
  await good(at)
  await at.upstream.letGo()
  await at.served.fdsWithin(at.descriptors)
  return seen
}

interface SeenSocket {
  readonly outcome: string
  /** Payloads of whole text frames. */
  readonly frames: string
  /** How much the connection took before it held the client back. */
  readonly sentBytes: number
}

/** Opens a WebSocket as bytes, and gives what became of it once its connection has closed or takes no more. */
async function join({ served }: Stage, { client }: Pick<SocketFault, 'client'>, path: string): Promise<SeenSocket> {
  const socket = connect(served.port, '127.0.0.1').on('error', () => {})
  socket.write(request({ path, headers: UPGRADE }))
  let text = ''
  let sentBytes = 0
  let acted = false
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve())
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (acted || !text.includes('\r\n\r\n')) return
      acted = true
      if (client === 'closes') socket.on('data', () => text.includes('\x88\x02') && resolve())
      if (client === 'closes') socket.write(Buffer.from('888200000000', 'hex'))
      if (client === 'sends much') sentBytes = sendUntilHeld(resolve)
    })
    /** Frames of 1 MiB, until nothing has gone out for a while. */
    const sendUntilHeld = (done: () => void) => {
      const frame = Buffer.concat([Buffer.from('82ff000000000010000000000000', 'hex'), Buffer.alloc(1 << 20)])
      let timer: NodeJS.Timeout
      const more = () => {
        clearTimeout(timer)
        timer = setTimeout(() => {
          sentBytes = socket.bytesWritten - socket.writableLength
          done()
        }, 300)
        while (socket.bytesWritten < 1 << 30 && socket.write(frame));
      }
      socket.on('drain', more)
      more()
      return 0
    }
  })
  socket.destroy()
  return { ...read(text), sentBytes }
}

/** What a client makes of it: RFC 9112 until a 101, RFC 6455 after it. */
function read(text: string): { outcome: string; frames: string } {
  const headEnd = text.indexOf('\r\n\r\n') + 4
  if (headEnd < 4) return { outcome: 'cut', frames: '' }
  const status = text.slice(9, 12)
  if (status !== '101') {
    const length = Number(/\r\nContent-Length: (\d+)/i.exec(text)?.[1])
    return { outcome: text.length === headEnd + length ? status : 'cut', frames: '' }
  }
  let frames = ''
  for (let at = headEnd; at + 2 <= text.length; ) {
    const length = text.charCodeAt(at + 1)
    if (text.length < at + 2 + length) break
    const payload = text.slice(at + 2, at + 2 + length)
    if (text[at] === '\x88')
      return { outcome: `101, closed with ${Buffer.from(payload, 'latin1').readUInt16BE()}`, frames }
    frames += payload
    at += 2 + length
  }
  return { outcome: '101, cut', frames }
}

/** A plain request and a WebSocket, both as they should be. */
async function good(at: Stage): Promise<void> {
  at.upstream.answer = (asked) => {
    if (!/\r\nupgrade:/i.test(asked.head)) return answerWell(asked)
    asked.socket.write(Buffer.from(`${switching(asked)}${textFrame('good')}\x88\x02\x03\xe8`, 'latin1'))
    asked.socket.end()
  }
  expect(await ask1(at.served.port, { path: '/queue?marker=1' })).toMatchObject({ outcome: '200', body: 'good 1' })
  expect(await join(at, {}, '/ws?clientId=good')).toMatchObject({ outcome: '101, closed with 1000', frames: 'good' })
}

test('docs/faults.md has a row for each fault of this file, and no other', () => {
  expect([...ROWS.keys()].sort()).toEqual(Object.keys(SOCKET_FAULTS).sort())
})

describe('an upstream that', () => {
  test.each(Object.entries(SOCKET_FAULTS))('%s', async (name, fault) => {
    const memory = stage.served.rssMb()
    const seen = name === LONGEST ? await longest : await run(stage, fault)
    expect([seen.outcome]).toEqual(ROWS.get(name))
    expect(seen.frames).toBe(fault.frames ?? '')
    if (fault.client !== 'sends much') return
    expect(seen.sentBytes).toBeLessThan(100 * 2 ** 20) // what kernels and pipes hold, of 1 GiB
    expect(stage.served.rssMb() - memory).toBeLessThan(100)
  })
})
