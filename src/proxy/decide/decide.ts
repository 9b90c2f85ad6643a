import type { Digest } from '../../keys/digest.ts'
import { BODY_LIMIT_BYTES, checkBody, checkBodyHeaders, type StopMark } from './body-rules.ts'
import { offeredSubprotocol, readCarriers } from './carriers.ts'
import { clientAddress } from './client.ts'
import { checkClientId } from './client-id.ts'
import { allowedOrigin, isPreflight } from './cors.ts'
import { checkCsrf, isSecure } from './csrf.ts'
import { isOpen, ownPage } from './exempt.ts'
import type {
  Account,
  Decision,
  ForwardDecision,
  InspectDecision,
  Policy,
  Principal,
  Refusal,
  RefuseDecision,
  RequestFacts,
} from './facts.ts'
import { readHead } from './head.ts'
import { checkHost } from './host.ts'
import { identify, identifyExempt } from './identify.ts'
import { isRefusal, refusal } from './refusal.ts'
import { requestHeaders } from './request-headers.ts'
import { cleanUrlOf, isKeyArrival, returnToOf } from './return-to.ts'
import { requireRole, standpointOf } from './role.ts'
import { parseTarget } from './target.ts'

const NO_FAILURES: readonly Digest[] = []

/** Rules 1 to 10, and what is decided of 11 and 13. Synchronous, and touches nothing but its arguments. */
export function decide(facts: RequestFacts, policy: Policy): Decision {
  const head = readHead(facts)
  const client = clientAddress(facts, head, policy) // rule 3
  let account: Account = { client, principal: undefined, failures: NO_FAILURES }
  let returnTo = '/'
  const refuse = (denied: Refusal): RefuseDecision => ({ kind: 'refuse', refusal: denied, returnTo, account })

  const target = facts.method === 'CONNECT' ? refusal(400, 'bad-target') : parseTarget(facts.target) // rule 1
  if (isRefusal(target)) return refuse(target)
  const path = target.canonical
  const host = checkHost(head, policy) // rule 2
  if (isRefusal(host)) return refuse(host)
  if (head.serviceWorker !== undefined) return refuse(refusal(403, 'service-worker')) // rule 13
  const credentials = readCarriers(head, target, policy, isSecure(facts, head, policy)) // rule 5
  if (isRefusal(credentials)) return refuse(credentials)
  if (isPreflight(facts, head, policy)) return { kind: 'page', page: 'preflight', returnTo, account }

  const page = ownPage(facts, path)
  const open = isOpen(facts, path, page, policy) // rule 7: only a CanonicalPath can be exempt
  let principal: Principal | undefined
  if (!open || facts.upgrade) {
    const ask = open ? identifyExempt : identify // rules 4 and 6
    const identified = ask(facts, head, credentials, client, policy)
    principal = identified.principal
    account = { client, principal, failures: identified.failures }
    if (identified.refusal) {
      returnTo = returnToOf(target)
      return refuse(identified.refusal)
    }
  }

  const standpoint = standpointOf(facts, path, policy)
  const { route } = standpoint
  if (principal && !open && page === undefined) {
    const denied = requireRole(principal, standpoint, path, policy) // rule 8
    if (denied) return refuse(denied)
  }
  const ambient = open
    ? facts.upgrade || page === 'login-post' || (policy.auth === 'none' && !page)
    : principal?.ambient
  if (ambient) {
    const standing = { known: standpoint.known || page !== undefined, page: route?.mark === 'index' }
    const foreign = checkCsrf(facts, head, principal, standing, policy) // rule 9
    if (foreign) {
      returnTo = returnToOf(target)
      return refuse(foreign)
    }
  }
  if (page) return { kind: 'page', page, returnTo, account }
  if (principal?.carrier === 'query' && isKeyArrival(facts, head, target)) {
    return { kind: 'page', page: 'key-arrival', returnTo: cleanUrlOf(target, head), account }
  }

  const socket =
    facts.upgrade && principal
      ? checkClientId(target.withoutKey, route?.mark === 'socket', principal, facts, policy)
      : undefined // rule 11
  if (isRefusal(socket)) return refuse(socket)
  const index = route?.mark === 'index' && policy.auth === 'keys'
  const forward = (body: string | undefined): ForwardDecision => ({
    kind: 'forward',
    target: socket?.target ?? target.withoutKey,
    headers: requestHeaders(facts, head, policy, { index, newBody: body !== undefined }), // rule 10
    body,
    response: {
      private: !open && policy.auth === 'keys',
      noStore: target.keys.length > 0,
      sandbox: path === undefined || route?.mark === 'sandbox',
      index,
      corsOrigin: allowedOrigin(head, policy),
      cookieNames: [policy.cookieName(false), policy.cookieName(true)],
    },
    socket: socket && { clientId: socket.clientId, subprotocol: offeredSubprotocol(head) },
    learnPrompt: route?.mark === 'prompt' && principal?.keyId !== undefined,
    account,
  })
  const stop = principal && principal.role !== 'admin' ? stopMark(route?.mark) : undefined
  if (!principal || !stop) return forward(undefined)

  const encoded = checkBodyHeaders(head)
  if (encoded) return refuse(encoded)
  const inspect: InspectDecision = {
    kind: 'inspect',
    limitBytes: BODY_LIMIT_BYTES,
    check: (bytes) => {
      const body = checkBody(bytes, stop, principal, policy)
      return isRefusal(body) ? refuse(body) : forward(body)
    },
    tooLong: refuse(refusal(400, 'bad-body')),
    account,
  }
  return inspect
}

function stopMark(mark: string | undefined): StopMark | undefined {
  return mark === 'stop-one' || mark === 'stop-queued' || mark === 'stop-many' ? mark : undefined
}
