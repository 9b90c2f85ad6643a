import type { Digest } from '../../keys/digest.ts'

export interface ThrottleOptions {
  /** Distinct wrong guesses of one client within `windowMs` after which it has to wait. */
  readonly limit?: number
  readonly windowMs?: number
  /** The first wait; each further wrong guess doubles it, up to `maxBlockMs`. */
  readonly firstBlockMs?: number
  readonly maxBlockMs?: number
  /** Distinct wrong guesses of all clients together within `windowMs`. */
  readonly globalLimit?: number
  readonly maxClients?: number
}

export interface Throttle {
  /** A guess that no key answers to. The same one again counts once: a script with an old key is no attack (rule 4). */
  fail(client: string, digest: Digest, nowMs: number): void
  /** Whole seconds until this client's guesses are looked at again; undefined: now. */
  blockedFor(client: string, nowMs: number): number | undefined
  /**
   * Distinct wrong guesses until it has to wait, the one that makes it wait included: as many of one request are looked at,
   * or a request with a guess in each carrier would have all of them for the price of one. At least one: `blockedFor` says
   * where it is none.
   */
  guessesLeft(client: string, nowMs: number): number
  /** Clients remembered. */
  readonly size: number
}

interface Client {
  /** When each digest that counted was first seen, oldest first. */
  readonly guesses: Map<Digest, number>
  blockedUntilMs: number
  blocks: number
  lastMs: number
}

const REMEMBERED_GUESSES = 64
const GLOBAL_SLOTS = 12

/**
 * Rule 4's counters. Memory is bounded twice: 64 digests a client, and `maxClients` of them, the longest
 * silent goes first. No flood of addresses can push out a blocked client before its time: while the global
 * ceiling is reached nothing is recorded, and at its pace filling the map takes longer than the longest block.
 */
export function createThrottle(options: ThrottleOptions = {}): Throttle {
  const { limit = 10, windowMs = 120_000, firstBlockMs = 30_000, maxBlockMs = 900_000 } = options
  const { globalLimit = 1_000, maxClients = 10_000 } = options
  const clients = new Map<string, Client>() // in order of last guess
  const slotMs = windowMs / GLOBAL_SLOTS
  const slots = new Map<number, number>() // slot number -> guesses in it

  function globalWaitMs(nowMs: number): number {
    const now = Math.floor(nowMs / slotMs)
    let total = 0
    let oldest = now
    for (const [slot, count] of slots) {
      // A slot of the future is a clock that was set back: it says nothing.
      if (slot <= now - GLOBAL_SLOTS || slot > now) slots.delete(slot)
      else {
        total += count
        oldest = Math.min(oldest, slot)
      }
    }
    return total < globalLimit ? 0 : (oldest + GLOBAL_SLOTS) * slotMs - nowMs
  }

  function remainingMs(client: Client | undefined, nowMs: number): number {
    if (client === undefined) return 0
    // Set back by hours, a clock must not keep anybody out for hours: no wait is longer than the longest.
    return Math.min(maxBlockMs, client.blockedUntilMs - nowMs)
  }

  /** Good behaviour for as long as the longest wait, and the next wait is short again. */
  const isForgiven = (client: Client, nowMs: number) =>
    nowMs - Math.max(client.lastMs, client.blockedUntilMs) > maxBlockMs

  function recentGuesses(client: Client, nowMs: number): number {
    let recent = 0
    for (const atMs of client.guesses.values()) if (atMs > nowMs - windowMs && atMs <= nowMs) recent++
    return recent
  }

  return {
    fail(name, digest, nowMs) {
      const client = clients.get(name) ?? { guesses: new Map(), blockedUntilMs: 0, blocks: 0, lastMs: nowMs }
      if (remainingMs(client, nowMs) > 0 || globalWaitMs(nowMs) > 0) return
      clients.delete(name)
      clients.set(name, client)
      if (clients.size > maxClients) clients.delete(clients.keys().next().value!)
      if (isForgiven(client, nowMs)) client.blocks = 0
      if (client.guesses.has(digest)) return

      client.lastMs = nowMs
      client.guesses.set(digest, nowMs)
      if (client.guesses.size > REMEMBERED_GUESSES) client.guesses.delete(client.guesses.keys().next().value!)
      const slot = Math.floor(nowMs / slotMs)
      slots.set(slot, (slots.get(slot) ?? 0) + 1)

      // Once made to wait, every further guess makes it wait again.
      if (recentGuesses(client, nowMs) < limit && client.blocks === 0) return
      client.blockedUntilMs = nowMs + Math.min(maxBlockMs, firstBlockMs * 2 ** client.blocks)
      client.blocks++
    },
    blockedFor(name, nowMs) {
      const waitMs = Math.max(remainingMs(clients.get(name), nowMs), globalWaitMs(nowMs))
      return waitMs > 0 ? Math.ceil(waitMs / 1_000) : undefined
    },
    guessesLeft(name, nowMs) {
      const client = clients.get(name)
      if (client === undefined) return limit
      if (client.blocks > 0 && !isForgiven(client, nowMs)) return 1
      return Math.max(1, limit - recentGuesses(client, nowMs))
    },
    get size() {
      return clients.size
    },
  }
}
