import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Digest, digestOf } from '../../../src/keys/digest.ts'
import { createThrottle } from '../../../src/proxy/state/throttle.ts'

const guess = (text: string | number): Digest => digestOf(String(text))
const SECOND = 1_000
const MINUTE = 60 * SECOND

function afterTen(client = 'a', nowMs = 0) {
  const throttle = createThrottle()
  for (let i = 0; i < 10; i++) throttle.fail(client, guess(i), nowMs)
  return throttle
}

test('ten wrong guesses in two minutes make a client wait, and nobody else', () => {
  const throttle = createThrottle()
  for (let i = 0; i < 9; i++) throttle.fail('a', guess(i), i * 13 * SECOND)
  expect(throttle.blockedFor('a', 110 * SECOND)).toBeUndefined()
  throttle.fail('a', guess('tenth'), 110 * SECOND)
  expect(throttle.blockedFor('a', 110 * SECOND)).toBe(30)
  expect(throttle.blockedFor('a', 139.5 * SECOND)).toBe(1)
  expect(throttle.blockedFor('a', 140 * SECOND)).toBeUndefined()
  expect(throttle.blockedFor('b', 110 * SECOND)).toBeUndefined()
})

test('guesses older than two minutes no longer count', () => {
  const throttle = createThrottle()
  for (let i = 0; i < 100; i++) throttle.fail('a', guess(i), i * 14 * SECOND)
  expect(throttle.blockedFor('a', 100 * 14 * SECOND)).toBeUndefined()
})

test('after the wait each further guess doubles it, to a quarter of an hour at most', () => {
  const throttle = afterTen()
  const waits: number[] = []
  let now = 30 * SECOND
  for (let i = 0; i < 8; i++) {
    throttle.fail('a', guess(`more ${i}`), now)
    const wait = throttle.blockedFor('a', now)!
    waits.push(wait)
    now += wait * SECOND
  }
  expect(waits).toEqual([60, 120, 240, 480, 900, 900, 900, 900])
})

test('a quarter of an hour without a guess, and the next wait is short again', () => {
  const throttle = afterTen()
  throttle.fail('a', guess('x'), 31 * SECOND)
  const later = 91 * SECOND + 16 * MINUTE
  for (let i = 0; i < 10; i++) throttle.fail('a', guess(`later ${i}`), later)
  expect(throttle.blockedFor('a', later)).toBe(30)
})

test('a client that waits is not made to wait longer by what it sends meanwhile', () => {
  const throttle = afterTen()
  for (let i = 0; i < 1_000; i++) throttle.fail('a', guess(`meanwhile ${i}`), 10 * SECOND)
  expect(throttle.blockedFor('a', 10 * SECOND)).toBe(20)
})

test('the same wrong key over and over is one guess', () => {
  const throttle = createThrottle()
  for (let i = 0; i < 100_000; i++) throttle.fail('a', guess('stale'), i * 300)
  expect(throttle.blockedFor('a', 100_000 * 300)).toBeUndefined()
})

test('how many guesses are left until the wait: one after it, until it is forgiven', () => {
  const throttle = createThrottle()
  expect(throttle.guessesLeft('a', 0)).toBe(10)
  for (let i = 0; i < 9; i++) throttle.fail('a', guess(i), 0)
  expect([throttle.guessesLeft('a', 0), throttle.guessesLeft('b', 0)]).toEqual([1, 10])
  expect(throttle.guessesLeft('a', 3 * MINUTE)).toBe(10)
  throttle.fail('a', guess('tenth'), 0)
  expect(throttle.guessesLeft('a', 31 * SECOND)).toBe(1)
  expect(throttle.guessesLeft('a', 10 * MINUTE)).toBe(1)
  expect(throttle.guessesLeft('a', 16 * MINUTE)).toBe(10)
})

test('a script that goes on with its old key does not keep its address from being forgiven', () => {
  const throttle = afterTen()
  for (let nowMs = 31 * SECOND; nowMs < 16 * MINUTE; nowMs += SECOND) throttle.fail('a', guess(3), nowMs)
  expect(throttle.guessesLeft('a', 16 * MINUTE)).toBe(10)
})

test('many addresses together are slowed by a ceiling for all', () => {
  const throttle = createThrottle({ globalLimit: 50 })
  for (let i = 0; i < 50; i++) throttle.fail(`client ${i}`, guess(i), 0)
  expect(throttle.blockedFor('somebody new', 0)).toBe(120)
  expect(throttle.blockedFor('somebody new', 121 * SECOND)).toBeUndefined()
})

test('a clock set back keeps nobody out for longer than the longest wait', () => {
  const throttle = afterTen('a', 10 * 3_600 * SECOND)
  expect(throttle.blockedFor('a', 0)).toBeLessThanOrEqual(900)
})

describe('whatever is sent', () => {
  const event = fc.record({
    client: fc.nat(40),
    digest: fc.nat(30),
    afterMs: fc.oneof(fc.nat(500), fc.nat(200_000)),
  })
  const events = fc.array(event, { maxLength: 400 })

  test('memory stays bounded, and waits are whole seconds up to the longest', () => {
    fc.assert(
      fc.property(events, (list) => {
        const throttle = createThrottle({ limit: 3, maxClients: 8, globalLimit: 60 })
        let now = 0
        for (const { client, digest, afterMs } of list) {
          now += afterMs
          throttle.fail(String(client), guess(digest), now)
          expect(throttle.size).toBeLessThanOrEqual(8)
          const wait = throttle.blockedFor(String(client), now)
          if (wait !== undefined) expect(Number.isInteger(wait) && wait >= 1 && wait <= 900).toBe(true)
        }
      }),
      { numRuns: 200 },
    )
  })

  test('who sent fewer than the limit of distinct guesses in all never waits', () => {
    fc.assert(
      fc.property(events, (list) => {
        const throttle = createThrottle({ limit: 5 })
        const distinct = new Map<number, Set<number>>()
        let now = 0
        for (const { client, digest, afterMs } of list) {
          now += afterMs
          throttle.fail(String(client), guess(digest), now)
          distinct.set(client, (distinct.get(client) ?? new Set()).add(digest))
          if (distinct.get(client)!.size < 5) expect(throttle.blockedFor(String(client), now)).toBeUndefined()
        }
      }),
      { numRuns: 200 },
    )
  })

  test('no order of guesses is looked at faster than the limit in its window and then one a wait', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20_000), { minLength: 50, maxLength: 300 }), (gaps) => {
        const throttle = createThrottle({ limit: 5 })
        let now = 0
        const looked: number[] = []
        for (const [i, gap] of gaps.entries()) {
          now += gap
          if (throttle.blockedFor('a', now) === undefined) looked.push(now)
          throttle.fail('a', guess(i), now)
        }
        for (const [i, at] of looked.entries()) {
          const inWindow = looked.slice(i).filter((other) => other - at < 120_000).length
          expect(inWindow).toBeLessThanOrEqual(5 + 2) // 5, then one after 30 s and one after 60 s more
        }
      }),
      { numRuns: 100 },
    )
  })
})
