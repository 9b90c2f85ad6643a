import { expect, test } from 'vitest'
import type { Principal } from '../../../src/proxy/decide/facts.ts'
import { createSockets } from '../../../src/proxy/state/sockets.ts'

function principal(keyId: string, sessionId?: string): Principal {
  return {
    name: `key:${keyId}`,
    keyId,
    label: undefined,
    role: 'user',
    carrier: sessionId ? 'cookie' : 'bearer',
    sessionId,
    ambient: sessionId !== undefined,
  }
}

function register(options: Parameters<typeof createSockets>[0] = {}) {
  const clock = { nowMs: 0 }
  const sockets = createSockets({ nowMs: () => clock.nowMs, ...options })
  const closed: [string, number][] = []
  const tryAdd = (who: Principal, clientId: string, name = clientId, client = '192.0.2.1') =>
    sockets.add({
      principal: who,
      client,
      isStranger: who.keyId === undefined,
      clientId,
      close: (code) => closed.push([name, code]),
    })
  const add = (...args: Parameters<typeof tryAdd>): (() => void) => {
    const free = tryAdd(...args)
    if (!free) throw new Error('there is no room')
    return free
  }
  /** How many of so many are taken. */
  const fill = (count: number, who: Principal, client?: string) =>
    Array.from({ length: count }, (_, i) => tryAdd(who, '', String(i), client)).filter(Boolean).length
  return { clock, sockets, closed, add, tryAdd, fill }
}

test('sockets close with their key, with their session, and with the server', () => {
  const { sockets, closed, add } = register()
  add(principal('k1'), 'a')
  add(principal('k1', 's1'), 'b')
  add(principal('k2', 's2'), 'c')
  expect(sockets.closeBySession('s1', 4401)).toBe(1)
  expect(closed).toEqual([['b', 4401]])
  expect(sockets.closeByKey('k1', 4401)).toBe(2)
  expect(sockets.closeAll(1001)).toBe(3)
  expect(closed.slice(3)).toEqual([
    ['a', 1001],
    ['b', 1001],
    ['c', 1001],
  ])
})

test('a socket taken off is not closed again, and is taken off once', () => {
  const { sockets, closed, add } = register()
  const first = add(principal('k1'), 'a')
  add(principal('k1'), 'a', 'second')
  first()
  first()
  expect(sockets.count).toBe(1)
  sockets.closeByKey('k1', 4401)
  expect(closed).toEqual([['second', 4401]])
  expect(sockets.owner('a', 0)).toBe('key:k1')
})

test('a clientId stays its first user’s while a socket is open and for a minute after the last one', () => {
  const { clock, sockets, add } = register()
  const first = add(principal('k1'), 'shared')
  const second = add(principal('k1'), 'shared')
  first()
  clock.nowMs = 3_600_000
  expect(sockets.owner('shared', clock.nowMs)).toBe('key:k1')
  second()
  expect(sockets.owner('shared', clock.nowMs + 59_999)).toBe('key:k1')
  expect(sockets.owner('shared', clock.nowMs + 60_000)).toBeUndefined()
})

test('who reconnects within the minute keeps the id, who comes after it may have it', () => {
  const { clock, sockets, add } = register()
  add(principal('k1'), 'shared')()
  clock.nowMs = 50_000
  const again = add(principal('k1'), 'shared')
  clock.nowMs = 200_000
  expect(sockets.owner('shared', clock.nowMs)).toBe('key:k1')
  again()
  clock.nowMs = 261_000
  add(principal('k2'), 'shared')
  expect(sockets.owner('shared', clock.nowMs)).toBe('key:k2')
})

test('of two principals in the same moment the first has the id, and the other’s end does not free it', () => {
  const { sockets, add } = register()
  add(principal('k1'), 'shared')
  add(principal('k2'), 'shared')()
  expect(sockets.owner('shared', 0)).toBe('key:k1')
})

test('a socket without a clientId owns none', () => {
  const { sockets, add } = register()
  add(principal('k1'), '')
  expect(sockets.owner('', 0)).toBeUndefined()
})

test('one principal’s passing ids are bounded and push out its own alone', () => {
  const { sockets, add } = register({ maxLingeringPerPrincipal: 3 })
  add(principal('k1'), 'kept')()
  for (let i = 0; i < 10; i++) add(principal('k2'), `churn ${i}`)()
  expect(sockets.owner('kept', 0)).toBe('key:k1')
  expect(sockets.owner('churn 6', 0)).toBeUndefined()
  expect(sockets.owner('churn 9', 0)).toBe('key:k2')
})

test('all passing ids together are bounded, open ones never forgotten', () => {
  const { sockets, add } = register({ maxLingering: 5 })
  add(principal('k0'), 'open')
  for (let i = 0; i < 20; i++) add(principal(`k${i}`), `id ${i}`)()
  const held = Array.from({ length: 20 }, (_, i) => sockets.owner(`id ${i}`, 0)).filter(Boolean)
  expect(held).toHaveLength(5)
  expect(sockets.owner('open', 0)).toBe('key:k0')
})

const stranger = (client: string): Principal => ({
  ...principal('none'),
  name: `anonymous:${client}`,
  keyId: undefined,
})

test('no key gets more than half of all, nor of what the others have left', () => {
  const { sockets, fill } = register({ most: 20_000 })
  expect(fill(20_001, principal('greedy'))).toBe(10_000)
  expect(fill(20_001, principal('as greedy'))).toBe(5_000)
  expect(fill(20_001, principal('third'))).toBe(2_500)
  expect(fill(3, principal('modest'))).toBe(3)
  expect(sockets.count).toBeLessThan(20_000)
})

test('a socket that is taken off makes room for another of its key', () => {
  const { add, tryAdd } = register({ most: 2 })
  const first = add(principal('k1'), 'a')
  expect(tryAdd(principal('k1'), 'b')).toBeUndefined()
  first()
  first()
  expect(tryAdd(principal('k1'), 'b')).toBeTypeOf('function')
  expect(tryAdd(principal('k1'), 'c')).toBeUndefined()
})

test('strangers count by address, and all together as one key would', () => {
  const { fill } = register({ most: 200, mostPerAddress: 64 })
  expect(fill(100, stranger('2001:db8::/64'), '2001:db8::/64')).toBe(64)
  expect(fill(100, stranger('192.0.2.7'), '192.0.2.7')).toBe(36)
  expect(fill(1, stranger('192.0.2.8'), '192.0.2.8')).toBe(0)
  expect(fill(30, principal('k1'))).toBe(30)
})

test('without any key in force an address is no stranger, and has what a key has', () => {
  const { sockets } = register({ most: 400 })
  const open = {
    principal: stranger('192.0.2.7'),
    client: '192.0.2.7',
    isStranger: false,
    clientId: '',
    close: () => {},
  }
  expect(Array.from({ length: 300 }, () => sockets.add({ ...open })).filter(Boolean)).toHaveLength(200)
})
