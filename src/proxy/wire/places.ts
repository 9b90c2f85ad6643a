import type { Server, Socket } from 'node:net'
import { countedAs, parseIp } from '../decide/address.ts'

export interface PlaceLimits {
  readonly connections: number
  /** From one address, IPv6 by its /64; not counted for those who speak for many. */
  readonly connectionsPerAddress: number
}

/** Where so many of all connections are taken, those that stand idle go: whoever comes has something to ask. */
const CROWDED = 0.9
const LOOK_FOR_ROOM_MS = 250

/** Rule 15: the connections of all listeners together, in total and by address as rule 3 counts it. */
export class Places {
  readonly #limits: PlaceLimits
  readonly #isUncounted: (address: string) => boolean
  readonly #byAddress = new Map<string, number>()
  readonly #idlers = new Set<() => void>()
  #taken = 0
  #lookedMs = Number.NEGATIVE_INFINITY

  /** `isUncounted`: of addresses that speak for many: loopback, and trusted proxies. */
  constructor(limits: PlaceLimits, isUncounted: (address: string) => boolean) {
    this.#limits = limits
    this.#isUncounted = isUncounted
  }

  /** Counts this listener's connections, too; `closeIdle` ends those that nobody uses. */
  guard(server: Server, closeIdle: () => void): void {
    server.maxConnections = this.#limits.connections
    this.#idlers.add(closeIdle)
    server.once('close', () => this.#idlers.delete(closeIdle))
    server.on('connection', (socket: Socket) => this.#take(socket))
  }

  #take(socket: Socket): void {
    const { connections, connectionsPerAddress } = this.#limits
    const address = this.#addressOf(socket)
    const count = address === undefined ? 0 : (this.#byAddress.get(address) ?? 0)
    if (this.#taken >= connections || count >= connectionsPerAddress) {
      socket.destroy()
      return
    }
    this.#taken++
    if (address !== undefined) this.#byAddress.set(address, count + 1)
    socket.once('close', () => this.#leave(address))
    if (this.#taken >= connections * CROWDED) this.#makeRoom()
  }

  #leave(address: string | undefined): void {
    this.#taken--
    if (address === undefined) return
    const left = this.#byAddress.get(address)! - 1
    if (left === 0) this.#byAddress.delete(address)
    else this.#byAddress.set(address, left)
  }

  #addressOf({ remoteAddress = '' }: Socket): string | undefined {
    const address = parseIp(remoteAddress)
    return address === undefined || this.#isUncounted(remoteAddress) ? undefined : countedAs(address)
  }

  #makeRoom(): void {
    if (performance.now() - this.#lookedMs < LOOK_FOR_ROOM_MS) return
    this.#lookedMs = performance.now()
    for (const closeIdle of this.#idlers) closeIdle()
  }
}
