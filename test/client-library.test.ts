import { readFileSync } from 'node:fs'
import { Client, plugins } from '@stable-canvas/comfyui-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Door, openDoor } from './support/door.ts'

let door: Door

beforeAll(async () => {
  door = await openDoor({}, { stepMs: 0 })
})

afterAll(() => door.close())

test('a client library that knows nothing of comfy-auth runs a workflow with a user key', async () => {
  const client = new Client({
    api_host: `127.0.0.1:${door.port}`,
    WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
    fetch,
  })
  client.use(new plugins.LoginAuthPlugin({ token: door.keys.user }))
  client.connect()
  const prompt = JSON.parse(readFileSync('examples/empty-image.json', 'utf8'))
  const result = await client.enqueue(prompt)
  client.close()

  expect(result.images).toHaveLength(1)
  const sockets = door.sim.requests.filter(({ upgrade }) => upgrade)
  expect(sockets).toHaveLength(1)
  for (const { target, headers } of door.sim.requests) {
    expect(`${target} ${headers.join(' ')}`).not.toContain(door.keys.user)
  }
})
