import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { clientAddress } from '../decide/client.ts'
import { decide } from '../decide/decide.ts'
import type {
  Account,
  Decision,
  ForwardDecision,
  InspectDecision,
  PageDecision,
  Policy,
  Principal,
  RefuseDecision,
  RequestFacts,
} from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import type { Answer } from '../pages/answer.ts'
import type { Pages } from '../pages/pages.ts'
import type { Audit, AuditEntry } from '../state/audit.ts'
import type { Sessions } from '../state/sessions.ts'
import type { Sockets } from '../state/sockets.ts'
import type { Throttle } from '../state/throttle.ts'
import type { Uploads } from '../state/uploads.ts'
import { continueIfAsked, framingOf, readBody } from './body.ts'
import type { ClientRequest, ClientResponse, OnRefused } from './client.ts'
import { CROWDED, NO_SOCKET_LEFT } from './crowded.ts'
import { requestFacts } from './facts.ts'
import { Exchange, type ForwardServices } from './forward.ts'
import { protocolAnswer, respond, respondRaw, tooLargeAnswer } from './respond.ts'
import { TURN_LIMITS, type TurnLimits } from './turn-limits.ts'
import { type Guest, Turns, type Waiter } from './turns.ts'
import { Upgrade, type UpgradeServices } from './upgrade.ts'

/** Bodies that our own pages read (rule 7). */
const PAGE_BODY_BYTES = 16 * 1024
/** For all of a body that is read whole before anything is decided by it. */
const PAGE_BODY_MS = 30_000
const GONE = Symbol('no whole body came')
const NO_BODY_HERE = protocolAnswer(413, 'A request without a key brings no body here.')
const STALLED_ANSWER = protocolAnswer(408, 'The body of this request stopped coming.')

export interface EngineServices extends ForwardServices, Omit<UpgradeServices, 'takeTurn'> {
  readonly policy: Policy
  readonly pages: Pages
  readonly throttle: Throttle
  readonly sessions: Sessions
  readonly sockets: Sockets
  readonly uploads: Uploads
  readonly audit: Audit | undefined
  readonly turns?: TurnLimits | undefined
  /** A key was used: remembered, never on the request's path. */
  readonly keyUsed: (keyId: string, nowMs: number) => void
  readonly nowMs: () => number
}

export interface Engine {
  onRequest(request: ClientRequest, response: ClientResponse, secure: boolean): void
  onUpgrade(request: IncomingMessage, socket: Socket, head: Buffer, secure: boolean): void
  /** It stands in the audit log all the same. */
  readonly onRefused: OnRefused
}

/** How a request walks: head -> facts -> decide -> page, upstream or refusal -> answer -> audit. HTTP and Upgrade alike. */
export function createEngine(services: EngineServices): Engine {
  const { policy, pages, throttle, sessions, sockets, uploads, audit, nowMs, idleMs } = services
  const handshakeMs = Math.min(services.handshakeMs, idleMs)
  const turns = new Turns(services.turns ?? TURN_LIMITS, () => performance.now())

  /** What a decision says of who it was goes into throttle, sessions and last-used. */
  function note({ client, principal, failures, guesser = client }: Account, atMs: number): void {
    for (const digest of failures) throttle.fail(guesser, digest, atMs)
    if (principal?.keyId !== undefined) services.keyUsed(principal.keyId, atMs)
    if (principal?.sessionId !== undefined) sessions.touch(principal.sessionId, atMs)
  }

  function record(facts: RequestFacts, account: Account, entry: Partial<AuditEntry> & Pick<AuditEntry, 'event'>): void {
    audit?.record({
      nowMs: nowMs(),
      client: account.client,
      key: account.principal,
      method: facts.method,
      target: facts.target,
      durationMs: Math.max(0, nowMs() - facts.nowMs), // a clock may be set back meanwhile
      ...entry,
    })
  }

  function refuse(request: ClientRequest, response: ClientResponse, facts: RequestFacts, decision: RefuseDecision) {
    const answer = pages.refusal(decision, facts)
    const bytes = respond(request, response, answer)
    record(facts, decision.account, { event: 'refusal', status: answer.status, bytes, reason: decision.refusal.reason })
  }

  function recordPage(facts: RequestFacts, account: Account, { status, event }: Answer, bytes: number): void {
    const key = event?.kind === 'login' ? { key: event } : {}
    const reason = event?.kind === 'login-failed' ? { reason: event.reason } : {}
    record(facts, account, { event: event?.kind ?? 'request', status, bytes, ...key, ...reason })
  }

  async function page(request: ClientRequest, response: ClientResponse, facts: RequestFacts, decision: PageDecision) {
    const body = await wholeBody(request, response, facts, decision.account, PAGE_BODY_BYTES)
    if (body === GONE) return
    const answer = body
      ? await pages.answer(decision, { facts, body })
      : protocolAnswer(413, 'A form of this server is never longer than 16 KiB.')
    if (response.destroyed) return
    recordPage(facts, decision.account, answer, respond(request, response, answer))
  }

  async function inspect(
    request: ClientRequest,
    response: ClientResponse,
    facts: RequestFacts,
    decision: InspectDecision,
  ) {
    const body = await wholeBody(request, response, facts, decision.account, decision.limitBytes)
    if (body === GONE) return
    const checked = body ? decision.check(body, nowMs()) : decision.tooLong
    if (checked.kind === 'refuse') refuse(request, response, facts, checked)
    else forward(request, response, facts, checked)
  }

  /** Undefined where it is longer than `limitBytes`; GONE where it never became whole: that is answered and told. */
  async function wholeBody(
    request: ClientRequest,
    response: ClientResponse,
    facts: RequestFacts,
    account: Account,
    limitBytes: number,
  ): Promise<Buffer | undefined | typeof GONE> {
    const { hasBody, contentLength } = framingOf(request)
    if (!hasBody) return Buffer.alloc(0)
    if (contentLength !== undefined && contentLength > limitBytes) return undefined
    continueIfAsked(request, response)
    try {
      return await readBody(request, limitBytes, Math.min(idleMs, PAGE_BODY_MS))
    } catch {
      if (response.destroyed || request.destroyed) {
        record(facts, account, { event: 'request', reason: 'client-left' })
      } else {
        response.shouldKeepAlive = false
        const bytes = respond(request, response, STALLED_ANSWER)
        record(facts, account, { event: 'request', status: STALLED_ANSWER.status, bytes })
      }
      return GONE
    }
  }

  function takeTurn({ principal, client }: Account, guest: Guest, waiter: Waiter): (() => void) | undefined {
    const name = principal?.keyId === undefined ? `address ${client}` : `key ${principal.keyId}`
    return turns.take(name, isStranger(principal), guest, waiter)
  }

  /** Whoever came without a key where there are keys. */
  function isStranger(principal: Principal | undefined): boolean {
    return principal?.keyId === undefined && policy.auth === 'keys'
  }

  function forward(request: ClientRequest, response: ClientResponse, facts: RequestFacts, decision: ForwardDecision) {
    const { maxUploadBytes } = services
    const { hasBody, contentLength = 0 } = framingOf(request)
    const { principal } = decision.account
    if (hasBody && isStranger(principal)) {
      // Nobody reads it, and while its request waits for a turn it would stand in memory.
      response.shouldKeepAlive = false
      const bytes = respond(request, response, NO_BODY_HERE)
      record(facts, decision.account, { event: 'request', status: NO_BODY_HERE.status, bytes })
      return
    }
    if (maxUploadBytes !== undefined && contentLength > maxUploadBytes) {
      // Whoever asked first takes the answer for its body, and may send neither that nor a request behind it.
      if (request.headers.expect !== undefined) response.shouldKeepAlive = false
      const bytes = respond(request, response, tooLargeAnswer(maxUploadBytes))
      record(facts, decision.account, { event: 'request', status: 413, bytes })
      return
    }
    const exchange = new Exchange(request, response, facts, decision, services)
    response.on('close', () => {
      if (!response.writableFinished) exchange.clientGone()
      if (!audit) return
      const { bytes, broken } = exchange
      const status = response.headersSent ? { status: response.statusCode } : {}
      record(facts, decision.account, { event: 'request', ...status, bytes, ...(broken && { reason: broken }) })
    })
    const crowded = () => {
      if (!response.destroyed) exchange.bytes = respond(request, response, CROWDED)
    }
    const leave = takeTurn(decision.account, exchange, { hasBody, refuse: crowded })
    if (!leave) {
      crowded()
      return
    }
    response.on('close', leave)
    // Who waits for a turn, or sends a body still, must still be somebody when it reaches ComfyUI.
    if (principal && (!exchange.started || (hasBody && !request.complete))) {
      const done = uploads.add(principal, () => exchange.abort())
      if (exchange.started) request.once('end', done)
      response.on('close', done)
    }
  }

  function fault(
    request: ClientRequest,
    response: ClientResponse,
    facts: RequestFacts,
    account: Account,
    error: unknown,
  ): void {
    if (response.destroyed || request.socket.destroyed) return // the client left while we were waiting for it
    services.onFault(error)
    if (response.headersSent) {
      response.destroy()
      return
    }
    const bytes = respond(request, response, FAULT)
    record(facts, account, { event: 'request', status: FAULT.status, bytes, reason: 'fault' })
  }

  function walk(
    request: ClientRequest,
    response: ClientResponse,
    facts: RequestFacts,
    decision: Decision,
  ): Promise<void> | undefined {
    note(decision.account, facts.nowMs)
    // Whoever waits for our word before its body gets the answer instead, and may send neither body nor request behind it.
    if (decision.kind === 'refuse' && request.headers.expect !== undefined) response.shouldKeepAlive = false
    switch (decision.kind) {
      case 'forward':
        forward(request, response, facts, decision)
        return undefined
      case 'refuse':
        refuse(request, response, facts, decision)
        return undefined
      case 'page':
        return page(request, response, facts, decision)
      case 'inspect':
        return inspect(request, response, facts, decision)
    }
  }

  function join(facts: RequestFacts, decision: ForwardDecision, socket: Socket, key: string | undefined, head: Buffer) {
    const { account } = decision
    const { principal, client } = account
    let free: (() => void) | undefined
    const refuse = () => upgrade.crowded()
    const own = {
      ...services,
      handshakeMs,
      takeTurn: (guest: Guest) => takeTurn(account, guest, { hasBody: false, refuse }),
    }
    const upgrade = new Upgrade(socket, facts, decision, own, ({ status, bytesDown, broken }) => {
      free?.()
      const outcome = { ...(status !== undefined && { status }), ...(broken && { reason: broken }) }
      record(facts, account, { event: 'request', bytes: bytesDown, ...outcome })
    })
    free = sockets.add({
      principal,
      client,
      isStranger: isStranger(principal),
      clientId: decision.socket?.clientId ?? '',
      close: (code, reason) => upgrade.close(code, reason),
    })
    if (free) {
      upgrade.start(key, head)
      return
    }
    respondRaw(socket, NO_SOCKET_LEFT, facts.nowMs)
    record(facts, account, { event: 'request', status: NO_SOCKET_LEFT.status })
  }

  return {
    onRequest(request, response, secure) {
      const facts = requestFacts(request, secure, false, nowMs())
      let account: Account = { client: facts.peer, principal: undefined, failures: [] }
      const failed = (error: unknown) => fault(request, response, facts, account, error)
      try {
        const decision = decide(facts, policy)
        account = decision.account
        walk(request, response, facts, decision)?.catch(failed)
      } catch (error) {
        failed(error)
      }
    },
    onUpgrade(request, socket, head, secure) {
      try {
        const facts = requestFacts(request, secure, true, nowMs())
        const decision = decide(facts, policy)
        note(decision.account, facts.nowMs)
        if (decision.kind === 'forward') {
          join(facts, decision, socket, request.headers['sec-websocket-key'], head)
        } else if (decision.kind === 'refuse') {
          const answer = pages.refusal(decision, facts)
          respondRaw(socket, answer, facts.nowMs)
          record(facts, decision.account, { event: 'refusal', status: answer.status, reason: decision.refusal.reason })
        } else {
          respondRaw(socket, protocolAnswer(400, 'No WebSocket is served here.'), facts.nowMs)
        }
      } catch (error) {
        services.onFault(error)
        socket.destroy()
      }
    },
    onRefused(status, { remoteAddress: peer = '' }, request) {
      const { method = '', url: target = '', rawHeaders: headers = [] } = request ?? {}
      const facts = { method, target, headers, peer, secure: false, upgrade: false, nowMs: nowMs(), freshClientId: '' }
      const client = clientAddress(facts, readHead(facts), policy)
      record(facts, { client, principal: undefined, failures: [] }, { event: 'refusal', status, reason: 'protocol' })
    },
  }
}

const FAULT: Answer = {
  ...protocolAnswer(503, 'This server made a mistake of its own. Its owner finds it in the log.'),
  status: 500,
}
