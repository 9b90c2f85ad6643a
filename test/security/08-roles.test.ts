import { describe, expect, test } from 'vitest'
import { ROLES, type Role } from '../../src/keys/roles.ts'
import { decide } from '../../src/proxy/decide/decide.ts'
import { pathsOf, ROUTES } from '../../src/proxy/decide/routes.ts'
import { ROUTE_CASES as CASES, OWN_PROMPT as UUID } from '../support/comfyui-routes.ts'
import {
  bearer,
  type FactsOverrides,
  KEYS,
  makeFacts,
  makeKnownKey,
  makePolicy,
  NOW_MS,
  type PolicyOverrides,
} from '../support/policy.ts'

const policy = (overrides: PolicyOverrides = {}) => makePolicy({ prompts: { 'user-id': [UUID] }, ...overrides })

function ask(role: Role | undefined, facts: FactsOverrides, overrides: PolicyOverrides = {}) {
  const headers = { ...(role && bearer(KEYS[role])), ...facts.headers }
  return decide(makeFacts({ ...facts, headers }), policy(overrides))
}

describe('the least role', () => {
  test.each(CASES)('of $method $target is $role', ({ role: needed, method, target }) => {
    for (const role of ROLES) {
      const decision = ask(role, { method, target })
      if (ROLES.indexOf(role) >= ROLES.indexOf(needed)) {
        expect(decision.kind, role).toMatch(/forward|inspect/)
      } else {
        expect(decision, role).toMatchObject({ refusal: { status: 403, reason: 'role', roleNeeded: needed } })
      }
    }
    expect(ask(undefined, { method, target })).toMatchObject({ refusal: { status: 401 } })
  })

  test('of a GET is that of its HEAD', () => {
    for (const { role, target } of CASES.filter(({ method, role }) => method === 'GET' && role === 'viewer')) {
      expect(ask('viewer', { method: 'HEAD', target }).kind, `${role} ${target}`).toBe('forward')
    }
  })

  test('is the same for an Upgrade, on /ws and beside it', () => {
    expect(ask('viewer', { target: '/ws', upgrade: true }).kind).toBe('forward')
    expect(ask('viewer', { target: '/api/ws', upgrade: true }).kind).toBe('forward')
    expect(ask('user', { target: '/easyuse/ws', upgrade: true })).toMatchObject({ refusal: { roleNeeded: 'admin' } })
    expect(ask('admin', { target: '/easyuse/ws', upgrade: true }).kind).toBe('forward')
    expect(ask('viewer', { target: '/internal/logs', upgrade: true })).toMatchObject({ refusal: { status: 403 } })
  })

  test('is held for every row that the code has', () => {
    const said = new Set(CASES.map(({ method, target }) => `${method} ${target}`))
    const asRow = (path: string) =>
      new RegExp(
        `^${path.replaceAll(/[.*]/g, (char) => (char === '*' ? '.*' : '\\.')).replaceAll(/\{\w+\}/g, '[^/]+')}$`,
      )
    for (const row of ROUTES.filter((each) => each.method !== '*' && !/favicon|materialdesign/.test(each.path))) {
      for (const path of pathsOf(row)) {
        const listed = [...said].some((line) => {
          const [method, target] = line.split(' ') as [string, string]
          return method === row.method && asRow(path).test(target)
        })
        expect(listed, `${row.method} ${path}`).toBe(true)
      }
    }
  })
})

describe('--route', () => {
  const extraRoutes = [
    { role: 'user', method: 'GET', path: '/easyuse/*' },
    { role: 'viewer', method: 'POST', path: '/look' },
    { role: 'viewer', method: '*', path: '/any' },
    { role: 'viewer', method: 'POST', path: '/free' },
    { role: 'viewer', method: 'GET', path: '/manager/*' },
    { role: 'viewer', method: 'GET', path: '/internal/logs' },
  ] as const

  const least = (method: string, target: string) =>
    ROLES.find((role) => ask(role, { method, target }, { extraRoutes }).kind === 'forward')

  test("adds a custom node's routes at the role it names", () => {
    expect(least('GET', '/easyuse/prompts')).toBe('user')
    expect(least('HEAD', '/easyuse/prompts')).toBe('user')
    expect(least('GET', '/easyuse/a/b')).toBe('user')
    expect(least('POST', '/look')).toBe('viewer')
    expect(least('DELETE', '/any')).toBe('viewer')
  })

  test('adds nothing beside them', () => {
    expect(least('POST', '/easyuse/prompts')).toBe('admin')
    expect(least('GET', '/easyuse')).toBe('admin')
    expect(least('GET', '/easyuse/..%2fx')).toBe('admin')
    expect(least('GET', '/easyuse/../x')).toBe('admin')
    expect(least('GET', '/look')).toBe('admin')
  })

  test("lowers nothing that ComfyUI's own table names, nor Manager", () => {
    expect(least('POST', '/free')).toBe('admin')
    expect(least('GET', '/manager/reboot')).toBe('admin')
    expect(least('GET', '/internal/logs')).toBe('admin')
  })
})

describe('a user stops its own prompts alone', () => {
  const OTHERS = 'ffffffff-7f3e-4f0a-9a53-2f5f6f0f9b1e'

  /** `200 BODY` as it goes up, or the refusal. */
  function stop(target: string, body: string | Uint8Array, headers: Record<string, string> = {}, role: Role = 'user') {
    const decision = ask(role, { method: 'POST', target, headers })
    const last =
      decision.kind === 'inspect'
        ? decision.check(typeof body === 'string' ? new TextEncoder().encode(body) : body, NOW_MS)
        : decision
    if (last.kind === 'refuse') return `${last.refusal.status} ${last.refusal.reason}`
    return last.kind === 'forward' ? `200 ${last.body}` : last.kind
  }

  const DOORS = [
    ['/interrupt', (id: unknown) => ({ prompt_id: id }), `{"prompt_id":"${UUID}"}`],
    ['/queue', (id: unknown) => ({ delete: [id] }), `{"delete":["${UUID}"]}`],
    ['/api/jobs/cancel', (id: unknown) => ({ job_ids: [id] }), `{"job_ids":["${UUID}"]}`],
  ] as const

  describe.each(DOORS.flatMap(([path, make, up]) => [[path, make, up] as const, [`/api${path}`, make, up] as const]))(
    'through POST %s',
    (path, make, up) => {
      const own = JSON.stringify(make(UUID))

      test('with the one checked member, and nothing else, going up', () => {
        expect(stop(path, own)).toBe(`200 ${up}`)
        expect(stop(path, JSON.stringify({ x: { y: [1] }, ...make(UUID), z: null }))).toBe(`200 ${up}`)
        expect(stop(path, ` \n${own.replace('":', '" \t:')} `)).toBe(`200 ${up}`)
        expect(stop(path, own.replace('0b6d', '\\u0030b6d'))).toBe(`200 ${up}`)
      })

      test('never with an id of others, an empty one, or none', () => {
        expect(stop(path, JSON.stringify(make(OTHERS)))).toBe('403 not-own-prompt')
        expect(stop(path, JSON.stringify(make(UUID.toUpperCase())))).toBe('403 not-own-prompt')
        for (const id of ['', null, 0, 1, true, false, [UUID], { id: UUID }]) {
          expect(stop(path, JSON.stringify(make(id))), JSON.stringify(id)).toBe('403 role')
        }
        for (const body of ['{}', '', '{"x":1}', JSON.stringify({ nested: make(UUID) })]) {
          expect(stop(path, body), body).toBe('403 role')
        }
      })

      test('never with a body that two readers could read differently', () => {
        const utf16 = new Uint8Array(Buffer.from(own, 'utf16le'))
        for (const body of [
          `\ufeff${own}`,
          'null',
          '[]',
          `[${own}]`,
          '"x"',
          '1',
          `${own}${own}`,
          `${own.slice(0, -1)},}`,
          own.replaceAll('"', "'"),
          `{"a":NaN,${own.slice(1)}`,
          `${own.slice(0, -1)},${JSON.stringify(make(OTHERS)).slice(1)}`,
          `${JSON.stringify(make(OTHERS)).slice(0, -1)},${own.slice(1)}`,
          `{"a":1,"\\u0061":2,${own.slice(1)}`,
          `{"a":{"b":1,"b":1},${own.slice(1)}`,
          `{"a":[{"b":1 , "b" :1}],${own.slice(1)}`,
          `{"a"\n:1,"a"\r:2,${own.slice(1)}`,
          `{"a":1,"b":{"c":[{}]},"a":2,${own.slice(1)}`,
          utf16,
          new Uint8Array([0xff, ...new TextEncoder().encode(own)]),
        ]) {
          expect(stop(path, body), String(body)).toBe('400 bad-body')
        }
        const alike = `{"a":["b","b"],"c":{"b":"\\"b\\":"},"d":[{"b":1},{"b":1}],"b":{"a":{"a":1}},${own.slice(1)}`
        expect(stop(path, alike)).toBe(`200 ${up}`)
      })

      test.each<Record<string, string>>([
        { 'Content-Encoding': 'gzip' },
        { 'Content-Encoding': 'identity, deflate' },
        { 'Content-Type': 'application/json; charset=utf-16' },
        { 'Content-Type': 'application/json; charset=utf-7' },
        { 'Content-Type': 'text/plain;charset="utf-16"' },
        { 'Content-Type': 'application/json; charset=utf-8; charset=utf-16' },
        { 'Content-Type': "application/json; charset*=utf-8''utf-16" },
        { 'Content-Type': 'application/json; CHARSET = utf-16' },
      ])('never under %j', (headers) => {
        expect(stop(path, own, headers)).toBe('400 bad-body')
      })

      test.each<Record<string, string>>([
        {},
        { 'Content-Type': 'text/plain' },
        { 'Content-Type': 'application/json;charset=UTF-8' },
        { 'Content-Type': 'application/json; charset="utf-8"', 'Content-Encoding': 'identity' },
      ])('under %j as plain JSON', (headers) => {
        const decision = ask('user', { method: 'POST', target: path, headers })
        if (decision.kind !== 'inspect') throw new Error('not inspected')
        const forward = decision.check(new TextEncoder().encode(own), NOW_MS)
        expect(forward).toMatchObject({ kind: 'forward', target: path, body: up })
        const sent = forward.kind === 'forward' ? forward.headers : []
        expect(sent.filter((_, i) => i % 2 === 0 && /^content/i.test(sent[i]!))).toEqual(['Content-Type'])
        expect(sent).toContain('application/json')
      })

      test('in a body under 64 KiB', () => {
        const decision = ask('user', { method: 'POST', target: path })
        expect(decision).toMatchObject({
          limitBytes: 65_535,
          tooLong: { refusal: { status: 400, reason: 'bad-body' } },
        })
        expect(stop(path, own.padEnd(65_535))).toBe(`200 ${up}`)
        expect(stop(path, own.padEnd(65_536))).toBe('400 bad-body')
      })

      test('as an admin whatever it wants, and a viewer nothing', () => {
        expect(ask('admin', { method: 'POST', target: path })).toMatchObject({ kind: 'forward', body: undefined })
        expect(stop(path, own, {}, 'viewer')).toBe('403 role')
      })
    },
  )

  test('only as long as its key lives and keeps its role while the body arrives', () => {
    const own = new TextEncoder().encode(JSON.stringify({ prompt_id: UUID }))
    const key = makeKnownKey({ id: 'user-id', role: 'user', expiresMs: NOW_MS + 1_000 })
    const checkedAs = (later: Partial<typeof key>, nowMs = NOW_MS) => {
      let now = key
      const decision = ask('user', { method: 'POST', target: '/interrupt' }, { findKey: () => now })
      if (decision.kind !== 'inspect') throw new Error('not inspected')
      now = { ...key, ...later }
      const last = decision.check(own, nowMs)
      return last.kind === 'refuse' ? `${last.refusal.status} ${last.refusal.reason}` : last.kind
    }
    expect(checkedAs({})).toBe('forward')
    expect(checkedAs({}, NOW_MS + 1_000)).toBe('401 dead-credential')
    expect(checkedAs({ revoked: true })).toBe('401 dead-credential')
    expect(checkedAs({ role: 'viewer' })).toBe('403 role')
    expect(checkedAs({ id: 'another-id' })).toBe('403 not-own-prompt')
  })

  test('in the queue never by clear, also not beside delete', () => {
    expect(stop('/queue', `{"delete":["${UUID}"],"clear":true}`)).toBe('403 role')
    expect(stop('/queue', `{"clear":false,"delete":["${UUID}"]}`)).toBe('403 role')
    expect(stop('/queue', '{"clear":true}')).toBe('403 role')
  })

  test('in a list that is wholly its own; an empty one stops nobody', () => {
    expect(stop('/queue', `{"delete":["${UUID}","${OTHERS}"]}`)).toBe('403 not-own-prompt')
    expect(stop('/queue', `{"delete":["${UUID}","${UUID}"]}`)).toBe(`200 {"delete":["${UUID}","${UUID}"]}`)
    expect(stop('/queue', '{"delete":[]}')).toBe('200 {"delete":[]}')
    expect(stop('/queue', `{"delete":"${UUID}"}`)).toBe('403 role')
    expect(stop('/api/jobs/cancel', `{"job_ids":{"0":"${UUID}"}}`)).toBe('403 role')
  })

  test('by the id in the path', () => {
    for (const prefix of ['', '/api']) {
      expect(ask('user', { method: 'POST', target: `${prefix}/api/jobs/${UUID}/cancel` }).kind).toBe('forward')
      const others = ask('user', { method: 'POST', target: `${prefix}/api/jobs/${OTHERS}/cancel` })
      expect(others).toMatchObject({ refusal: { status: 403, reason: 'not-own-prompt' } })
      const admins = ask('admin', { method: 'POST', target: `${prefix}/api/jobs/${OTHERS}/cancel` })
      expect(admins.kind).toBe('forward')
    }
  })

  test('that this very key was given', () => {
    const decision = ask(
      'user',
      { method: 'POST', target: `/api/jobs/${UUID}/cancel` },
      { prompts: { 'admin-id': [UUID] } },
    )
    expect(decision).toMatchObject({ refusal: { reason: 'not-own-prompt' } })
  })
})

test("the answer to POST /prompt may make an id the key's own", () => {
  for (const target of ['/prompt', '/api/prompt']) {
    expect(ask('user', { method: 'POST', target })).toMatchObject({ learnPrompt: true, body: undefined })
    expect(ask('viewer', { method: 'GET', target })).toMatchObject({ learnPrompt: false })
  }
  expect(ask(undefined, { method: 'POST', target: '/prompt' }, { auth: 'none' })).toMatchObject({ learnPrompt: false })
})
