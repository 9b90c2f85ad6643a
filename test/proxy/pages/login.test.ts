import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { digestOf } from '../../../src/keys/digest.ts'
import { makeKey } from '../../../src/keys/format.ts'
import { account, BROWSER, cookieOf, facts, header, headers, house, json } from './support.ts'

const KEY = makeKey()
const KEYS = { [KEY]: { id: 'k1', label: 'alice' }, 'free-form-key': { id: 'k2' } }

test('the page allows its own style and script by their hashes, and nothing else', async () => {
  const answer = await house().get('/auth_login.html')
  const page = String(answer.body)
  const policy = header(answer, 'content-security-policy')!
  for (const kind of ['script', 'style']) {
    const inline = [...page.matchAll(new RegExp(`<${kind}>([\\s\\S]*?)</${kind}>`, 'g'))].map(([, text]) => text!)
    expect(inline).toHaveLength(1)
    const hash = createHash('sha256').update(inline[0]!).digest('base64')
    expect(policy).toContain(`${kind}-src 'sha256-${hash}';`.replace(kind === 'style' ? ';' : '', ''))
  }
  expect(policy).toContain("default-src 'none'")
  expect(policy).toContain("frame-ancestors 'none'")
  expect(policy).not.toContain('unsafe')
  expect(page).not.toMatch(/\son\w+=|style="|javascript:/)
  expect(page.match(/(?:src|href)="(?!data:|\/|#)[^"]*"/g)).toBeNull()
})

test('the page is under 20 KB in all, and kept by nobody', async () => {
  const answer = await house().get('/auth_login.html')
  expect(Buffer.byteLength(String(answer.body))).toBeLessThan(20_000)
  expect(header(answer, 'cache-control')).toBe('no-store')
  expect(header(answer, 'x-content-type-options')).toBe('nosniff')
  expect(header(answer, 'referrer-policy')).toBe('same-origin')
})

test('what the query says is shown escaped, and only a safe place is kept', async () => {
  const page = async (next: string) =>
    String((await house().get(`/auth_login.html?next=${encodeURIComponent(next)}`)).body)
  expect(await page('/?a=1&b=2')).toContain('<input type="hidden" name="next" value="/?a=1&amp;b=2">')
  for (const trick of ['//evil.example', '/"><script>alert(1)</script>', '/\\evil.example']) {
    const html = await page(trick)
    expect(html).toContain('<input type="hidden" name="next" value="/">')
    expect(html).not.toContain('evil')
    expect(html).not.toContain('alert(1)')
  }
})

test('a right key becomes a session of that key: an HttpOnly Strict cookie, and a token for scripts', async () => {
  const { logIn, sessions } = house({ keys: KEYS })
  const answer = await logIn({ api_key: ` ${KEY}\n`, next: '/?x=1#y' })
  expect(answer.status).toBe(200)
  const { token, ...rest } = json(answer)
  expect(rest).toEqual({ status: 'ok', storage: 'session', next: '/?x=1#y' })
  const session = sessions.findByCookieDigest(digestOf(cookieOf(answer).split('=')[1]!))
  expect(session).toMatchObject({ keyId: 'k1', remember: false, tokenDigest: digestOf(String(token)) })
  expect(header(answer, 'set-cookie')).toMatch(/^comfy_auth_8189=comfys_\w{43}; Path=\/; HttpOnly; SameSite=Strict$/)
  expect(header(answer, 'cache-control')).toBe('no-store')
  expect(answer.event).toEqual({ kind: 'login', keyId: 'k1', label: 'alice', sessionId: session?.id })
  expect(String(answer.body)).not.toContain(KEY)
})

test('Remember me makes the cookie outlive the browser, and the token go where it does too', async () => {
  const { logIn, sessions } = house({ keys: KEYS })
  const answer = await logIn({ api_key: KEY, remember: true })
  expect(header(answer, 'set-cookie')).toContain('; Max-Age=2592000')
  expect(json(answer).storage).toBe('local')
  expect(sessions.list()[0]?.remember).toBe(true)
})

test('over TLS the cookie is Secure and bound to the host', async () => {
  const answer = await house({ keys: KEYS }).logInByForm({ api_key: KEY }, {}, true)
  expect(header(answer, 'set-cookie')).toMatch(
    /^__Host-comfy_auth_8189=\w+; Path=\/; HttpOnly; SameSite=Strict; Secure$/,
  )
})

test('--browser-storage off hands no token to scripts', async () => {
  const { logIn, sessions } = house({ keys: KEYS, storage: 'off' })
  expect(json(await logIn({ api_key: KEY, remember: true }))).toEqual({ status: 'ok', storage: 'off', next: '/' })
  expect(sessions.list()).toHaveLength(1)
})

test('without a script the form logs in and returns, with no token anywhere', async () => {
  const answer = await house({ keys: KEYS }).logInByForm({ api_key: KEY, remember: '1', next: '/?x=1' })
  expect(answer.status).toBe(303)
  expect(header(answer, 'location')).toBe('/?x=1')
  expect(header(answer, 'set-cookie')).toContain('Max-Age')
  expect(answer.headers.join() + answer.body).not.toContain('comfyt_')
})

test('no login returns to another place than ours', async () => {
  const { logInByForm } = house({ keys: KEYS })
  const answer = await logInByForm({ api_key: KEY, next: '//evil.example' })
  expect(header(answer, 'location')).toBe('/')
})

test('a login ends the session that the browser had', async () => {
  const { logIn, sessions } = house({ keys: KEYS })
  const first = await logIn({ api_key: KEY })
  const old = sessions.list()[0]!
  await logIn({ api_key: KEY }, { Cookie: `a=b; ${cookieOf(first)}` })
  expect(sessions.list().map(({ id }) => id)).not.toContain(old.id)
  expect(sessions.list()).toHaveLength(1)
})

test('a login ends the session whose token the browser kept, though another port put its cookie over ours', async () => {
  const { logIn, sessions } = house({ keys: KEYS })
  const { token } = json(await logIn({ api_key: KEY }))
  const tossed = await logIn({ api_key: 'free-form-key' })
  const headers = { Cookie: cookieOf(tossed), Authorization: `Bearer ${token}` }
  await logIn({ api_key: KEY }, headers)
  expect(sessions.list().map(({ keyId }) => keyId)).toEqual(['k1'])
  // No session, no end of one: a wrong key ends nothing
  await logIn({ api_key: 'not-the-key' }, { Cookie: cookieOf(await logIn({ api_key: KEY })) })
  expect(sessions.list()).toHaveLength(2)
})

test('a token that was carried away comes without a cookie, and ends nothing', async () => {
  const { logIn, sessions } = house({ keys: KEYS })
  const { token } = json(await logIn({ api_key: KEY }))
  await logIn({ api_key: 'free-form-key' }, { Authorization: `Bearer ${token}` })
  expect(sessions.list().map(({ keyId }) => keyId)).toContain('k1')
})

test('where two cookies of our name came to a login, it takes the other away and sets ours last', async () => {
  const { logIn } = house({ keys: KEYS })
  const first = cookieOf(await logIn({ api_key: KEY }))
  const Cookie = `${first}; ${cookieOf(await logIn({ api_key: KEY }))}`
  const set = headers(await logIn({ api_key: KEY }, { Cookie }), 'set-cookie')
  expect(set.slice(0, -1)).toEqual([
    'comfy_auth_8189=; Path=/; Domain=comfy.example; Max-Age=0',
    'comfy_auth_8189=; Path=/auth_login.html; Max-Age=0',
    'comfy_auth_8189=; Path=/auth_login.html; Domain=comfy.example; Max-Age=0',
  ])
  expect(set.at(-1)).toMatch(/=comfys_\w{43}; Path=\/; HttpOnly; SameSite=Strict$/)
  expect(headers(await logIn({ api_key: KEY }, { Cookie: first }), 'set-cookie')).toHaveLength(1)
})

test('an address that has to wait reads so on a fresh page, and may try a key of our own format', async () => {
  const { get, logIn } = house({ keys: KEYS })
  const calm = String((await get('/auth_login.html')).body)
  expect(calm).toMatch(/<p class="error" id="slow" hidden>/)
  for (let i = 0; i < 10; i++) await logIn({ api_key: `guess ${i}` })
  const page = await get('/auth_login.html')
  expect([page.status, header(page, 'retry-after')]).toEqual([200, undefined])
  expect(String(page.body)).toMatch(/<p class="error" id="slow">.*any other has to wait <b>30 seconds<\/b>/)
  expect(String(page.body)).toContain('data-mode="probe"')
  expect(String(page.body)).toContain('<button type="submit" class="go">Log in')
  expect((await logIn({ api_key: KEY })).status).toBe(200)
})

test('?notice=replaced says that another login took the place of this one, and stands still', async () => {
  const page = String((await house().get('/auth_login.html?notice=replaced&next=%2Fqueue')).body)
  expect(page).toMatch(/role="alert">Another login took the place of yours in this browser/)
  expect(page).toContain('data-mode="still" data-next="/queue"')
})

test('a wrong key is 401 in the same page, with the way kept, and is not repeated', async () => {
  const { logIn, logInByForm, sessions } = house({ keys: KEYS })
  const answer = await logInByForm({ api_key: 'not-the-key', remember: '1', next: '/?x=1' })
  expect(answer.status).toBe(401)
  expect(header(answer, 'www-authenticate')).toBe('Bearer realm="comfy-auth"')
  const page = String(answer.body)
  expect(page).toMatch(/role="alert">This key was not accepted/)
  expect(page).toContain('name="next" value="/?x=1"')
  expect(page).toContain('value="1" checked>')
  expect(page).not.toContain('not-the-key')
  expect(page).toContain('data-mode="still"')
  const script = await logIn({ api_key: 'not-the-key' })
  expect(script.status).toBe(401)
  expect(json(script)).toEqual({ error: 'Unauthorized', message: expect.stringContaining('was not accepted') })
  expect(script.event).toEqual({ kind: 'login-failed', reason: 'unknown' })
  expect(sessions.list()).toEqual([])
})

test.each([
  ['revoked', { revoked: true }],
  ['expired', { expiresMs: 999_999 }],
])('a %s key is answered like an unknown one, and does not count as a guess', async (_, dead) => {
  const { logIn, throttle } = house({ keys: { [KEY]: dead } })
  for (let i = 0; i < 20; i++) {
    const answer = await logIn({ api_key: KEY })
    expect(answer.status).toBe(401)
    expect(json(answer).message).toMatch(/^This key was not accepted/)
    expect(answer.event).toEqual({ kind: 'login-failed', reason: 'dead' })
  }
  expect(throttle.size).toBe(0)
})

test('ten wrong keys and the next is 429 with the wait, for a guessable right one too', async () => {
  const { logIn, logInByForm } = house({ keys: KEYS })
  for (let i = 0; i < 10; i++) expect((await logIn({ api_key: `guess ${i}` })).status).toBe(401)
  const answer = await logIn({ api_key: 'free-form-key' })
  expect(answer.status).toBe(429)
  expect(header(answer, 'retry-after')).toBe('30')
  expect(json(answer)).toEqual({
    error: 'Too Many Requests',
    message: expect.stringContaining('Try again in 30 seconds'),
  })
  const page = await logInByForm({ api_key: 'free-form-key' })
  expect(page.status).toBe(429)
  expect(String(page.body)).toContain('data-wait="30"')
})

test('a right key of our own making is never made to wait', async () => {
  const { logIn } = house({ keys: KEYS })
  for (let i = 0; i < 12; i++) await logIn({ api_key: `guess ${i}` })
  expect((await logIn({ api_key: KEY })).status).toBe(200)
})

test.each([['{'], ['[]'], ['null'], ['{"api_key":{}}'], ['{"api_key":""}'], ['{"__proto__":{"api_key":"x"}}']])(
  'a body of %s is no key',
  async (body) => {
    const { pages } = house({ keys: KEYS })
    const answer = await pages.answer(
      { kind: 'page', page: 'login-post', returnTo: '/', account: account() },
      {
        facts: facts({ method: 'POST', headers: { 'Content-Type': 'application/json' } }),
        body: Buffer.from(body),
      },
    )
    expect(answer.status).toBe(400)
    expect(json(answer).message).toBe('Enter your API key.')
  },
)

test('under --no-auth there is nothing to log in to', async () => {
  const { get } = house({ policy: { auth: 'none' } as never })
  const answer = await get('/auth_login.html?next=%2F%3Fx')
  expect([answer.status, header(answer, 'location')]).toEqual([303, '/?x'])
})

test.each([
  [{}, 'logout-own'],
  [{ 'Sec-Fetch-Site': 'none' }, 'logout-now'],
  [{ 'Sec-Fetch-Site': 'same-origin' }, 'logout-now'],
  [{ 'Sec-Fetch-Site': 'same-site' }, 'logout-ask'],
  [{ 'Sec-Fetch-Site': 'cross-site' }, 'logout-ask'],
])('?logout=true with %j: %s, and nothing happens by the visit alone', async (extra, mode) => {
  const { get, logIn, sessions } = house({ keys: KEYS })
  const Cookie = cookieOf(await logIn({ api_key: KEY }))
  const answer = await get('/auth_login.html?logout=true', { ...BROWSER, ...extra, Cookie })
  expect(String(answer.body)).toContain(`data-mode="${mode}"`)
  expect(String(answer.body)).toContain('<form class="node" id="logout" method="post" action="/auth_logout">')
  expect(headers(answer, 'set-cookie')).toEqual([])
  expect(sessions.list()).toHaveLength(1)
})

test('below --base-path links, forms and cookies stay there; over TLS the cookie’s name demands the root', async () => {
  const { get, logInByForm } = house({ keys: { 'the right key': {} }, policy: { basePath: '/comfy' } })
  const page = String((await get('/auth_login.html?next=/comfy/?a=b')).body)
  expect(page).toContain('data-base="/comfy"')
  expect(page).toContain('data-next="/comfy/?a=b"')
  expect(page).toContain('action="/comfy/auth_login.html"')
  expect(String((await get('/auth_login.html?next=/?a=b')).body)).toContain('data-next="/comfy/"')
  const fields = { api_key: 'the right key', next: '/comfy/?a=b' }
  const answer = await logInByForm(fields)
  expect(header(answer, 'location')).toBe('/comfy/?a=b')
  expect(header(answer, 'set-cookie')).toMatch(
    /^comfy_auth_8189=comfys_\w+; Path=\/comfy\/; HttpOnly; SameSite=Strict$/,
  )
  expect(header(await logInByForm(fields, {}, true), 'set-cookie')).toMatch(
    /^__Host-\S+; Path=\/; HttpOnly; SameSite=Strict; Secure$/,
  )
})

test('who logs in or out is told once it stands on disk: a kill -9 behind the answer undoes neither', async () => {
  const { pages, sessions, logIn } = house({ keys: { 'a key': { id: 'k1' } } })
  const order: string[] = []
  const { saved } = sessions
  Object.assign(sessions, { saved: () => saved().then(() => void order.push('saved')) })
  await logIn({ api_key: 'a key' }).then(() => order.push('in'))
  const decision = { kind: 'page', page: 'logout-post', returnTo: '/', account: account() } as const
  await pages.answer(decision, { facts: facts({ method: 'POST' }), body: Buffer.alloc(0) })
  order.push('out')
  expect(order).toEqual(['saved', 'in', 'saved', 'out'])
})
