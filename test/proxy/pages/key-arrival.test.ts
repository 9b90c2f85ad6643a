import { expect, test } from 'vitest'
import { makeKey } from '../../../src/keys/format.ts'
import { account, BROWSER, cookieOf, facts, HOST, header, headers, house } from './support.ts'

const KEY = makeKey()
const KEYS = { [KEY]: { id: 'k1', label: 'alice' } }

const arrive = (site: string | undefined, options: { secret?: string; Cookie?: string } = {}) => {
  const it = house({ keys: KEYS })
  const secret = options.secret ?? KEY
  const headers = {
    ...BROWSER,
    ...(site === undefined ? {} : { 'Sec-Fetch-Site': site }),
    ...(options.Cookie === undefined ? {} : { Cookie: options.Cookie }),
  }
  const principal = { keyId: 'k1', label: 'alice', carrier: 'query' } as const
  const decision = { kind: 'page', page: 'key-arrival', returnTo: '/?x=1', account: account(principal) } as const
  const target = `/?api_key=${secret}&x=1`
  const answer = it.pages.answer(decision, { facts: facts({ target, headers }), body: Buffer.alloc(0) })
  return { ...it, answer }
}

test.each(['none', 'same-origin'])(
  'a key in a typed or own link (%s) becomes a session and a clean address',
  async (site) => {
    const { answer, sessions } = arrive(site)
    const page = await answer
    expect(page.status).toBe(200)
    expect(header(page, 'cache-control')).toBe('no-store')
    expect(header(page, 'set-cookie')).toMatch(/^comfy_auth_8189=comfys_/)
    expect(sessions.list()).toMatchObject([{ keyId: 'k1', remember: false }])
    expect(String(page.body)).toMatch(/data-mode="enter" data-next="\/\?x=1" data-token="comfyt_\w{43}"/)
    expect(String(page.body)).toContain('<noscript><meta http-equiv="refresh" content="0;url=/?x=1"></noscript>')
    expect(String(page.body)).not.toContain(KEY)
  },
)

test.each([undefined, 'cross-site', 'same-site', 'odd'])(
  'a key that a foreign page sent (%s) logs nobody in before they say so',
  async (site) => {
    const { answer, sessions, logInByForm } = arrive(site)
    const page = await answer
    expect(headers(page, 'set-cookie')).toEqual([])
    expect(sessions.list()).toEqual([])
    const html = String(page.body)
    expect(html).toContain('Log in as <b>alice</b>')
    const [, key] = /name="api_key" value="([^"]*)"/.exec(html) ?? []
    const [, next] = /name="next" value="([^"]*)"/.exec(html) ?? []
    expect([key, next]).toEqual([KEY, '/?x=1'])
    expect((await logInByForm({ api_key: key!, next: next! }, { Origin: `http://${HOST}` })).status).toBe(303)
    expect(sessions.list()).toHaveLength(1)
  },
)

test('who is logged in with that key already keeps the session', async () => {
  const it = house({ keys: KEYS })
  const Cookie = cookieOf(await it.logIn({ api_key: KEY }))
  const before = it.sessions.list()
  const decision = { kind: 'page', page: 'key-arrival', returnTo: '/', account: account({ keyId: 'k1' }) } as const
  const headers_ = { ...BROWSER, 'Sec-Fetch-Site': 'none', Cookie }
  const page = await it.pages.answer(decision, {
    facts: facts({ target: `/?api_key=${KEY}`, headers: headers_ }),
    body: Buffer.alloc(0),
  })
  expect(headers(page, 'set-cookie')).toEqual([])
  expect(String(page.body)).toContain('data-storage="kept"')
  expect(it.sessions.list()).toEqual(before)
})

test('a key beside a session of another key asks first, typed or not: a redirect looks typed too', async () => {
  const it = house({ keys: { ...KEYS, 'another key': { id: 'k2' } } })
  const another = cookieOf(await it.logIn({ api_key: 'another key' }))
  const own = cookieOf(await it.logIn({ api_key: KEY }))
  const before = it.sessions.list()
  const decision = { kind: 'page', page: 'key-arrival', returnTo: '/', account: account({ keyId: 'k1' }) } as const
  for (const site of ['none', 'same-origin', 'cross-site']) {
    for (const Cookie of [another, `${another}; ${own}`, `${own}; ${another}`]) {
      const page = await it.pages.answer(decision, {
        facts: facts({ target: `/?api_key=${KEY}`, headers: { ...BROWSER, 'Sec-Fetch-Site': site, Cookie } }),
        body: Buffer.alloc(0),
      })
      expect(headers(page, 'set-cookie')).toEqual([])
      expect(String(page.body)).toContain('Log in as <b>k1</b>')
      expect(it.sessions.list()).toEqual(before)
    }
  }
  await it.logInByForm({ api_key: KEY }, { Cookie: `${another}; ${own}`, Origin: `http://${HOST}` })
  expect(it.sessions.list()).toMatchObject([{ keyId: 'k1' }])
})
