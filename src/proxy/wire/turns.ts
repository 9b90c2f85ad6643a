import { type Linked, LinkedList } from './linked-list.ts'
import type { TurnLimits } from './turn-limits.ts'

const LOOK_MS = 100
const STEADY_BYTES = 16 * 1024
/** Turns taken away at one look, for the sake of shares. */
const MOST_TAKEN = 4

/** Why a guest is cut: it stood still, or its party had more than its share. */
export type Eviction = 'client-stalled' | 'gave-way'

/** One exchange that wants to speak to ComfyUI. */
export interface Guest {
  /** Its turn has come. */
  start(): void
  /** It cannot go on because of its own client: who does not read, or does not send. */
  readonly waitsForClient: boolean
  /** Bytes of bodies that its client has taken or sent so far. */
  readonly movedBytes: number
  /** It made others wait for too long: it ends, visibly unfinished, and leaves. */
  evict(why: Eviction): void
}

/** What is asked of a guest only while it waits. */
export interface Waiter {
  /** Its client sends a body, or has sent it. */
  readonly hasBody: boolean
  /** Its place is another's: it is answered as whoever finds none, and never started. */
  refuse(): void
}

/** What one key, or one address without a key, holds. */
interface Party extends Linked<Party> {
  readonly name: string
  readonly line: Line
  readonly most: number
  running: number
  /** Of those: told to go for the sake of shares, and not gone yet. */
  going: number
  /** Of the waiting: the next turns are theirs. */
  owed: number
  readonly waiting: LinkedList<Ticket>
  /** Of those: with a body. */
  bodies: number
}

interface Ticket extends Linked<Ticket> {
  readonly guest: Guest
  readonly party: Party
  readonly waiter: Waiter
  state: 'waiting' | 'running' | 'left'
  /** Since when its client has kept it from going on, and what had moved by then. */
  stillSinceMs: number | undefined
  stillAtBytes: number
  /** Since when it waits for its turn. */
  waitsSinceMs: number
  going: boolean
}

/** Those with a key, or those without. */
interface Line {
  readonly most: number
  running: number
  waiting: number
  /** Parties that run or wait in it. */
  size: number
  /** With somebody waiting; who had a turn goes to the end. */
  readonly parties: LinkedList<Party>
}

/**
 * Rule 15: ComfyUI's connections are few (a reader that never reads holds one, and so does an upload that trickles), so they are
 * shared out: to no key more than half, to those without a key less than half, to waiting parties in turn, whatever number of
 * requests each has. Where somebody waits, the ones that stand still because of their own clients go; where somebody with less than
 * an equal share of its line has waited for `shareMs`, the longest turn of whoever has most goes, however fast it moves. What is held
 * in memory is bounded with them: a turn lasts until its client has taken the last byte.
 */
export class Turns {
  readonly #limits: TurnLimits
  readonly #nowMs: () => number
  readonly #parties = new Map<string, Party>()
  readonly #keyed: Line
  readonly #open: Line
  /** In the order in which they began. */
  readonly #running = new LinkedList<Ticket>()
  /** For whom a turn has been taken from somebody. */
  readonly #owed = new Set<Ticket>()
  #timer: NodeJS.Timeout | undefined
  #starting = false

  constructor(limits: TurnLimits, nowMs: () => number) {
    this.#limits = limits
    this.#nowMs = nowMs
    this.#keyed = { most: limits.running - limits.keptOpen, running: 0, waiting: 0, size: 0, parties: new LinkedList() }
    this.#open = { most: limits.open, running: 0, waiting: 0, size: 0, parties: new LinkedList() }
  }

  /** Keys and addresses remembered: those with an exchange here. */
  get size(): number {
    return this.#parties.size
  }

  get waiting(): number {
    return this.#keyed.waiting + this.#open.waiting
  }

  /**
   * Starts the guest now or when its turn comes. `name`: of its key, or of its address where it came without one (`open`).
   * The function given back is called once it is over, or no longer wanted; undefined: too many wait already, and this one
   * is never started.
   */
  take(name: string, open: boolean, guest: Guest, waiter: Waiter): (() => void) | undefined {
    const party = this.#partyOf(name, open)
    const ticket: Ticket = {
      guest,
      party,
      waiter,
      state: 'waiting',
      stillSinceMs: undefined,
      stillAtBytes: 0,
      waitsSinceMs: 0,
      going: false,
    }
    if (party.waiting.size === 0 && this.#mayRun(party)) {
      this.#run(ticket)
    } else {
      if (!this.#mayWait(ticket)) {
        this.#forget(party)
        return undefined
      }
      ticket.waitsSinceMs = this.#nowMs()
      if (party.waiting.size === 0) party.line.parties.push(party)
      party.waiting.push(ticket)
      party.line.waiting++
      if (waiter.hasBody) party.bodies++
    }
    return () => this.#leave(ticket)
  }

  #partyOf(name: string, open: boolean): Party {
    const known = this.#parties.get(name)
    if (known) return known
    const { perKey, perAddress } = this.#limits
    const [line, most] = open ? [this.#open, perAddress] : [this.#keyed, perKey]
    const party: Party = { name, line, most, running: 0, going: 0, owed: 0, waiting: new LinkedList(), bodies: 0 }
    this.#parties.set(name, party)
    line.size++
    return party
  }

  #mayWait({ party, waiter }: Ticket): boolean {
    const { waiting, bodies, line } = party
    const limits = this.#limits
    if (waiting.size >= limits.waiting || (waiter.hasBody && bodies >= limits.waitingBodies)) return false
    return line !== this.#open || line.waiting < limits.openWaiting || this.#makePlace(party)
  }

  /** The newest that waits of whoever has most waiting goes; not where the two would only change places. */
  #makePlace({ line, waiting }: Party): boolean {
    let fullest: Party | undefined
    let most = waiting.size + 1
    for (const party of line.parties) {
      if (party.waiting.size <= most) continue
      fullest = party
      most = party.waiting.size
    }
    const ticket = fullest?.waiting.last
    if (!ticket) return false
    ticket.state = 'left'
    this.#unqueue(ticket)
    ticket.waiter.refuse()
    return true
  }

  #mayRun({ running, most, line }: Party): boolean {
    return running < most && !this.#isFull(line)
  }

  #isFull(line: Line): boolean {
    return line.running >= line.most || this.#running.size >= this.#limits.running
  }

  #run(ticket: Ticket): void {
    ticket.state = 'running'
    ticket.party.running++
    ticket.party.line.running++
    this.#running.push(ticket)
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref()
    ticket.guest.start()
  }

  #leave(ticket: Ticket): void {
    const { party, state } = ticket
    if (state === 'left') return
    ticket.state = 'left'
    if (state === 'waiting') {
      this.#unqueue(ticket)
    } else {
      party.running--
      party.line.running--
      if (ticket.going) party.going--
      this.#running.delete(ticket)
    }
    this.#forget(party)
    if (this.waiting > 0) this.#next()
  }

  #unqueue(ticket: Ticket): void {
    const { party } = ticket
    party.waiting.delete(ticket)
    party.line.waiting--
    if (ticket.waiter.hasBody) party.bodies--
    if (this.#owed.delete(ticket)) party.owed--
    if (party.waiting.size === 0) party.line.parties.delete(party)
  }

  #forget(party: Party): void {
    if (party.running > 0 || party.waiting.size > 0) return
    if (this.#parties.delete(party.name)) party.line.size--
  }

  /** Those who wait, party by party, as far as there is room. */
  #next(): void {
    if (this.#starting) return // a guest that failed at once: the loop that started it goes on
    this.#starting = true
    try {
      let ticket = this.#first()
      while (ticket) {
        this.#unqueue(ticket)
        this.#run(ticket)
        ticket = this.#first()
      }
    } finally {
      this.#starting = false
    }
  }

  #first(): Ticket | undefined {
    if (this.#running.size >= this.#limits.running) return undefined
    for (const ticket of this.#owed) if (this.#mayRun(ticket.party)) return ticket
    for (const line of this.#keyed.running <= this.#open.running
      ? [this.#keyed, this.#open]
      : [this.#open, this.#keyed]) {
      if (line.running >= line.most) continue
      for (const party of line.parties) {
        if (!this.#mayRun(party)) continue
        line.parties.delete(party)
        line.parties.push(party)
        return party.waiting.first
      }
    }
    return undefined
  }

  /** While somebody waits: whoever stands in the way without moving goes, the stillest first. */
  #look(): void {
    if (this.#running.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    const nowMs = this.#nowMs()
    const still = [...this.#running].filter((ticket) => this.#isStill(ticket, nowMs) && this.#isInTheWay(ticket.party))
    if (this.waiting === 0) return
    // One at a look: whoever comes in its stead begins with megabytes for the kernel's buffers, and others read in between.
    if (still.length > 0) {
      still.reduce((a, b) => (a.stillSinceMs! <= b.stillSinceMs! ? a : b)).guest.evict('client-stalled')
    }
    let left = MOST_TAKEN - this.#owed.size
    for (const line of [this.#keyed, this.#open]) {
      for (const party of line.parties) {
        if (left <= 0 || !this.#isFull(line)) break
        left -= this.#shareOut(party, nowMs, left)
      }
    }
  }

  /** Takes as many turns as this party has waited for too long, and may have: at most `most`. Gives how many it took. */
  #shareOut(party: Party, nowMs: number, most: number): number {
    let taken = 0
    let next = party.waiting.first
    while (next && taken < most) {
      const ticket = next
      next = ticket.after // whoever gives way may leave at once, and this one run
      if (ticket.state !== 'waiting' || nowMs - ticket.waitsSinceMs < this.#limits.shareMs) break
      if (this.#owed.has(ticket)) continue
      const share = party.line.running / party.line.size
      const own = party.running + party.owed
      if (own >= Math.min(share, party.most)) break
      const longest = this.#longestOfRichest(party.line, Math.max(share, own + 1)) // or the two would only change places
      if (!longest) break
      longest.going = true
      longest.party.going++
      this.#owed.add(ticket)
      party.owed++
      taken++
      longest.guest.evict('gave-way')
    }
    return taken
  }

  /** Of the party that holds the most, and more than `least`. */
  #longestOfRichest(line: Line, least: number): Ticket | undefined {
    let richest: Party | undefined
    let most = least
    for (const party of this.#parties.values()) {
      const held = party.running - party.going
      if (party.line !== line || held <= most) continue
      richest = party
      most = held
    }
    if (!richest) return undefined
    for (const ticket of this.#running) if (ticket.party === richest && !ticket.going) return ticket
    return undefined
  }

  #isStill(ticket: Ticket, nowMs: number): boolean {
    const { guest, stillAtBytes, stillSinceMs } = ticket
    if (!guest.waitsForClient) {
      ticket.stillSinceMs = undefined
    } else if (stillSinceMs === undefined || guest.movedBytes - stillAtBytes >= STEADY_BYTES) {
      ticket.stillSinceMs = nowMs
      ticket.stillAtBytes = guest.movedBytes
    } else {
      return nowMs - stillSinceMs >= this.#limits.patienceMs
    }
    return false
  }

  #isInTheWay(party: Party): boolean {
    if (this.#running.size >= this.#limits.running || party.waiting.size > 0) return true
    return party.line.waiting > 0 && this.#isFull(party.line)
  }
}
