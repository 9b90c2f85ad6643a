import type { Dispatcher } from 'undici'
import type { ForwardDecision, RequestFacts } from '../decide/facts.ts'
import { responseHeaders } from '../decide/response-headers.ts'
import type { Answer } from '../pages/answer.ts'
import type { GatewayFault } from '../pages/waiting.ts'
import { checkHead, headerOf, without } from './answer-head.ts'
import { BodySource, continueIfAsked, dropRest, framingOf } from './body.ts'
import type { ClientRequest, ClientResponse } from './client.ts'
import { IdLookout } from './ownership.ts'
import { plainText, protocolAnswer, respond, tooLargeAnswer } from './respond.ts'
import type { Eviction, Guest } from './turns.ts'
import { codeOf, isUnreachable, type Upstream } from './upstream.ts'

/** An index page longer than this passes as it is. */
const INDEX_BYTES = 2 * 1024 * 1024
const SMALL_BYTES = 16 * 1024
/** An answer to POST /prompt longer than this teaches nothing. */
const LEARN_BYTES = 256 * 1024
/** Informational heads (1xx) before one answer: each of them restarts the clock that waits for it. */
const MOST_INFORMATIONAL = 64

/** Why a client did not get its answer whole. */
export type Broken = 'client-left' | 'client-stalled' | 'upstream-cut' | 'access-ended' | 'gave-way'

/** What forward.ts asks of pages/, and of who keeps the ledger of prompts. */
export interface ForwardServices {
  readonly upstream: Upstream
  readonly idleMs: number
  /** --max-upload-size; undefined leaves it to ComfyUI. */
  readonly maxUploadBytes: number | undefined
  readonly waiting: (facts: RequestFacts) => Answer
  readonly badGateway: (facts: RequestFacts, fault: GatewayFault) => Answer
  readonly injectIndex: (html: Buffer, headers: readonly string[], keyId: string | undefined) => Buffer | undefined
  /** Rule 8: whose prompt this is now. The answer goes out once that is settled, so that its reader may stop it at once. */
  readonly learnPrompt: (answer: Buffer, decision: ForwardDecision, newId: boolean) => Promise<void>
  /** A fault of ours that a request brought to light. */
  readonly onFault: (error: unknown) => void
}

/** One exchange through undici's dispatch, streamed both ways (rule 12), to the last byte of its answer or the end of either side. */
export class Exchange implements Dispatcher.DispatchHandler, Guest {
  readonly #request: ClientRequest
  readonly #response: ClientResponse
  readonly #facts: RequestFacts
  readonly #decision: ForwardDecision
  readonly #services: ForwardServices
  #controller: Dispatcher.DispatchController | undefined
  #body: BodySource | undefined
  #lookout: IdLookout | undefined
  #gone = false
  #headed = false
  #wrote = false
  #ended = false
  /** Of the answer as announced; undefined where it is chunked. */
  #left: number | undefined
  /** Answers that are read whole: the index page, and the one to POST /prompt. */
  #kept: Buffer[] | undefined
  #keptBytes = 0
  #status = 0
  #rawHeaders: string[] = []
  #readerTimer: NodeJS.Timeout | undefined
  #informational = 0
  /** Bytes of answer body handed to the client. */
  bytes = 0
  broken: Broken | undefined
  /** Its turn has come, and ComfyUI is asked. */
  started = false

  constructor(
    request: ClientRequest,
    response: ClientResponse,
    facts: RequestFacts,
    decision: ForwardDecision,
    services: ForwardServices,
  ) {
    this.#request = request
    this.#response = response
    this.#facts = facts
    this.#decision = decision
    this.#services = services
  }

  get waitsForClient(): boolean {
    return this.#readerTimer !== undefined || this.#ended || this.#body?.waits === true
  }

  get movedBytes(): number {
    return this.bytes + (this.#body?.bytes ?? 0)
  }

  /** Cut; a body that nothing has been answered to yet is told so. */
  evict(why: Eviction): void {
    if (why === 'client-stalled' && !this.#headed && this.#body?.waits) {
      this.#body.stall()
      return
    }
    this.broken = why
    this.clientGone()
    this.#response.destroy()
  }

  start(): void {
    if (this.#response.destroyed) return // in one breath with whose turn this was, and nobody has been told yet
    this.started = true
    continueIfAsked(this.#request, this.#response)
    const { target, headers, body, response } = this.#decision
    const { method } = this.#facts
    const options = {
      // The page's length is known only once it has been changed: HEAD asks for it whole.
      method: (response.index && method === 'HEAD' ? 'GET' : method) as Dispatcher.HttpMethod,
      path: target,
      headers: headers as string[],
      body: null as Buffer | BodySource | null,
    }
    if (body !== undefined) {
      options.body = Buffer.from(body)
    } else {
      const framing = framingOf(this.#request)
      if (framing.hasBody) {
        if (this.#decision.plainBody) this.#lookout = new IdLookout()
        const { idleMs, maxUploadBytes } = this.#services
        this.#body = options.body = new BodySource(this.#request, idleMs, maxUploadBytes, this.#lookout?.see)
        if (framing.contentLength !== undefined) {
          options.headers = [...headers, 'Content-Length', String(framing.contentLength)]
        }
      }
    }
    this.#services.upstream.dispatch(options, this)
  }

  /** The client's connection closed before the answer was whole: the upstream stops working for it. */
  clientGone(): void {
    this.#gone = true
    this.broken ??= 'client-left'
    clearTimeout(this.#readerTimer)
    this.#body?.destroy()
    this.#controller?.abort(new Error('the client is gone'))
  }

  /** Its key or session died before its body had ended: ComfyUI never sees that end, and the client's connection closes. */
  abort(): void {
    this.broken = 'access-ended'
    this.clientGone()
    this.#response.destroy()
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#gone) throw new Error('the client is gone') // it waited for a connection: nothing has been sent yet
    this.#controller = controller
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    statusText?: string,
  ): void {
    if (this.#gone) return
    if (status < 200) {
      // 1xx are the upstream's and ours, hop by hop
      if (++this.#informational > MOST_INFORMATIONAL) throw new Error('informational heads without end')
      return
    }
    this.#services.upstream.answered()
    this.#status = status
    const raw = controller.rawHeaders as readonly Buffer[]
    const headers = this.#rawHeaders
    for (const item of raw) headers.push(item.toString('latin1'))
    checkHead(headers)
    if (this.#keeps(status)) {
      this.#kept = []
      return
    }
    this.#writeHead(this.#headers(false), statusText)
    const { method } = this.#facts
    const asked = method === 'HEAD' && this.#decision.response.index // as GET, and a body comes all the same
    if (asked || (status === 205 && headerOf(headers, 'content-length') !== '0')) this.#dropBody(controller)
  }

  /** The client gets none behind this head, and over HTTP/2 its stream is over: whoever waited to write would wait for ever. */
  #dropBody(controller: Dispatcher.DispatchController): void {
    this.#end()
    this.#gone = true
    controller.abort(new Error('only its head was asked for'))
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#gone) return
    if (this.#kept) this.#keep(controller, chunk)
    else this.#write(controller, chunk)
  }

  onResponseEnd(): void {
    clearTimeout(this.#readerTimer)
    if (this.#gone) return
    if (this.#services.upstream.resetting) {
      this.#fail(new Error('reset in a body without a length')) // undici takes that for its end
      return
    }
    if (this.#kept) this.#endKept(this.#kept)
    else this.#end()
  }

  onResponseError(_controller: unknown, error: Error): void {
    clearTimeout(this.#readerTimer)
    this.#fail(error)
  }

  #fail(error: Error): void {
    this.#body?.destroy()
    if (this.#gone || this.#ended) return
    if (this.#headed) {
      this.broken = 'upstream-cut'
      this.#response.destroy() // cut, never ended as if it were complete
      return
    }
    this.#ended = true
    this.bytes = respond(this.#request, this.#response, this.#failure(error))
  }

  #failure(error: Error): Answer {
    const { upstream, waiting, badGateway, maxUploadBytes } = this.#services
    if (this.#body?.tooLong) return tooLargeAnswer(maxUploadBytes!)
    if (isUnreachable(error)) {
      upstream.failed(error)
      return waiting(this.#facts)
    }
    const code = codeOf(error)
    if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') {
      return protocolAnswer(400, 'This request cannot be sent on: its target or one of its headers is malformed.')
    }
    if (this.#body?.stalled) return protocolAnswer(408, 'The body of this request stopped coming.')
    return badGateway(this.#facts, code === 'UND_ERR_HEADERS_TIMEOUT' ? 'timeout' : 'cut')
  }

  #keeps(status: number): boolean {
    const { response, learnPrompt } = this.#decision
    if (status !== 200) return false
    if (learnPrompt) return true
    return response.index && headerOf(this.#rawHeaders, 'content-encoding') === undefined
  }

  #keep(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#kept!.push(chunk)
    this.#keptBytes += chunk.length
    if (this.#keptBytes <= (this.#decision.learnPrompt ? LEARN_BYTES : INDEX_BYTES)) return
    const kept = this.#kept!
    this.#kept = undefined
    this.#writeHead(this.#headers(false))
    if (this.#facts.method === 'HEAD') {
      this.#dropBody(controller)
      return
    }
    for (const piece of kept) this.#write(controller, piece)
  }

  #endKept(kept: Buffer[]): void {
    const body = Buffer.concat(kept)
    if (this.#decision.learnPrompt) {
      const newId = this.#body?.whole === true && this.#lookout?.namesNone === true
      const learnt = this.#services.learnPrompt(body, this.#decision, newId).catch(this.#services.onFault)
      const end = () => (this.#gone ? undefined : this.#endWhole(body))
      learnt.then(end).catch((error) => this.#fail(error))
      return
    }
    const page = this.#services.injectIndex(body, this.#rawHeaders, this.#decision.account.principal?.keyId)
    this.#endWhole(page ?? body, page !== undefined)
  }

  #endWhole(body: Buffer, changed = false): void {
    const headers = this.#headers(changed)
    if (headerOf(headers, 'content-length') === undefined) headers.push('Content-Length', String(body.length))
    this.#writeHead(headers)
    this.#ended = true
    this.bytes = body.length
    this.#dropRest()
    this.#response.end(this.#facts.method === 'HEAD' ? undefined : body)
  }

  /** Rule 13's; length and validators go where the page was changed, and stay where it passes as it is. */
  #headers(changed: boolean): string[] {
    const { response } = this.#decision
    const plan = response.index && !changed ? { ...response, index: false } : response
    const headers = responseHeaders(this.#rawHeaders, plan, this.#status)
    // RFC 9110, section 8.6: there is none on a 204, and HTTP/2 would wait for a body.
    if (this.#status === 204) return without(headers, 'content-length')
    // Section 15.3.6: nor is there content behind a 205, and it says so itself.
    return this.#status === 205 ? [...without(headers, 'content-length'), 'Content-Length', '0'] : headers
  }

  #writeHead(headers: readonly string[], statusText?: string): void {
    const length = headerOf(headers, 'content-length')
    if (length !== undefined && this.#facts.method !== 'HEAD') this.#left = Number(length)
    const text = plainText(statusText)
    if (text !== undefined) this.#response.writeHead(this.#status, text, headers as string[])
    else this.#response.writeHead(this.#status, headers as string[])
    this.#headed = true
    // A head whose body is not here yet goes out by itself; a small answer waits, so that the two share one write.
    if (this.#left === undefined || this.#left > SMALL_BYTES) process.nextTick(flushHead, this)
  }

  /** Called in the tick after the head was made. */
  flush(): void {
    if (!this.#wrote && !this.#ended && !this.#gone) this.#response.flushHeaders()
  }

  #write(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#wrote = true
    this.bytes += chunk.length
    if (this.#left !== undefined) {
      this.#left -= chunk.length
      if (this.#left === 0 && this.#request.complete) {
        this.#ended = true
        // As a string it shares one buffer with the head.
        if (chunk.length <= SMALL_BYTES) this.#response.end(chunk.toString('latin1'), 'latin1')
        else this.#response.end(chunk)
        return
      }
    }
    if (this.#response.write(chunk) || this.#readerTimer) return
    controller.pause()
    this.#readerTimer = setTimeout(() => {
      this.broken = 'client-stalled'
      this.#response.destroy()
    }, this.#services.idleMs).unref()
    this.#response.once('drain', () => {
      clearTimeout(this.#readerTimer)
      this.#readerTimer = undefined
      controller.resume()
    })
  }

  #dropRest(): void {
    if (this.#request.complete) return
    this.#body?.destroy() // undici gives up the connection it was sending this body on
    dropRest(this.#request)
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#dropRest()
    this.#response.end()
  }
}

function flushHead(exchange: Exchange): void {
  exchange.flush()
}
