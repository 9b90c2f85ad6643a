import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ROLES, type Role } from '../../src/keys/roles.ts'
import { ROUTE_CASES } from '../support/comfyui-routes.ts'
import { ask, bearer, KEYS, type PolicyOverrides, SESSIONS, UNKNOWN_KEY } from '../support/policy.ts'

const OURS = 'http://127.0.0.1:8189'
const base64 = (text: string) => Buffer.from(text).toString('base64')

/** What becomes of a request: who it is, or the status of its refusal. */
function outcome(facts: Parameters<typeof ask>[0], overrides: PolicyOverrides = {}): string {
  const decision = ask(facts, overrides)
  if (decision.kind === 'refuse') return String(decision.refusal.status)
  return decision.account.principal?.keyId ?? decision.kind
}

describe('carriers', () => {
  /** Each can carry one secret; the query and the headers are put together below. */
  const CARRIERS = ['bearer', 'x-api-key', 'subprotocol', 'api_key', 'token'] as const
  const secret = fc.constantFrom(...ROLES.map((role) => KEYS[role]), UNKNOWN_KEY, `${KEYS.admin}x`, '')
  const carried = fc.record(Object.fromEntries(CARRIERS.map((name) => [name, fc.option(secret)])))

  test('name one principal where all that lives in them is one key, whatever else they hold', () => {
    fc.assert(
      fc.property(carried, fc.option(fc.constantFrom(...ROLES)), (secrets, session) => {
        const headers: string[] = []
        const query: string[] = []
        for (const [carrier, value] of Object.entries(secrets)) {
          if (value === null) continue
          if (carrier === 'bearer') headers.push('Authorization', `Bearer ${value}`)
          else if (carrier === 'x-api-key') headers.push('X-API-Key', value)
          else if (carrier === 'subprotocol')
            headers.push('Sec-WebSocket-Protocol', `comfy-auth.bearer.${base64(value).replace(/=+$/, '')}`)
          else query.push(`${carrier}=${value}`)
        }
        if (session) headers.push('Cookie', `a=b; comfy_auth_8189=${SESSIONS[session].cookie}`, 'Origin', OURS)
        const live = new Set(
          Object.values(secrets).flatMap((value) => ROLES.filter((role) => KEYS[role] === value) as Role[]),
        )
        if (session) live.add(session)
        const expected = live.size === 0 ? '401' : live.size > 1 ? '400' : `${[...live][0]}-id`
        expect(outcome({ target: `/queue?${query.join('&')}`, headers })).toBe(expected)
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('the client address', () => {
  const trusted = fc.constantFrom('10.0.0.1', '::ffff:10.0.0.1', '10.0.0.1:80', '[::ffff:10.0.0.1]:443')
  const policy: PolicyOverrides = { isTrustedProxy: (address) => address === '10.0.0.1' }
  const clientOf = (forwarded: string, peer = '10.0.0.1') =>
    ask({ peer, headers: ['X-Forwarded-For', forwarded] }, policy).account.client

  test('is the last hop that no trusted proxy is, in whatever spelling, whatever stands before it', () => {
    const v4 = fc.ipV4().filter((address) => address !== '10.0.0.1')
    const spelt = fc.constantFrom('%', '%:4711', '::ffff:%', '[::ffff:%]', '[::ffff:%]:80', ' % ')
    fc.assert(
      fc.property(
        fc.string({ maxLength: 30 }),
        v4,
        spelt,
        fc.array(trusted, { maxLength: 4 }),
        (said, address, how, hops) => {
          expect(clientOf([said, how.replace('%', address), ...hops].join(','))).toBe(address)
        },
      ),
    )
  })

  test('of IPv6 is one for all that one customer holds', () => {
    const group = fc.nat(65_535).map((value) => value.toString(16))
    const half = fc.tuple(group, group, group, group)
    fc.assert(
      fc.property(half, half, half, (network, one, other) => {
        // An IPv4-mapped address is an IPv4 client
        fc.pre(network.some((part) => part !== '0'))
        const at = (host: readonly string[]) => clientOf([...network, ...host].join(':'))
        expect(at(one)).toBe(at(other))
      }),
    )
  })

  test('is the socket’s, whatever is said, where that is no trusted proxy', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (said) => {
        expect(clientOf(said, '192.0.2.7')).toBe('192.0.2.7')
      }),
    )
  })
})

describe('the target', () => {
  const place = fc.constantFrom(...ROUTE_CASES.filter(({ target }) => /^[a-z0-9/_.-]+$/i.test(target)))
  const role = fc.constantFrom(...ROLES)

  test('is the same to every rule, whichever of its letters are encoded', () => {
    fc.assert(
      fc.property(place, role, fc.infiniteStream(fc.boolean()), ({ method, target }, who, coins) => {
        const encoded = [...target]
          .map((char) => (char !== '/' && coins.next().value ? `%${char.charCodeAt(0).toString(16)}` : char))
          .join('')
        const asked = (path: string) => outcome({ method, target: path, headers: bearer(KEYS[who]) })
        expect(asked(encoded), encoded).toBe(asked(target))
        expect(outcome({ method, target: encoded }), encoded).toBe(outcome({ method, target }))
      }),
      { numRuns: 2_000 },
    )
  })

  test('that an owner opens or gives to a role opens nothing that is spelt in doubt', () => {
    const piece = fc.constantFrom(...'/ // . .. %2e %2f %5c ; %3b %25 a b my-node my-nodes api queue x.js %'.split(' '))
    const path = fc.array(piece, { maxLength: 6 }).map((pieces) => `/my-node/${pieces.join('')}`)
    const owner = {
      exemptPaths: ['/my-node/*'],
      extraRoutes: [{ role: 'viewer', method: 'POST', path: '/my-node/*' }],
    } as const
    fc.assert(
      fc.property(path, (target) => {
        // A dot may be encoded: it is one whoever reads it
        const read = target.replaceAll('%2e', '.')
        const inside = /^\/my-node\/(?:[\w.-]+\/)*[\w.-]*$/.test(read) && !/\/\.\.?(?:\/|$)/.test(read)
        expect(outcome({ target }, owner) === 'forward', target).toBe(inside)
        const post = { method: 'POST', target, headers: bearer(KEYS.viewer) }
        expect(outcome(post, owner) === 'viewer-id', target).toBe(inside)
      }),
      { numRuns: 2_000 },
    )
  })
})
