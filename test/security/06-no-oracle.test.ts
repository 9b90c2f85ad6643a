import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeKey, parseKey } from '../../src/keys/format.ts'
import { type Door, type Heard, openDoor } from '../support/door.ts'

let door: Door
beforeAll(async () => {
  door = await openDoor()
})
afterAll(() => door.close())

const UNKNOWN = makeKey()
/** Keys that open nothing; the second is known by its checksum to be no key of ours at all. */
const WRONG = {
  unknown: UNKNOWN,
  mistyped: `${UNKNOWN.slice(0, -1)}${UNKNOWN.endsWith('a') ? 'b' : 'a'}`,
  cut: UNKNOWN.slice(0, 40),
  foreign: 'a-key-of-the-guide-kind',
}

/** All that a client can tell two answers by, but for the clock. */
function seen({ status, headers, body }: Heard): unknown {
  const { date: _, ...rest } = headers
  return { status, rest, body }
}

let address = 1
const from = () => `127.3.0.${address++}` // no guess is throttled for another's sake

test.each<[string, (key: string) => Promise<Heard>]>([
  ['a Bearer', (key) => door.ask('GET', '/queue', { headers: { Authorization: `Bearer ${key}` }, from: from() })],
  ['a query', (key) => door.ask('GET', `/queue?api_key=${key}`, { from: from() })],
  [
    'the login form',
    (key) =>
      door.ask('POST', '/auth_login.html', {
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ api_key: key }).toString(),
        from: from(),
      }),
  ],
])('by %s a key that fails its checksum is answered as an unknown one', async (_name, knock) => {
  expect([parseKey(WRONG.mistyped).kind, parseKey(WRONG.unknown).kind]).toEqual(['bad-checksum', 'ok'])
  const expected = seen(await knock(WRONG.unknown))
  expect(expected).toMatchObject({ status: 401 })
  for (const [name, key] of Object.entries(WRONG)) expect(seen(await knock(key)), name).toEqual(expected)
  expect(door.sim.requests).toEqual([])
})
