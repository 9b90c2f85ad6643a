import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Guest, type TurnLimits, Turns } from '../../../src/proxy/wire/turns.ts'

const LIMITS: TurnLimits = {
  running: 6,
  perKey: 3,
  open: 2,
  perAddress: 2,
  waiting: 4,
  openWaiting: 5,
  patienceMs: 5_000,
}

class Exchange implements Guest {
  started = false
  evicted = false
  waitsForClient = false
  movedBytes = 0
  leave: (() => void) | undefined

  start(): void {
    this.started = true
  }

  evict(): void {
    this.evicted = true
    this.leave!()
  }
}

let turns: Turns

beforeEach(() => {
  vi.useFakeTimers()
  turns = new Turns(LIMITS, () => Date.now())
})

afterEach(() => {
  vi.useRealTimers()
})

function come(name: string, open = false): Exchange {
  const exchange = new Exchange()
  exchange.leave = turns.take(name, open, exchange)
  return exchange
}

const many = (count: number, name: string, open = false) => Array.from({ length: count }, () => come(name, open))
const startedOf = (exchanges: readonly Exchange[]) => exchanges.filter(({ started }) => started).length

test('one key gets no more than its share, and another starts at once', () => {
  const greedy = many(7, 'key a')
  expect(startedOf(greedy)).toBe(3)
  expect(come('key b').started).toBe(true)
  greedy[0]!.leave!()
  expect(startedOf(greedy)).toBe(4)
})

test('all who came without a key get no more than their share, from however many addresses', () => {
  const strangers = ['1', '2', '3', '4'].flatMap((address) => many(1, `address ${address}`, true))
  expect(startedOf(strangers)).toBe(2)
  expect(startedOf(many(3, 'key a'))).toBe(3)
})

test('who waits gets turns by name, not by the number of requests', () => {
  const running = [...many(3, 'key a'), ...many(3, 'key b')]
  const greedy = many(4, 'key c')
  const modest = come('key d')
  running[0]!.leave!()
  running[1]!.leave!()
  expect([startedOf(greedy), modest.started]).toEqual([1, true])
})

test('too many that wait are refused, of one name and of all without a key, and nobody else is', () => {
  expect(many(8, 'key a').map(({ leave }) => leave !== undefined)).toEqual([...Array(7).fill(true), false])
  const strangers = [...many(4, 'address 1', true), ...many(4, 'address 2', true)]
  expect(strangers.filter(({ leave }) => leave === undefined)).toHaveLength(1)
  expect(come('key b').started).toBe(true)
})

test('a reader that stands still while others wait is cut, and they go on', () => {
  const deaf = many(3, 'key a')
  for (const exchange of deaf) exchange.waitsForClient = true
  const next = come('key a')
  vi.advanceTimersByTime(5_000)
  expect([deaf.some(({ evicted }) => evicted), next.started]).toEqual([false, false])
  vi.advanceTimersByTime(1_000)
  expect([deaf.filter(({ evicted }) => evicted).length, next.started]).toEqual([1, true])
})

test('a client that moves on is not cut, nor one whose answer ComfyUI still owes, nor anybody where nobody waits', () => {
  const [steady, waiting, ...deaf] = many(3, 'key a')
  steady!.waitsForClient = true
  for (const exchange of deaf) exchange.waitsForClient = true
  vi.advanceTimersByTime(60_000)
  expect(startedOf([steady!, waiting!, ...deaf])).toBe(3)
  const next = many(3, 'key a')
  for (let second = 0; second < 30; second++) {
    steady!.movedBytes += 16 * 1024
    vi.advanceTimersByTime(1_000)
  }
  expect([steady!.evicted, waiting!.evicted, deaf[0]!.evicted]).toEqual([false, false, true])
  expect(startedOf(next)).toBe(1)
})

test('they are cut one after the other: those who come in their stead cost something too', () => {
  turns = new Turns({ ...LIMITS, running: 20, perKey: 20, waiting: 20 }, () => Date.now())
  const deaf = many(20, 'key a')
  for (const exchange of deaf) exchange.waitsForClient = true
  const next = many(20, 'key a')
  vi.advanceTimersByTime(5_100)
  expect([deaf.filter(({ evicted }) => evicted).length, startedOf(next)]).toEqual([1, 1])
  vi.advanceTimersByTime(1_000)
  expect(startedOf(next)).toBe(11)
})

test('a trickle is standing still', () => {
  const slow = many(3, 'key a')
  for (const exchange of slow) exchange.waitsForClient = true
  const next = come('key a')
  for (let second = 0; second < 8; second++) {
    for (const exchange of slow) exchange.movedBytes += 1
    vi.advanceTimersByTime(1_000)
  }
  expect(next.started).toBe(true)
})

test('whoever is in nobody’s way stays, however still', () => {
  const still = come('key b')
  still.waitsForClient = true
  many(4, 'key a')
  vi.advanceTimersByTime(60_000)
  expect(still.evicted).toBe(false)
})

test('who left while waiting is never started, and leaving twice counts once', () => {
  const running = many(3, 'key a')
  const impatient = come('key a')
  impatient.leave!()
  running[0]!.leave!()
  running[0]!.leave!()
  expect(impatient.started).toBe(false)
  expect(startedOf(many(3, 'key a'))).toBe(1)
})

test('nothing is remembered of those who are gone', () => {
  for (const exchange of [...many(9, 'key a'), ...many(9, 'address 1', true)]) exchange.leave?.()
  expect([turns.size, turns.waiting]).toEqual([0, 0])
  vi.advanceTimersByTime(1_000)
  expect(vi.getTimerCount()).toBe(0)
})
