import type { OutgoingHttpHeaders } from 'node:http2'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { isAtLeast, ROLES, type Role } from '../../src/keys/roles.ts'
import { certificateFiles } from '../support/certificate.ts'
import { ROUTE_CASES } from '../support/comfyui-routes.ts'
import { type Door, openDoor } from '../support/door.ts'
import { type Client2, client2 } from '../support/http2.ts'

let door: Door
let client: Client2
const cookies = {} as Record<Role, string>

beforeAll(async () => {
  door = await openDoor({ tls: certificateFiles() })
  client = await client2(door.port)
  for (const role of ROLES) {
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    const { headers } = await client.ask('POST', '/auth_login.html', form, `api_key=${door.keys[role]}`)
    cookies[role] = headers['set-cookie']![0]!.split(';')[0]!
  }
})

afterAll(async () => {
  client.close()
  await door.close()
})

beforeEach(() => door.sim.clearRequests())

/** Routes that are no socket; what hangs on the body is tried over HTTP/1, by the same decide(). */
const CASES = ROUTE_CASES.filter(({ target }) => !/\/(?:ws|interrupt|queue|cancel)$/.test(target.split('?')[0]!))

const CARRIERS: Readonly<Record<string, (role: Role, target: string) => [string, OutgoingHttpHeaders]>> = {
  bearer: (role, target) => [target, { authorization: `Bearer ${door.keys[role]}` }],
  'a query': (role, target) => [`${target}${target.includes('?') ? '&' : '?'}api_key=${door.keys[role]}`, {}],
  'a cookie in a field of its own': (role, target) => [
    target,
    { cookie: ['theme=dark', cookies[role]], origin: `https://127.0.0.1:${door.port}` },
  ],
}

/** Whether ComfyUI saw it: the judge, whatever the answer says. */
async function reaches(method: string, target: string, headers: OutgoingHttpHeaders): Promise<boolean> {
  const before = door.sim.requests.length
  await client.ask(method, target, headers, method === 'GET' || method === 'HEAD' ? undefined : '{}')
  return door.sim.requests.length > before
}

describe.each(Object.keys(CARRIERS))('over HTTP/2, by %s', (carrier) => {
  test.each(ROLES)('a %s reaches what its role may, and nothing else', async (role) => {
    const wrong: string[] = []
    for (const { method, target, role: least } of CASES) {
      const [path, headers] = CARRIERS[carrier]!(role, target)
      if ((await reaches(method, path, headers)) !== isAtLeast(role, least)) wrong.push(`${method} ${target}`)
    }
    expect(wrong).toEqual([])
  })
})

test('over HTTP/2 nothing of the table reaches ComfyUI without a key', async () => {
  for (const { method, target } of CASES) await reaches(method, target, {})
  expect(door.sim.requests.map(({ target }) => target)).toEqual([])
})

test('over HTTP/2 a foreign page gets nothing by a cookie', async () => {
  for (const { method, target } of CASES) {
    const headers = { cookie: cookies.admin, origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }
    await reaches(method, target, headers)
  }
  expect(door.sim.requests.map(({ target }) => target)).toEqual([])
})

test('over HTTP/2 no credential of ours reaches ComfyUI', async () => {
  for (const carry of Object.values(CARRIERS)) {
    const [path, headers] = carry('admin', '/system_stats')
    expect((await client.ask('GET', path, headers)).status).toBe(200)
  }
  const seen = JSON.stringify(door.sim.requests.map(({ target, headers }) => [target, headers]))
  for (const secret of [door.keys.admin, cookies.admin.split('=')[1]!]) expect(seen).not.toContain(secret)
})
