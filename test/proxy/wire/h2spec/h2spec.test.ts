import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createSim, type Sim } from '../../../../src/sim/sim.ts'
import { certificateFiles } from '../../../support/certificate.ts'
import { CODES, client2, FRAME, type Raw2, raw2 } from '../../../support/http2.ts'
import { ADMIN, startProxy, type TestProxy } from '../support.ts'
import { CONNECTION } from './connection.ts'
import { FRAMES } from './frames.ts'
import { HPACK } from './hpack.ts'
import { MESSAGES } from './messages.ts'
import { type Row, sendGet } from './row.ts'
import { WINDOWS } from './windows.ts'

let sim: Sim
let proxy: TestProxy
let raw: Raw2

beforeAll(async () => {
  sim = await createSim()
  proxy = await startProxy(sim.url, { tls: certificateFiles() })
})

afterAll(async () => {
  await proxy.close()
  await sim.close()
})

beforeEach(() => sim.clearRequests())
afterEach(() => raw.socket.destroy())

const code = (payload: Buffer, at: number) => CODES[payload.readUInt32BE(at)]

/** A stream on which nothing else happens. */
const PROBE = 1_001

/** Resolves with the first thing that settles a row. */
async function outcomeOf(served: boolean): Promise<string> {
  if (served) sendGet(raw, PROBE)
  const frame = await raw.until(
    ({ type, stream }) =>
      type === FRAME.goaway || type === FRAME.reset || (type === FRAME.headers && (!served || stream === PROBE)),
  )
  if (frame === undefined) return 'closed'
  if (frame.type === FRAME.goaway) return `goaway ${code(frame.payload, 4)}`
  if (frame.type === FRAME.reset) return `reset ${code(frame.payload, 0)}`
  const status = statusOf(frame.payload)
  return frame.stream === PROBE && status === 200 ? 'served' : `answer ${status}`
}

/** By the static table of HPACK: nghttp2 sends `:status` first, behind a change of the table's size at most. */
function statusOf(block: Buffer): number | undefined {
  const first = block.find((byte) => (byte & 0xe0) !== 0x20)!
  return [200, 204, 206, 304, 400, 404, 500][first - 0x88]
}

/**
 * A connection may be ended at any time, by a GOAWAY of whatever code or none (RFC 9113, 5.4.1): where that is due, Node 22 says
 * INTERNAL_ERROR of what the client did wrong.
 */
const isDue = (outcome: string, due: readonly string[]) =>
  due.includes(outcome) || (/closed|INTERNAL/.test(outcome) && due.some((one) => one.startsWith('goaway')))

const TABLES = [
  ['RFC 9113, 3 to 5', CONNECTION],
  ['RFC 9113, 6 and 7', [...FRAMES, ...WINDOWS]],
  ['RFC 9113, 8', MESSAGES],
  ['RFC 7541', HPACK],
] as const

describe.each(TABLES)('%s', (_rfc, rows) => {
  test.each(rows.map((row) => [`${row.section}: ${row.what}`, row] as const))('%s', async (_name, row) => {
    raw = await raw2(proxy.port, { preface: row.preface ?? true })
    await row.act(raw)
    const outcome = await outcomeOf(row.outcome.includes('served'))
    if (!isDue(outcome, row.outcome)) expect(outcome).toBe(row.outcome.join(' or '))
    if (row.look) expect(await row.look(raw)).toBeTruthy()
    if (!row.outcome.some((one) => one === 'answer 200' || one === 'served') && row.section.startsWith('8')) {
      expect(sim.requests).toEqual([])
    }
    // Of a field that was taken away nothing is left.
    const fields = JSON.stringify(sim.requests.map(({ headers }) => headers)).toLowerCase()
    expect(fields).not.toMatch(/"(?:"|x[ :\\])|x-\u00e9|x-other|x-value/)
    const client = await client2(proxy.port)
    expect((await client.ask('GET', '/queue', { authorization: `Bearer ${ADMIN}` })).status).toBe(200)
    client.close()
  })
})

test('there is a row for every section of which h2spec has a case', () => {
  const of = (rows: readonly Row[]) => [...new Set(rows.map(({ section }) => section))]
  const sections = TABLES.map(([, rows]) => of(rows).join(' '))
  const count = TABLES.reduce((sum, [, rows]) => sum + rows.length, 0)
  expect([count, ...sections]).toEqual([
    164,
    '3.4 4.1 4.2 4.3 5.1 5.1.1 5.1.2 5.3.1 5.4.1 5.4.2 5.5',
    '6.1 6.2 6.3 6.4 6.5 6.5.2 6.5.3 6.6 6.7 6.8 7 6.9 6.9.1 6.9.2 6.10',
    '8.1 8.1.1 8.2.1 8.2.2 8.2.3 8.3 8.3.1 8.4 8.5 8.6',
    '2.3.3 4.2 5.1 5.2 6.1 6.2 6.3',
  ])
})
