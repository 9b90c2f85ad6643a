import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ROLES, type Role } from '../../src/keys/roles.ts'
import { type Door, openDoor } from '../support/door.ts'

let door: Door

beforeAll(async () => {
  door = await openDoor({
    routes: ['user:GET /easyuse/*', 'user:GET /api/easyuse/*', 'viewer:POST /look'],
  })
})
afterAll(() => door.close())
beforeEach(() => door.sim.clearRequests())

/** The roles whose request ComfyUI saw. */
async function seenFrom(method: string, path: string): Promise<Role[]> {
  const seen: Role[] = []
  for (const role of ROLES) {
    door.sim.clearRequests()
    await door.ask(method, path, { headers: { 'X-API-Key': door.keys[role] } })
    if (door.sim.requests.some(({ target }) => target === path)) seen.push(role)
  }
  return seen
}

describe("--route opens a custom node's routes as it names them", () => {
  test.each<[string, string, Role[]]>([
    ['GET', '/easyuse/prompts', ['user', 'admin']],
    ['HEAD', '/easyuse/a/b?c=d', ['user', 'admin']],
    ['GET', '/api/easyuse/prompts', ['user', 'admin']],
    ['POST', '/look', ['viewer', 'user', 'admin']],
    // Neither its twin, which nobody named, nor another method, nor what lies beside it
    ['POST', '/api/look', ['admin']],
    ['GET', '/look', ['admin']],
    ['POST', '/easyuse/prompts', ['admin']],
    ['GET', '/easyuse', ['admin']],
    ['GET', '/easyusex/prompts', ['admin']],
    ['GET', '/easyuse/..%2finternal', ['admin']],
    ['GET', '/easyuse/%2e%2e/internal/logs', ['admin']],
  ])('%s %s is for %j', async (method, path, roles) => {
    expect(await seenFrom(method, path)).toEqual(roles)
  })

  test('never without a key', async () => {
    for (const path of ['/easyuse/prompts', '/api/easyuse/prompts']) {
      expect((await door.ask('GET', path)).status).toBe(401)
    }
    expect(door.sim.requests).toEqual([])
  })

  test('and the refusal names the role that is needed', async () => {
    const { status, body } = await door.ask('GET', '/easyuse/prompts', { headers: { 'X-API-Key': door.keys.viewer } })
    expect(status).toBe(403)
    expect(JSON.parse(body)).toMatchObject({ error: expect.anything() })
    expect(body).toMatch(/\buser\b/)
  })
})
