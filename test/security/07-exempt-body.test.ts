import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Door, openDoor } from '../support/door.ts'

let door: Door

beforeAll(async () => {
  door = await openDoor()
})

afterAll(() => door.close())

test.each([
  ['by its length', {}],
  ['beside an Upgrade that is none', { Upgrade: 'websocket', Connection: 'Upgrade' }],
])(
  "a stranger's body on an open path, %s, is refused: neither it nor its request reaches ComfyUI",
  async (_, headers) => {
    door.sim.clearRequests()
    const { status } = await door.ask('GET', '/scripts/app.js', {
      headers: { 'Content-Type': 'application/json', ...headers },
      body: '{"clear":true}',
    })
    expect([status, door.sim.requests]).toEqual([413, []])
  },
)
