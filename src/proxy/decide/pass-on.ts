import { BODY_LIMIT_BYTES, checkBody, checkBodyHeaders, type StopMark } from './body-rules.ts'
import { offeredSubprotocol } from './carriers.ts'
import type { ClientId } from './client-id.ts'
import { allowedOrigin } from './cors.ts'
import type {
  Account,
  ForwardDecision,
  InspectDecision,
  Policy,
  Principal,
  Refusal,
  RefuseDecision,
  RequestFacts,
  ResponsePlan,
} from './facts.ts'
import type { Head } from './head.ts'
import { isRefusal, refusal } from './refusal.ts'
import { requestHeaders } from './request-headers.ts'
import type { Route } from './routes.ts'
import type { Target } from './target.ts'

/** What the rules made of a request that they let pass. */
export interface Passed {
  readonly facts: RequestFacts
  readonly head: Head
  readonly target: Target
  readonly route: Route | undefined
  /** Nobody had to be anybody (rule 7). */
  readonly open: boolean
  /** Set for an Upgrade. */
  readonly clientId: ClientId | undefined
  readonly account: Account
  /** Rules 4, 6 and 8 at another time, for the same credentials. */
  readonly principalAt: (nowMs: number) => Principal | Refusal
  readonly refuse: (denied: Refusal) => RefuseDecision
}

/** What goes up, and how the answer comes back: at once, or where the role hangs on the body once that is read (rule 8). */
export function passOn(passed: Passed, policy: Policy): ForwardDecision | InspectDecision | RefuseDecision {
  const { head, route, account, refuse } = passed
  const { principal } = account
  const stop = stopMark(route)
  if (!stop || !principal || principal.role === 'admin') return forward(passed, policy, undefined)

  const unreadable = checkBodyHeaders(head)
  if (unreadable) return refuse(unreadable)
  return {
    kind: 'inspect',
    limitBytes: BODY_LIMIT_BYTES,
    check: (bytes, nowMs) => {
      const sender = passed.principalAt(nowMs)
      if (isRefusal(sender)) return refuse(sender)
      const body = checkBody(bytes, stop, sender, policy)
      return isRefusal(body) ? refuse(body) : forward(passed, policy, body)
    },
    tooLong: refuse(refusal(400, 'bad-body')),
    account,
  }
}

function stopMark(route: Route | undefined): StopMark | undefined {
  const mark = route?.mark
  return mark === 'stop-one' || mark === 'stop-queued' || mark === 'stop-many' ? mark : undefined
}

function forward(passed: Passed, policy: Policy, body: string | undefined): ForwardDecision {
  const { facts, head, target, route, clientId, account } = passed
  const response = responsePlan(passed, policy)
  const learnPrompt = route?.mark === 'prompt' && account.principal?.keyId !== undefined
  return {
    kind: 'forward',
    target: clientId?.target ?? target.withoutKey,
    headers: requestHeaders(facts, head, policy, { index: response.index, newBody: body }),
    body,
    response,
    socket: clientId && { clientId: clientId.clientId, subprotocol: offeredSubprotocol(head) },
    learnPrompt,
    plainBody: learnPrompt && checkBodyHeaders(head) === undefined,
    account,
  }
}

/** Where the page looks for it, one after the other. */
const USER_STYLES: ReadonlySet<string> = new Set(['/user.css', '/userdata/user.css', '/api/userdata/user.css'])

/** Rule 13, as far as the request decides it. */
function responsePlan({ head, target, route, open }: Passed, policy: Policy): ResponsePlan {
  return {
    private: !open && policy.auth === 'keys',
    noStore: target.keys.length > 0,
    // A path that is not canonical may be anything to the upstream
    sandbox: target.canonical === undefined || route?.mark === 'sandbox',
    userStyle: target.canonical !== undefined && USER_STYLES.has(target.canonical.text),
    index: route?.mark === 'index' && policy.auth === 'keys',
    corsOrigin: allowedOrigin(head, policy),
    cookieNames: [policy.cookieName(false), policy.cookieName(true)],
    basePath: policy.basePath,
    upstreamHost: policy.upstreamHost,
  }
}
