import type { Principal } from '../decide/facts.ts'

export interface OpenSocket {
  readonly principal: Principal | undefined
  /** Client address as decide/client.ts counts it. */
  readonly client: string
  /** It came without a key where there are keys. */
  readonly isStranger: boolean
  /** Empty: it names none, and owns none. */
  readonly clientId: string
  /** Sends this close code at the next frame boundary, and destroys the socket if none comes within a second. */
  readonly close: (code: number, reason: string) => void
}

export interface Sockets {
  /**
   * Registers an open socket; the function given back takes it off again (once, later calls do nothing). Undefined: its key
   * or address has too many, or all have.
   */
  add(socket: OpenSocket): (() => void) | undefined
  /** Principal.name that holds this clientId now (rule 11), undefined where it is free. */
  owner(clientId: string, nowMs: number): string | undefined
  closeByKey(keyId: string, code: number): number
  closeBySession(sessionId: string, code: number): number
  closeAll(code: number): number
  readonly count: number
}

export interface SocketsOptions {
  readonly nowMs?: () => number
  /** How long a clientId stays its principal's after the last socket closed. */
  readonly lingerMs?: number
  /** Ids kept so, in all and for one principal, whose own oldest goes first. */
  readonly maxLingering?: number
  readonly maxLingeringPerPrincipal?: number
  /**
   * Sockets in all. No key has more of them than are left free at the time, and all strangers together neither: one gets half
   * of all, a second half of what is left, and so on, so that no few of them can take them all.
   */
  readonly most?: number
  /** Of one stranger's address. */
  readonly mostPerAddress?: number
}

interface Claim {
  readonly owner: string
  open: number
  /** When the last socket of it closed; meaningless while one is open. */
  freedMs: number
}

const STRANGERS = 'strangers'

const REASONS: Readonly<Record<number, string>> = {
  1001: 'server is shutting down',
  4401: 'session ended, log in again',
}

/**
 * Rule 11's register: which sockets die with which key or session, and whose clientId it is. A clientId is
 * its first user's while a socket of that principal is open and for a minute after; some clients use one
 * fixed id for everybody, and a second socket under the same id would take the first one's stream.
 */
export function createSockets(options: SocketsOptions = {}): Sockets {
  const { nowMs = Date.now, lingerMs = 60_000, maxLingering = 65_536, maxLingeringPerPrincipal = 256 } = options
  const { most = Number.POSITIVE_INFINITY, mostPerAddress = 64 } = options
  const open = new Set<OpenSocket>()
  const counts = new Map<string, number>() // by key, by address without one, and of all strangers
  const claims = new Map<string, Claim>()
  const lingering = new Set<string>() // clientIds without a socket, in the order they were freed
  const lingeringOf = new Map<string, Set<string>>() // the same by principal

  function forget(clientId: string): void {
    const claim = claims.get(clientId)
    if (claim === undefined) return
    keepAlive(clientId, claim)
    claims.delete(clientId)
  }

  function keepAlive(clientId: string, claim: Claim): void {
    lingering.delete(clientId)
    const own = lingeringOf.get(claim.owner)
    own?.delete(clientId)
    if (own?.size === 0) lingeringOf.delete(claim.owner)
  }

  function linger(clientId: string, claim: Claim): void {
    claim.freedMs = nowMs()
    lingering.add(clientId)
    const own = lingeringOf.get(claim.owner) ?? new Set()
    lingeringOf.set(claim.owner, own.add(clientId))
    // Freed in order, so the first ones are the first to run out.
    for (const id of lingering) {
      if (isHeld(claims.get(id)!, claim.freedMs) && lingering.size <= maxLingering) break
      forget(id)
    }
    if (own.size > maxLingeringPerPrincipal) forget(own.values().next().value!)
  }

  function isHeld(claim: Claim, now: number): boolean {
    return claim.open > 0 || Math.abs(now - claim.freedMs) < lingerMs
  }

  function countOf(name: string): number {
    return counts.get(name) ?? 0
  }

  function count(name: string, by: 1 | -1): void {
    const now = countOf(name) + by
    if (now === 0) counts.delete(name)
    else counts.set(name, now)
  }

  function isOneTooMany({ isStranger }: OpenSocket, party: string): boolean {
    if (isStranger && countOf(party) >= mostPerAddress) return true
    return countOf(isStranger ? STRANGERS : party) >= most - open.size
  }

  function closeWhere(code: number, chosen: (socket: OpenSocket) => boolean): number {
    const doomed = [...open].filter(chosen)
    for (const socket of doomed) socket.close(code, REASONS[code] ?? '')
    return doomed.length
  }

  return {
    add(socket) {
      const { principal, client, isStranger } = socket
      const party = principal?.keyId === undefined ? `address ${client}` : `key ${principal.keyId}`
      if (isOneTooMany(socket, party)) return undefined
      open.add(socket)
      count(party, 1)
      if (isStranger) count(STRANGERS, 1)
      const owner = principal?.name ?? party
      const held = claims.get(socket.clientId)
      const mine = held?.owner === owner
      // Two principals can pass the decision in the same moment: the first keeps the id, the second gets none.
      const claimed = socket.clientId !== '' && (held === undefined || mine || !isHeld(held, nowMs()))
      if (claimed) {
        if (held !== undefined) keepAlive(socket.clientId, held)
        claims.set(socket.clientId, {
          owner,
          open: (mine ? held.open : 0) + 1,
          freedMs: 0,
        })
      }
      return () => {
        if (!open.delete(socket)) return
        count(party, -1)
        if (isStranger) count(STRANGERS, -1)
        if (!claimed) return
        const claim = claims.get(socket.clientId)
        if (claim === undefined) return
        claim.open--
        if (claim.open === 0) linger(socket.clientId, claim)
      }
    },
    owner(clientId, now) {
      const claim = claims.get(clientId)
      return claim !== undefined && isHeld(claim, now) ? claim.owner : undefined
    },
    closeByKey: (keyId, code) => closeWhere(code, (socket) => socket.principal?.keyId === keyId),
    closeBySession: (id, code) => closeWhere(code, (socket) => socket.principal?.sessionId === id),
    closeAll: (code) => closeWhere(code, () => true),
    get count() {
      return open.size
    },
  }
}
