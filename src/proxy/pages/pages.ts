import type { PageDecision, RefuseDecision, RequestFacts } from '../decide/facts.ts'
import { type Answer, seeOther } from './answer.ts'
import type { LoginDeps } from './entry.ts'
import { createHealth, type ReadUpstream } from './health.ts'
import { createInjectScript, injectIndex } from './index-page.ts'
import { createLoginPages } from './login.ts'
import { logout } from './logout.ts'
import { preflight } from './preflight.ts'
import { refusalAnswer } from './refusal.ts'
import { createWaitingPages, type GatewayFault } from './waiting.ts'

export interface PagesDeps extends LoginDeps {
  readonly readUpstream: ReadUpstream
  readonly nowMs: () => number
  /** Show the small way out in ComfyUI's page. */
  readonly wayOut: boolean
}

/** Everything we answer ourselves, as values. */
export interface Pages {
  /** `body`: the whole request body, empty where there is none. */
  answer(decision: PageDecision, request: { readonly facts: RequestFacts; readonly body: Uint8Array }): Promise<Answer>
  refusal(decision: RefuseDecision, facts: RequestFacts): Answer
  waiting(facts: RequestFacts): Answer
  badGateway(facts: RequestFacts, fault: GatewayFault): Answer
  /** The index page with our script in it, for the holder of this key; undefined: it passes as it is. */
  injectIndex(html: Uint8Array, upstreamHeaders: readonly string[], keyId: string | undefined): Buffer | undefined
}

export function createPages(deps: PagesDeps): Pages {
  const login = createLoginPages(deps)
  const health = createHealth(deps.readUpstream, deps.nowMs)
  const injectScript = createInjectScript()
  /** Nobody is told of a login or a logout that a kill -9 could undo. */
  const saved = async (answer: Answer): Promise<Answer> => {
    await deps.sessions.saved()
    return answer
  }

  return {
    ...createWaitingPages(deps.policy.basePath),
    async answer(decision, { facts, body }) {
      switch (decision.page) {
        case 'health':
          return health()
        case 'login':
          return login.page(decision, facts)
        case 'login-post':
          return saved(login.post(decision, facts, body))
        case 'logout-post':
          return saved(logout(deps, facts))
        case 'inject-script':
          return injectScript(facts)
        case 'key-arrival':
          return saved(login.arrival(decision, facts))
        case 'to-base-path':
          return seeOther(decision.returnTo)
        case 'preflight':
          return preflight(deps.policy, facts)
      }
    },
    refusal: (decision, facts) => refusalAnswer(login, deps.policy, decision, facts),
    injectIndex: (html, headers, keyId) =>
      injectIndex(html, headers, {
        wayOut: deps.wayOut,
        basePath: deps.policy.basePath,
        keyId: deps.storage === 'on' ? keyId : undefined,
      }),
  }
}
