import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { digestOf } from '../../src/keys/digest.ts'
import { requestHeaders } from '../../src/proxy/decide/request-headers.ts'
import { ask, makePolicy, makeRequest, NOW_MS } from '../support/policy.ts'

/** What is left of these headers, after the Host that is set anew. */
function left(headers: readonly string[], http2 = false, newBody?: string): string[] {
  const { facts, head } = makeRequest({ headers, http2 })
  const [host, value, ...rest] = requestHeaders(facts, head, makePolicy(), { index: false, newBody })
  expect([host, value]).toEqual(['Host', '127.0.0.1:8188'])
  return rest
}

/** `x-y` in any case. */
const anyCase = (name: string) =>
  fc
    .array(fc.boolean(), { minLength: name.length, maxLength: name.length })
    .map((upper) => [...name].map((char, i) => (upper[i] ? char.toUpperCase() : char)).join(''))
const oneOf = (names: string) => fc.constantFrom(...names.split(' ')).chain(anyCase)
const blanks = fc.constantFrom('', ' ', '\t', '  \t')
const latin1 = fc.string({ unit: fc.nat(0xff).map((code) => String.fromCharCode(code)), maxLength: 12 })
/** What Node's parser lets into a value. */
const value = latin1.map((text) => text.replace(/[^\t -~\u0080-\u00ff]/g, ''))

describe('of request headers', () => {
  const hopByHop = oneOf(
    'keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade content-length expect',
  )
  const carrier = oneOf('authorization x-api-key x_api_key x-api_key x_api-key')
  const spoof = oneOf(
    'forwarded x-forwarded-for x-forwarded-host x_forwarded_for x-real-ip x_real_ip comfy-user comfy_user',
  )
  const othersHost = oneOf('origin referer sec-fetch-site')
  const harmless = oneOf(
    'accept accept-encoding range user-agent x-a x-b x-forward cookies te-x content-type sec-fetch-dest',
  )
  const gone = fc.oneof(hopByHop, carrier, spoof, othersHost).map((name) => ({ name, stays: false }))
  const header = fc
    .tuple(fc.oneof(gone, { arbitrary: harmless.map((name) => ({ name, stays: true })), weight: 2 }), value)
    .map(([kind, text]) => ({ ...kind, text }))
  const member = fc.oneof(harmless, hopByHop, carrier, oneOf('close host connection content-type'), fc.constant(''))
  const connection = fc.array(fc.tuple(blanks, member, blanks), { maxLength: 5 })

  test('none that Connection names, hop-by-hop, of a credential or of another host goes up, and every other does byte for byte in its order', () => {
    fc.assert(
      fc.property(
        fc.array(header, { maxLength: 10 }),
        fc.array(fc.tuple(fc.nat(10), anyCase('connection'), connection), { maxLength: 3 }),
        fc.option(fc.constant('{}'), { nil: undefined }),
        (plain, connections, newBody) => {
          const headers = plain.map(({ name, text }) => [name, text])
          for (const [at, name, members] of connections) {
            headers.splice(at, 0, [name, members.map((parts) => parts.join('')).join(',')])
          }
          const named = connections.flatMap(([, , members]) => members.map(([, name]) => name.toLowerCase()))
          const expected = plain
            .filter(({ name, stays }) => stays && !named.includes(name.toLowerCase()))
            .filter(({ name }) => newBody === undefined || name.toLowerCase() !== 'content-type')
            .flatMap(({ name, text }) => [name, text])
          // Ours is set after that, so that no Connection takes it away
          if (newBody) expected.push('Content-Type', 'application/json')
          expect(left(headers.flat(), false, newBody)).toEqual(expected)
        },
      ),
      { numRuns: 2_000 },
    )
  })

  test('of a subprotocol list the key alone goes', () => {
    const offer = fc.oneof(
      fc.constantFrom('chat', 'v2.x', 'comfy-auth', 'x-comfy-auth.bearer.a'),
      fc.constant('comfy-auth.bearer.a2V5'),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(blanks, offer, blanks), { minLength: 1, maxLength: 5 }), (offers) => {
        const list = offers.map((parts) => parts.join('')).join(',')
        const others = offers.map(([, name]) => name).filter((name) => !name.startsWith('comfy-auth.bearer.'))
        const [name, sent] = left(['Sec-WebSocket-Protocol', list])
        expect(sent?.split(',').map((text) => text.trim()) ?? []).toEqual(others)
        expect(name === undefined).toBe(others.length === 0)
      }),
    )
  })
})

describe('of a Cookie header', () => {
  const name = fc.constantFrom('comfy_auth_8189', '__Host-comfy_auth_8189')
  const crumb = value.map((text) => text.replaceAll(';', '').replaceAll('comfys_', ''))
  const ours = fc.oneof(
    fc.tuple(blanks, name, blanks, fc.constant('='), crumb).map((parts) => parts.join('')),
    fc.tuple(blanks, name, blanks).map((parts) => parts.join('')),
    // Another comfy-auth's on this host
    fc
      .tuple(blanks, fc.constantFrom('comfy_auth_8190', 'x', ''), fc.constant('=comfys_'), crumb)
      .map((parts) => parts.join('')),
  )
  const othersName = fc.constantFrom(
    ...['a', 'COMFY_AUTH_8189', 'comfy_auth_81890', 'comfy_auth_818', '__host-comfy_auth_8189', 'x comfy_auth_8189'],
    ...['\u00a0comfy_auth_8189', 'comfy_auth_8189\u00a0', '\u00a0a', '"comfy_auth_8189"', ''],
  )
  const others = fc.oneof(
    fc
      .tuple(blanks, othersName, blanks, fc.constantFrom('=', '=comfy_auth_8189='), crumb)
      .map((parts) => parts.join('')),
    fc.constantFrom('', ' ', 'a', ' a b'),
  )
  const pair = fc.oneof(
    ours.map((text) => ({ text, stays: false })),
    others.map((text) => ({ text, stays: true })),
  )

  test('the pairs of our name go, and every other byte stays', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(pair, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 }),
        (fields) => {
          // Several fields are HTTP/2's way to send one
          const texts = fields.map((pairs) => pairs.map(({ text }) => text).join(';'))
          const headers = texts.flatMap((text, i) => [`x-${i}`, '', 'cookie', text])
          const all = fields.flatMap((pairs, i) =>
            pairs.map((one, j) => (i > 0 && j === 0 ? { ...one, text: ` ${one.text}` } : one)),
          )
          const rest = all.filter(({ stays }) => stays)
          const kept = rest.map(({ text }) => text).join(';')
          // A field's value begins with no blank
          const expected = rest.length === all.length ? kept : kept.replace(/^[ \t]+/, '')
          const isGone = expected === '' && rest.length < all.length
          const marks = texts.flatMap((_, i) => [`x-${i}`, ''])
          const sent = isGone ? marks : ['x-0', '', 'cookie', expected, ...marks.slice(2)]
          expect(left(headers, fields.length > 1)).toEqual(sent)
        },
      ),
      { numRuns: 2_000 },
    )
  })

  test('one live session is used, however often it stands there, and two are nobody', () => {
    /** Two of each key. */
    const live = ['a1', 'a2', 'u1', 'u2'].map((id) => ({
      keyId: id.startsWith('a') ? 'admin-id' : 'user-id',
      cookie: `comfys_${id.repeat(20)}`,
      token: `comfyt_${id.repeat(20)}`,
    }))
    const sessions = Object.fromEntries(
      live.map(({ cookie, token, keyId }) => [
        cookie,
        { id: cookie, keyId, tokenDigest: digestOf(token), endsMs: NOW_MS + 1 },
      ]),
    )
    const mine = fc.constantFrom(...live)
    const crumbs = fc.array(
      fc.oneof(
        mine.map(({ cookie }) => `comfy_auth_8189=${cookie}`),
        fc.constantFrom('comfy_auth_8189=comfys_dead', 'comfy_auth_8189=', 'a=b', `comfy_auth_8190=${live[0]!.cookie}`),
      ),
      { maxLength: 5 },
    )
    const bearer = fc.option(
      fc.oneof(
        mine.map(({ token }) => token),
        fc.constant('comfyt_dead'),
      ),
    )
    fc.assert(
      fc.property(crumbs, bearer, (pairs, token) => {
        const headers = ['Origin', 'http://127.0.0.1:8189', 'Cookie', pairs.join('; ')]
        if (token !== null) headers.push('Authorization', `Bearer ${token}`)
        const shown = live.filter(({ cookie }) => pairs.includes(`comfy_auth_8189=${cookie}`))
        const one = shown.length === 1 ? shown[0] : undefined
        const isBelied = live.some((session) => session.token === token && session !== one)
        const { account, kind } = ask({ target: '/queue', headers }, { sessions })
        expect(account.principal?.keyId).toBe(isBelied ? undefined : one?.keyId)
        expect(kind).toBe(account.principal ? 'forward' : 'refuse')
      }),
      { numRuns: 2_000 },
    )
  })
})
