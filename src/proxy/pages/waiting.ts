import type { RequestFacts } from '../decide/facts.ts'
import { isPageLoad, readHead } from '../decide/head.ts'
import { type Answer, jsonAnswer } from './answer.ts'
import { loadDocument } from './document.ts'

const RETRY_SECONDS = 5

/** How an exchange with the upstream went wrong before its head could be sent on. */
export type GatewayFault =
  /** It broke the connection, or nothing was there. */
  | 'closed'
  /** It did not answer in time. */
  | 'timeout'
  /** What it answered is no HTTP, or no answer to a WebSocket handshake. */
  | 'malformed'

const FAULTS = {
  closed: [502, 'ComfyUI closed the connection before it answered.'],
  timeout: [504, 'ComfyUI did not answer in time.'],
  malformed: [502, 'ComfyUI gave an answer that cannot be read.'],
} as const

export interface WaitingPages {
  /** 503 while no ComfyUI answers: browsers get a page that reloads itself, programs JSON with Retry-After. */
  waiting(facts: RequestFacts): Answer
  badGateway(facts: RequestFacts, fault: GatewayFault): Answer
}

export function createWaitingPages(): WaitingPages {
  const document = loadDocument('waiting')

  return {
    waiting(facts) {
      const retry = ['Retry-After', String(RETRY_SECONDS)]
      if (isPageLoad(facts, readHead(facts)))
        return document.answer(503, 'waiting', { title: 'ComfyUI is starting' }, retry)
      const message = `ComfyUI is not running, or still starting. Try again in ${RETRY_SECONDS} seconds.`
      return jsonAnswer(503, { error: 'Service Unavailable', message }, retry)
    },
    badGateway(facts, fault) {
      const [status, what] = FAULTS[fault]
      if (isPageLoad(facts, readHead(facts))) {
        return document.answer(status, 'fault', { title: 'ComfyUI did not answer', text: what })
      }
      const error = status === 504 ? 'Gateway Timeout' : 'Bad Gateway'
      return jsonAnswer(status, {
        error,
        message: `${what} Whether it did what was asked is not known; look before trying again.`,
      })
    },
  }
}
