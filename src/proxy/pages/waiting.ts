import type { RequestFacts } from '../decide/facts.ts'
import { isPageLoad, readHead } from '../decide/head.ts'
import { type Answer, jsonAnswer } from './answer.ts'
import { loadDocument } from './document.ts'

const RETRY_SECONDS = 5

/** How an exchange with the upstream went wrong before its head could be sent on. */
export type GatewayFault =
  /** It broke the connection, or what it said is no HTTP. */
  | 'cut'
  /** It did not answer in time. */
  | 'timeout'

const FAULTS = {
  cut: [502, 'ComfyUI broke off before it answered.'],
  timeout: [504, 'ComfyUI did not answer in time.'],
} as const

export interface WaitingPages {
  /** 503 while no ComfyUI answers: browsers get a page that reloads itself, programs JSON with Retry-After. */
  waiting(facts: RequestFacts): Answer
  badGateway(facts: RequestFacts, fault: GatewayFault): Answer
}

export function createWaitingPages(basePath: string): WaitingPages {
  const document = loadDocument('waiting', basePath)

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
        message: `${what} It may have done what was asked: look before you ask again.`,
      })
    },
  }
}
