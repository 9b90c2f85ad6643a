import fc from 'fast-check'
import { expect, test } from 'vitest'
import { belowBase } from '../../../src/proxy/decide/base-path.ts'
import { decide } from '../../../src/proxy/decide/decide.ts'
import { bearer, cookie, type FactsOverrides, KEYS, makeFacts, makePolicy, SESSIONS } from '../../support/policy.ts'

const HTML = { Accept: 'text/html' }
const policy = makePolicy({ basePath: '/comfy' })
const ask = (facts: FactsOverrides) => decide(makeFacts(facts), policy)

test('what lies below it goes up without it, byte for byte', () => {
  const headers = bearer(KEYS.admin)
  for (const target of ['/', '/queue', '/userdata/a%2Fb.json?x=%20', '/comfy/queue', '/api/queue?a=b']) {
    expect(ask({ target: `/comfy${target}`, headers })).toMatchObject({ kind: 'forward', target })
  }
  expect(ask({ target: '/comfy/ws?clientId=a', headers, upgrade: true })).toMatchObject({
    kind: 'forward',
    target: '/ws?clientId=a',
  })
})

test.each([
  '/queue',
  '/comfyx/queue',
  '/comf',
  '/Comfy/queue',
  '/%63omfy/queue',
  '//comfy/queue',
  '/./comfy/queue',
  '/x/../comfy/queue',
  '/health',
  '/auth_login.html',
  '/ws',
])('whatever the key, %s is outside', (target) => {
  for (const upgrade of [false, true]) {
    expect(ask({ target, headers: bearer(KEYS.admin), upgrade })).toMatchObject({
      kind: 'refuse',
      refusal: { status: 404, reason: 'outside-base-path' },
    })
  }
})

test('the rules read what lies below: open files, roles, doubtful paths, sessions', () => {
  const kind = (target: string, headers = {}) => {
    const decision = ask({ target, headers })
    return decision.kind === 'refuse' ? decision.refusal.reason : decision.kind
  }
  expect(kind('/comfy/health')).toBe('page')
  expect(kind('/comfy/assets/a.js')).toBe('forward')
  expect(kind('/comfy/api/assets/a.js')).toBe('no-credential')
  expect(kind('/comfy/queue', cookie(SESSIONS.viewer.cookie))).toBe('forward')
  expect(kind('/comfy/internal/logs', bearer(KEYS.viewer))).toBe('role')
  expect(kind('/comfy/../internal/logs', bearer(KEYS.viewer))).toBe('role')
  expect(kind('/comfy//assets/a.js')).toBe('no-credential')
  expect(kind('/comfy/#')).toBe('bad-target')
})

test('a login leads back below it, and whoever stands before it is shown the way', () => {
  expect(ask({ target: '/comfy/?workflow=1', headers: HTML })).toMatchObject({
    refusal: { as: 'login' },
    returnTo: '/comfy/?workflow=1',
  })
  expect(ask({ target: '/comfy/custom/reboot', headers: HTML })).toMatchObject({ returnTo: '/comfy/' })
  const arrival = { ...HTML, 'Sec-Fetch-Site': 'none', 'Sec-Fetch-Dest': 'document' }
  expect(ask({ target: `/comfy/?api_key=${KEYS.user}&x=1`, headers: arrival })).toMatchObject({
    page: 'key-arrival',
    returnTo: '/comfy/?x=1',
  })
  const key = `?x=1&api_key=${KEYS.user}&y=%22`
  for (const [target, returnTo] of [
    ['/', '/comfy/'],
    ['/comfy', '/comfy/'],
    ['/comfy?', '/comfy/'],
    [`/comfy${key}`, `/comfy/${key}`],
    [`/${key}`, `/comfy/${key}`],
    ['/?x=\u00e4', '/comfy/'],
  ] as const) {
    expect(ask({ target, headers: HTML })).toMatchObject({ page: 'to-base-path', returnTo })
    expect(ask({ target })).toMatchObject({ kind: 'refuse', refusal: { status: 404 } })
  }
  expect(ask({ target: '/', headers: ['Host', 'evil.example', 'Accept', 'text/html'] })).toMatchObject({
    refusal: { status: 421 },
  })
})

test('nothing is below it but what literally begins with it', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const below = belowBase(text, '/comfy')
      if (below !== undefined) expect(`/comfy${below}`).toBe(text)
      expect(below !== undefined).toBe(text.startsWith('/comfy/'))
      expect(belowBase(text, '')).toBe(text)
    }),
  )
})
