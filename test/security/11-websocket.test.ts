import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decide } from '../../src/proxy/decide/decide.ts'
import { bearer, type FactsOverrides, KEYS, makeFacts, makePolicy, type PolicyOverrides } from '../support/policy.ts'

const FRESH = 'f'.repeat(32)

function ask(facts: FactsOverrides = {}, policy: PolicyOverrides = {}) {
  const request = { target: '/ws', upgrade: true, freshClientId: FRESH, headers: bearer(KEYS.user), ...facts }
  return decide(makeFacts(request), makePolicy(policy))
}

/** The clientId and the target that goes up, or the refusal. */
function clientId(target: string, policy: PolicyOverrides = {}) {
  const decision = ask({ target }, policy)
  if (decision.kind === 'refuse') return `${decision.refusal.status} ${decision.refusal.reason}`
  return decision.kind === 'forward' ? [decision.socket?.clientId, decision.target] : decision.kind
}

test('a refused Upgrade is a refusal before anything is dialled, in JSON', () => {
  const page = { Accept: 'text/html', 'Sec-Fetch-Dest': 'document' }
  expect(ask({ headers: page })).toMatchObject({
    kind: 'refuse',
    refusal: { status: 401, as: 'json', challenge: 'bearer' },
  })
  expect(ask({ headers: {} })).toMatchObject({ kind: 'refuse', refusal: { status: 401, challenge: 'bearer-basic' } })
})

test('a request that is no Upgrade has no socket, and loses the header', () => {
  const decision = ask({
    upgrade: false,
    headers: { ...bearer(KEYS.user), Upgrade: 'websocket', Connection: 'Upgrade' },
  })
  expect(decision).toMatchObject({
    kind: 'forward',
    target: '/ws',
    socket: undefined,
    headers: ['Host', '127.0.0.1:8188'],
  })
})

describe('the clientId is read as ComfyUI reads it', () => {
  test.each([
    ['/ws?clientId=abc', 'abc'],
    ['/api/ws?clientId=abc', 'abc'],
    ['/ws?x=1&clientId=abc&y=2', 'abc'],
    ['/ws?clientId=first&clientId=second', 'first'],
    ['/ws?client%49d=abc', 'abc'],
    ['/ws?clientId=a%20b', 'a b'],
    ['/ws?clientId=a+b', 'a b'],
    ['/ws?clientId=%C3%BC', 'ü'],
    ['/ws?clientId=\u00c3\u00bc', 'ü'],
    ['/ws?clientId=a=b', 'a=b'],
    ['/ws?clientId=%zz', '%zz'],
    ['/ws?clientid=no&clientId=yes', 'yes'],
  ])('%s', (target, id) => {
    expect(clientId(target)).toEqual([id, target])
  })

  test.each([
    ['/ws', `/ws?clientId=${FRESH}`],
    ['/ws?', `/ws?clientId=${FRESH}`],
    ['/ws?x=1', `/ws?clientId=${FRESH}&x=1`],
    ['/ws?clientId=', `/ws?clientId=${FRESH}&clientId=`],
    ['/ws?clientId', `/ws?clientId=${FRESH}&clientId`],
    ['/ws?clientId=&clientId=abc', `/ws?clientId=${FRESH}&clientId=&clientId=abc`],
    ['/ws?clientid=abc', `/ws?clientId=${FRESH}&clientid=abc`],
    [`/ws?token=${'x'.repeat(9)}`, `/ws?clientId=${FRESH}`],
  ])('%s has none and gets one of our making', (target, up) => {
    expect(clientId(target)).toEqual([FRESH, up])
  })

  test('what is no UTF-8 is 400: two readers could differ', () => {
    expect(clientId('/ws?clientId=%ff')).toBe('400 bad-target')
    expect(clientId('/ws?clientId=\u00ff')).toBe('400 bad-target')
  })

  test('as whoever parses a form reads it', () => {
    const piece = fc.constantFrom('clientId', 'client%49d', 'x', '=', '&', '+', '%20', 'a', '', '%C3%BC')
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const query = pieces.join('')
        const expected = new URLSearchParams(query).get('clientId') || FRESH
        expect(clientId(`/ws?${query}`)).toMatchObject([expected, expect.anything()])
      }),
    )
  })
})

describe('a clientId', () => {
  const heldBy = (owner: string) => ({
    clientIdOwner: (id: string) => (id === 'taken' ? owner : undefined),
  })

  test('belongs to the principal that used it first', () => {
    expect(clientId('/ws?clientId=taken', heldBy('key:admin-id'))).toBe('403 foreign-client-id')
    expect(clientId('/ws?clientId=%74aken', heldBy('key:admin-id'))).toBe('403 foreign-client-id')
    expect(clientId('/ws?clientId=taken', heldBy('key:user-id'))).toEqual(['taken', '/ws?clientId=taken'])
    expect(clientId('/ws?clientId=free', heldBy('key:admin-id'))).toEqual(['free', '/ws?clientId=free'])
  })

  test("is asked for at the request's own time", () => {
    const asked: unknown[] = []
    const clientIdOwner = (id: string, nowMs: number) => {
      asked.push([id, nowMs])
      return undefined
    }
    ask(
      { target: '/ws?clientId=a', nowMs: 7 },
      {
        clientIdOwner,
        findKey: () => ({ id: 'k', label: undefined, role: 'user', expiresMs: undefined, revoked: false }),
      },
    )
    expect(asked).toEqual([['a', 7]])
  })

  test("of a key is no stranger's; strangers are one an address, and keep no key from an id", () => {
    const open = { exemptPaths: ['/ws'] }
    const stranger = (owner: string) => {
      const decision = ask(
        { target: '/ws?clientId=taken', headers: {}, peer: '192.0.2.7' },
        { ...open, ...heldBy(owner) },
      )
      return decision.kind
    }
    expect(stranger('key:admin-id')).toBe('refuse')
    expect(stranger('anonymous:192.0.2.8')).toBe('refuse')
    expect(stranger('anonymous:192.0.2.7')).toBe('forward')
    expect(clientId('/ws?clientId=taken', heldBy('anonymous:192.0.2.8'))).toEqual(['taken', '/ws?clientId=taken'])
  })

  test('is held under --no-auth by client address', () => {
    const policy = { auth: 'none', ...heldBy('anonymous:192.0.2.8') } as const
    const from = (peer: string) => ask({ target: '/ws?clientId=taken', headers: {}, peer }, policy).kind
    expect(from('192.0.2.8')).toBe('forward')
    expect(from('192.0.2.7')).toBe('refuse')
  })

  test("on a custom node's socket is held too, but never made", () => {
    const admin = { headers: bearer(KEYS.admin) }
    expect(ask({ ...admin, target: '/custom/ws?clientId=taken' }, heldBy('key:user-id')).kind).toBe('refuse')
    expect(ask({ ...admin, target: '/custom/ws' })).toMatchObject({ target: '/custom/ws', socket: { clientId: '' } })
  })
})

test('our subprotocol is echoed as it was offered, whether or not its key is the one that counts', () => {
  const offered = `comfy-auth.bearer.${Buffer.from(KEYS.user).toString('base64url')}`
  const subprotocol = (headers: Record<string, string>) => {
    const decision = ask({ headers })
    return decision.kind === 'forward' ? decision.socket?.subprotocol : decision.kind
  }
  expect(subprotocol({ 'Sec-WebSocket-Protocol': offered })).toBe(offered)
  expect(subprotocol({ 'Sec-WebSocket-Protocol': `chat, ${offered}` })).toBe(offered)
  expect(subprotocol({ ...bearer(KEYS.user), 'Sec-WebSocket-Protocol': 'comfy-auth.bearer.stale' })).toBe(
    'comfy-auth.bearer.stale',
  )
  expect(subprotocol({ ...bearer(KEYS.user), 'Sec-WebSocket-Protocol': 'chat' })).toBeUndefined()
})
