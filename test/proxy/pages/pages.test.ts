import { expect, test } from 'vitest'
import { digestOf } from '../../../src/keys/digest.ts'
import { account, BROWSER, cookieOf, facts, header, headers, house, json } from './support.ts'

const KEYS = { 'the-key-of-alice': { id: 'k1' } }
const logoutPost = { kind: 'page', page: 'logout-post', returnTo: '/' } as const

test('logout ends the session on the server, tells who listens, and takes the cookie away', async () => {
  const { pages, sessions, logIn } = house({ keys: KEYS })
  const Cookie = cookieOf(await logIn({ api_key: 'the-key-of-alice' }))
  const { id } = sessions.list()[0]!
  await logIn({ api_key: 'the-key-of-alice' }) // in another browser
  const ended: string[] = []
  sessions.onEnd((session) => ended.push(session.id))
  const request = {
    facts: facts({ method: 'POST', headers: { Cookie, Accept: 'application/json' } }),
    body: Buffer.alloc(0),
  }
  const answer = await pages.answer({ ...logoutPost, account: account({ sessionId: id }) }, request)
  expect(json(answer)).toEqual({ status: 'logged-out' })
  expect(header(answer, 'set-cookie')).toBe('comfy_auth_8189=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0')
  expect(ended).toEqual([id])
  expect(sessions.list()).toHaveLength(1)
  expect(answer.event).toEqual({ kind: 'logout', sessionIds: ended })
})

test('logout ends both sessions where another port tossed one in, and the one whose token came', async () => {
  const { pages, sessions, logIn } = house({ keys: KEYS })
  const enter = async () => logIn({ api_key: 'the-key-of-alice' })
  const Cookie = `${cookieOf(await enter())}; ${cookieOf(await enter())}`
  const headers = { Cookie, Authorization: `Bearer ${json(await enter()).token}` }
  const elsewhere = cookieOf(await enter())
  await pages.answer(
    { ...logoutPost, account: account() },
    { facts: facts({ method: 'POST', headers }), body: Buffer.alloc(0) },
  )
  expect(sessions.list().map(({ cookieDigest }) => cookieDigest)).toEqual([digestOf(elsewhere.split('=')[1]!)])
})

test('without a script the way out leads to the login page, and logging out twice is no error', async () => {
  const { pages } = house()
  const request = { facts: facts({ method: 'POST', headers: BROWSER }), body: Buffer.alloc(0) }
  const answer = await pages.answer({ ...logoutPost, account: account() }, request)
  expect([answer.status, header(answer, 'location')]).toEqual([303, '/auth_login.html?notice=logged-out'])
})

const STATS = {
  system: {},
  devices: [{ name: 'mps', type: 'mps', index: null, vram_total: 68719476736, vram_free: 68719476736 }],
}
const healthOf = ({ pages }: ReturnType<typeof house>) =>
  pages.answer(
    { kind: 'page', page: 'health', returnTo: '/', account: account() },
    { facts: facts(), body: Buffer.alloc(0) },
  )

test('/health is the guide’s document', async () => {
  const read = async () => ({ systemStats: STATS, prompt: { exec_info: { queue_remaining: 0 } } })
  const answer = await healthOf(house({ readUpstream: read }))
  expect(answer.status).toBe(200)
  expect(json(answer)).toEqual({
    status: 'ok',
    queue: { pending: 0, running: 0 },
    device: { name: 'mps', type: 'mps' },
    vram: { total: 68719476736, free: 68719476736 },
  })
})

test('/health of an upstream that is down is 503 and says so in the same shape', async () => {
  const answer = await healthOf(house({ readUpstream: async () => Promise.reject(new Error('ECONNREFUSED')) }))
  expect(answer.status).toBe(503)
  expect(json(answer)).toMatchObject({ status: 'unavailable', queue: { pending: null, running: null } })
})

test('however many ask for /health, the upstream is asked once at a time and once a second', async () => {
  let asked = 0
  let now = 0
  let release: () => void = () => {}
  const it = house({
    nowMs: () => now,
    readUpstream: () => {
      asked++
      return new Promise((resolve) => {
        release = () => resolve({ systemStats: STATS, prompt: {} })
      })
    },
  })
  const many = Promise.all(Array.from({ length: 100 }, () => healthOf(it)))
  release()
  expect((await many).every(({ status }) => status === 200)).toBe(true)
  now = 999
  await healthOf(it)
  expect(asked).toBe(1)
  now = 1_000
  const next = healthOf(it)
  release()
  await next
  expect(asked).toBe(2)
})

test('while ComfyUI starts a browser gets a page that comes back, a program JSON with Retry-After', () => {
  const { pages } = house()
  const page = pages.waiting(facts({ headers: BROWSER }))
  expect([page.status, header(page, 'content-type')]).toEqual([503, 'text/html; charset=utf-8'])
  expect(String(page.body)).toContain('<noscript><meta http-equiv="refresh" content="5"></noscript>')
  expect(header(page, 'content-security-policy')).toMatch(/script-src 'sha256-/)
  const answer = pages.waiting(facts({ headers: { Accept: '*/*' } }))
  expect([answer.status, header(answer, 'retry-after')]).toEqual([503, '5'])
  expect(json(answer)).toMatchObject({ error: 'Service Unavailable' })
})

test.each([
  ['cut', 502, 'Bad Gateway'],
  ['timeout', 504, 'Gateway Timeout'],
] as const)('an upstream that fails (%s) is %i, in JSON or as a page', (fault, status, error) => {
  const { pages } = house()
  expect(json(pages.badGateway(facts(), fault))).toMatchObject({ error, message: expect.stringContaining('ComfyUI') })
  const page = pages.badGateway(facts({ headers: BROWSER }), fault)
  expect([page.status, header(page, 'content-type')]).toEqual([status, 'text/html; charset=utf-8'])
  expect(String(page.body)).not.toContain('<script>')
})

test('a preflight is answered for the named origin alone, and never with credentials', async () => {
  const { pages } = house({ policy: { corsOrigin: 'https://app.example' } as never })
  const ask = (Origin: string) =>
    pages.answer(
      { kind: 'page', page: 'preflight', returnTo: '/', account: account() },
      {
        facts: facts({ method: 'OPTIONS', headers: { Origin, 'Access-Control-Request-Method': 'POST' } }),
        body: Buffer.alloc(0),
      },
    )
  const answer = await ask('https://app.example')
  expect([answer.status, answer.body]).toEqual([204, ''])
  expect(header(answer, 'access-control-allow-origin')).toBe('https://app.example')
  expect(headers(answer, 'access-control-allow-credentials')).toEqual([])
  expect(headers(await ask('https://evil.example'), 'access-control-allow-origin')).toEqual([])
})
