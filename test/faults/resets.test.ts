import { once } from 'node:events'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { END_HEADERS, END_STREAM, FRAME, frame, headerBlock, PREFACE, pseudo } from '../support/http2.ts'
import { ask2, open2 } from './client.ts'
import { KEY, type Served, serve } from './process.ts'
import { answerWell, misbehaving, type Upstream } from './upstream.ts'

const ROUND = 300
const AT_ONCE = 4

let upstream: Upstream
let served: Served

beforeAll(async () => {
  upstream = await misbehaving()
  served = await serve(upstream.url, ['--tls-self-signed'])
  await upstream.letGo()
})

afterAll(async () => {
  await served.close()
  await upstream.close()
})

/** HTTP/2's first words with `count` requests behind them, each of them whole but for a body that is still to come. */
function requests(count: number, flags: number, path: string): Buffer {
  const block = headerBlock([...pseudo(flags & END_STREAM ? 'GET' : 'POST', path), ['authorization', `Bearer ${KEY}`]])
  const each = Array.from({ length: count }, (_, i) => frame(FRAME.headers, END_HEADERS | flags, 1 + 2 * i, block))
  return Buffer.concat([Buffer.from(PREFACE), frame(FRAME.settings, 0, 0), ...each])
}

/** `afterBytes`: of what the proxy says, before which the connection is not reset. */
interface Reset {
  readonly what: string
  readonly sends: Buffer
  readonly afterBytes: number
}

async function comeAndReset({ sends, afterBytes }: Reset): Promise<void> {
  const bare = connect(served.port, '127.0.0.1').on('error', () => {})
  const secure = connectTls({ socket: bare, ALPNProtocols: ['h2'], rejectUnauthorized: false }).on('error', () => {})
  const closed = once(bare, 'close')
  await once(secure, 'secureConnect')
  secure.write(sends)
  let bytes = 0
  while (bytes < afterBytes) bytes += (await once(secure, 'data'))[0].length
  bare.resetAndDestroy()
  await closed
}

const RESETS: readonly Reset[] = [
  { what: 'right behind the handshake', sends: Buffer.alloc(0), afterBytes: 0 },
  { what: 'right behind a request', sends: requests(1, END_STREAM, '/queue'), afterBytes: 0 },
  { what: 'right behind thirty requests', sends: requests(30, END_STREAM, '/queue'), afterBytes: 0 },
  { what: 'right behind a request of a login page', sends: requests(1, END_STREAM, '/auth_login.html'), afterBytes: 0 },
  { what: 'within a body', sends: requests(1, 0, '/prompt'), afterBytes: 0 },
  { what: 'at the first word that comes', sends: requests(30, END_STREAM, '/queue'), afterBytes: 1 },
]

test.for(RESETS)('connections of HTTP/2 that are reset $what leave no descriptor', async (reset) => {
  upstream.answer = answerWell
  const living = await open2(served.port)
  expect(await ask2(living, { path: '/queue' })).toMatchObject({ outcome: '200' })
  await upstream.letGo()
  const before = served.fds()
  let next = 0
  const one = async () => {
    while (next++ < ROUND) await comeAndReset(reset)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, one))
  // Again and again: requests of those that are gone may still reach the upstream, and leave connections in the pool.
  const letGo = setInterval(() => {
    for (const socket of upstream.open) socket.destroy()
  }, 20)
  await served.fdsWithin(before)
  clearInterval(letGo)
  expect(await ask2(living, { path: '/queue' })).toMatchObject({ outcome: '200' })
  await upstream.letGo()
  living.destroy()
})
