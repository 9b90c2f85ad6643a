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
  "a stranger's body on an open path, %s, does not reach ComfyUI, and the path is still served",
  async (_, headers) => {
    door.sim.clearRequests()
    const { status } = await door.ask('GET', '/scripts/app.js', {
      headers: { 'Content-Type': 'application/json', ...headers },
      body: '{"clear":true}',
    })
    const [seen] = door.sim.requests
    expect({ status, body: seen?.body.bytes, target: seen?.target }).toEqual({
      status: seen?.status,
      body: 0,
      target: '/scripts/app.js',
    })
    expect(seen?.headers.map((name) => name.toLowerCase())).not.toContain('content-type')
  },
)
