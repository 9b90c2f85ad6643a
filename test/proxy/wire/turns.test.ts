import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { TurnLimits } from '../../../src/proxy/wire/turn-limits.ts'
import { type Eviction, type Guest, Turns, type Waiter } from '../../../src/proxy/wire/turns.ts'

const LIMITS: TurnLimits = {
  running: 6,
  perKey: 3,
  open: 2,
  perAddress: 2,
  keptOpen: 0,
  waiting: 4,
  openWaiting: 5,
  waitingBodies: 2,
  patienceMs: 5_000,
  shareMs: 2_000,
}

class Exchange implements Guest, Waiter {
  started = false
  evicted = false
  why: Eviction | undefined
  waitsForClient = false
  movedBytes = 0
  leave: (() => void) | undefined
  refused = false
  hasBody = false

  refuse(): void {
    this.refused = true
    this.leave!()
  }

  start(): void {
    this.started = true
  }

  evict(why: Eviction): void {
    this.evicted = true
    this.why = why
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

function come(name: string, open = false, hasBody = false): Exchange {
  const exchange = new Exchange()
  exchange.hasBody = hasBody
  exchange.leave = turns.take(name, open, exchange, exchange)
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

const refusedOf = (exchanges: readonly Exchange[]) => exchanges.map(({ refused }) => refused)

test('where the room of those without a key is full, the newest of whoever fills it most makes place', () => {
  turns = new Turns({ ...LIMITS, openWaiting: 6, perAddress: 1 }, () => Date.now())
  const [first, second] = [many(5, 'address 1', true), many(3, 'address 2', true)] // 4 and 2 wait
  const third = come('address 3', true)
  expect([third.leave !== undefined, refusedOf(first), refusedOf(second)]).toEqual([
    true,
    [false, false, false, false, true],
    [false, false, false],
  ])
  const more = many(2, 'address 3', true)
  expect([more.map(({ leave }) => leave !== undefined), refusedOf(first)]).toEqual([
    [true, false],
    [false, false, false, true, true],
  ])
  expect([come('address 1', true).leave, come('address 2', true).leave, turns.waiting]).toEqual([
    undefined,
    undefined,
    6,
  ])
  for (const exchange of [...first, ...second, third, more[0]!]) exchange.leave!()
  expect([turns.size, turns.waiting, first[4]!.started]).toEqual([0, 0, false])
})

test('few with a body wait, since it waits with them; whoever runs, or brings none, is not counted', () => {
  const body = () => come('key a', false, true)
  const running = [body(), body(), body()]
  const waiting = [body(), body()]
  expect([...running, ...waiting].every(({ leave }) => leave !== undefined)).toBe(true)
  expect(body().leave).toBeUndefined()
  expect(come('key a').leave).toBeDefined()
  expect(come('key b', false, true).started).toBe(true)
  waiting[1]!.leave!()
  expect([body().leave !== undefined, body().leave]).toEqual([true, undefined])
  running[0]!.leave!() // the first that waits has its turn
  expect([waiting[0]!.started, body().leave !== undefined, body().leave]).toEqual([true, true, undefined])
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

/** Many turns, and no address below its own cap where it is alone. */
const WIDE: TurnLimits = { ...LIMITS, running: 40, perKey: 40, open: 12, perAddress: 6, waiting: 50, openWaiting: 100 }
const cutOf = (exchanges: readonly Exchange[]) => exchanges.filter(({ why }) => why === 'gave-way').length
/** They move fast enough for ever. */
function moving(exchanges: readonly Exchange[]): void {
  for (const exchange of exchanges) exchange.waitsForClient = true
  setInterval(() => {
    for (const exchange of exchanges) exchange.movedBytes += 16 * 1024
  }, 50)
}

test('two addresses that fill all turns give way to a third, longest turns first, until each has an equal share', () => {
  turns = new Turns(WIDE, () => Date.now())
  const [first, second] = [many(6, 'address 1', true), many(6, 'address 2', true)]
  moving([...first, ...second])
  const third = many(6, 'address 3', true)
  vi.advanceTimersByTime(1_900)
  expect([startedOf(third), cutOf([...first, ...second])]).toEqual([0, 0])
  vi.advanceTimersByTime(200)
  expect(startedOf(third)).toBe(4)
  vi.advanceTimersByTime(60_000)
  expect([cutOf(first), cutOf(second), cutOf(third), startedOf(third)]).toEqual([2, 2, 0, 4])
  expect(first.map(({ evicted }) => evicted)).toEqual([true, true, false, false, false, false])
})

test('two keys that fill all turns give way to a third, whatever waits behind them', () => {
  turns = new Turns({ ...WIDE, perKey: 20 }, () => Date.now())
  const greedy = [...many(60, 'key a'), ...many(60, 'key b')]
  moving(greedy)
  expect(startedOf(greedy)).toBe(40)
  const modest = come('key c')
  vi.advanceTimersByTime(2_100)
  expect([modest.started, startedOf(greedy), cutOf(greedy)]).toEqual([true, 40, 1])
})

test('the turn that one gives way with is whose it was taken for, however many wait before', () => {
  turns = new Turns({ ...WIDE, perKey: 20 }, () => Date.now())
  const greedy = [...many(60, 'key a'), ...many(60, 'key b')]
  const modest = come('key c')
  const held: Exchange[] = []
  for (const exchange of greedy) {
    exchange.evict = () => {
      exchange.why = 'gave-way'
      held.push(exchange) // its connection takes a moment to close
    }
  }
  vi.advanceTimersByTime(2_150)
  expect([modest.started, held]).toEqual([false, [greedy[0]]])
  greedy[0]!.leave!()
  expect([modest.started, startedOf(greedy)]).toEqual([true, 40])
})

test('a few give way at a look, and none twice', () => {
  turns = new Turns({ ...WIDE, running: 40, perKey: 40 }, () => Date.now())
  const greedy = many(40, 'key a')
  const held: Exchange[] = []
  for (const exchange of greedy) exchange.evict = () => void held.push(exchange)
  many(20, 'key b')
  vi.advanceTimersByTime(3_000)
  expect([held.length, new Set(held).size]).toEqual([4, 4])
  for (const exchange of held.splice(0)) exchange.leave!()
  vi.advanceTimersByTime(100)
  expect(held).toHaveLength(4)
})

test('a party that waits alone, or has its share, takes no turn from anybody', () => {
  turns = new Turns(WIDE, () => Date.now())
  const alone = many(50, 'key a')
  vi.advanceTimersByTime(60_000)
  expect([startedOf(alone), cutOf(alone)]).toEqual([40, 0])
  const even = many(50, 'key b')
  vi.advanceTimersByTime(60_000)
  expect([startedOf(even), cutOf(alone), cutOf(even)]).toEqual([20, 20, 0])
})

test('a share that is no whole number keeps nobody out either, and two parties never change places', () => {
  turns = new Turns({ ...WIDE, open: 4, perAddress: 2 }, () => Date.now())
  const others = [...many(9, 'address 1', true), ...many(9, 'address 2', true)]
  const third = many(9, 'address 3', true)
  vi.advanceTimersByTime(60_000)
  expect([startedOf(third), cutOf(third), cutOf(others)]).toEqual([1, 0, 1])
})

test('where everybody has one turn, everybody keeps it', () => {
  turns = new Turns(WIDE, () => Date.now())
  const strangers = Array.from({ length: 12 }, (_, i) => come(`address ${i}`, true))
  const late = come('address 99', true)
  vi.advanceTimersByTime(60_000)
  expect([cutOf(strangers), late.started]).toEqual([0, false])
})

test('strangers take no turn from a key, and find some that keys cannot have', () => {
  turns = new Turns({ ...WIDE, perKey: 19, keptOpen: 2 }, () => Date.now())
  const keyed = [...many(40, 'key a'), ...many(40, 'key b')]
  expect(startedOf(keyed)).toBe(38)
  const strangers = ['1', '2', '3'].flatMap((name) => many(3, `address ${name}`, true))
  expect(startedOf(strangers)).toBe(2)
  vi.advanceTimersByTime(60_000)
  expect(keyed.filter(({ evicted }) => evicted)).toEqual([])
})
