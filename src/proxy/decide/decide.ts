import type { Digest } from '../../keys/digest.ts'
import { belowBase, fromBeforeBase } from './base-path.ts'
import { lessCookies, readCarriers } from './carriers.ts'
import { clientAddress } from './client.ts'
import { checkClientId } from './client-id.ts'
import { isPreflight } from './cors.ts'
import { checkCsrf, isSecure } from './csrf.ts'
import { isOpen, ownPage } from './exempt.ts'
import type { Account, Decision, Policy, Principal, Refusal, RefuseDecision, RequestFacts } from './facts.ts'
import { isFormPost, isPageLoad, readHead } from './head.ts'
import { checkHost } from './host.ts'
import { identify, identifyExempt, senderOf } from './identify.ts'
import { passOn } from './pass-on.ts'
import { isRefusal, refusal } from './refusal.ts'
import { cleanUrlOf, isKeyArrival, returnToOf } from './return-to.ts'
import { requireRole, standpointOf } from './role.ts'
import { parseTarget } from './target.ts'

const NO_FAILURES: readonly Digest[] = []

/** Rules 1 to 10, and what is decided of 11 and 13. Synchronous, and touches nothing but its arguments. */
export function decide(outer: RequestFacts, policy: Policy): Decision {
  const { basePath } = policy
  const below = belowBase(outer.target, basePath)
  const facts = below === undefined || below === outer.target ? outer : { ...outer, target: below }
  const head = readHead(facts)
  const client = clientAddress(facts, head, policy) // rule 3
  let account: Account = { client, principal: undefined, failures: NO_FAILURES }
  let returnTo = `${basePath}/`
  const refuse = (denied: Refusal): RefuseDecision => ({ kind: 'refuse', refusal: denied, returnTo, account })

  const target = facts.method === 'CONNECT' ? refusal(400, 'bad-target') : parseTarget(facts.target) // rule 1
  if (isRefusal(target)) return refuse(target)
  const strangeHost = checkHost(head, policy) // rule 2
  if (strangeHost) return refuse(strangeHost)
  if (below === undefined) {
    const page = isPageLoad(facts, head) ? fromBeforeBase(facts.target, basePath) : undefined
    return page === undefined
      ? refuse(refusal(404, 'outside-base-path'))
      : { kind: 'page', page: 'to-base-path', returnTo: page, account }
  }
  if (head.serviceWorker !== undefined) return refuse(refusal(403, 'service-worker')) // rule 13
  const credentials = readCarriers(head, target, policy, isSecure(facts, head, policy)) // rule 5
  returnTo = basePath + returnToOf(target)
  // Rule 13: the login page takes a key out of the address, one that is not read too
  const inAddress = target.keys.length > 0 && isPageLoad(facts, head)
  const clashed = (denied: Refusal) => refuse(inAddress ? { ...denied, as: 'login' } : denied)
  if (isRefusal(credentials)) return clashed(credentials)
  if (isPreflight(facts, head, policy)) return { kind: 'page', page: 'preflight', returnTo, account }

  const sender = senderOf(facts, head, client, policy)
  const path = target.canonical
  const page = ownPage(facts, path)
  const open = isOpen(facts, path, page, policy) // rule 7 asks for a CanonicalPath: a doubtful path cannot be exempt
  let principal: Principal | undefined
  if (!open || facts.upgrade) {
    let identified = (open ? identifyExempt : identify)(facts, head, credentials, sender, policy) // rules 4 and 6
    const clash = identified.refusal?.reason
    if (clash === 'conflicting-keys' || clash === 'two-sessions') {
      // Rule 13: a key that arrives in a browser's address takes the place of the session there, or of both
      const arriving = identify(facts, head, lessCookies(credentials), sender, policy)
      if (isKeyArrival(facts, head, target, arriving.principal)) {
        identified = { ...arriving, failures: identified.failures }
      }
    }
    principal = identified.principal
    account = { ...sender, principal, failures: identified.failures }
    // Rule 5: who logs out with two sessions logs out of both
    if (identified.refusal && !(page === 'logout-post' && clash === 'two-sessions')) {
      if (clash === 'conflicting-keys') return clashed(identified.refusal)
      // A browser without a script that logs out with no session left is shown the login too
      const asPage = page === 'logout-post' && isFormPost(facts, head) && identified.refusal.status === 401
      return refuse(asPage ? { ...identified.refusal, as: 'login' } : identified.refusal)
    }
  }

  const standpoint = standpointOf(facts, path, policy)
  if (principal && !open && !page) {
    const denied = requireRole(principal, standpoint, path, policy) // rule 8
    if (denied) return refuse(denied)
  }
  const foreign = checkCsrf({ facts, head, principal, standpoint, page, open }, policy) // rule 9, for open ones too
  if (foreign) return refuse(foreign)

  if (page) return { kind: 'page', page, returnTo: `${basePath}/`, account }
  if (isKeyArrival(facts, head, target, principal)) {
    return { kind: 'page', page: 'key-arrival', returnTo: basePath + cleanUrlOf(target, head), account } // rule 13
  }
  const { route } = standpoint
  const clientId = checkClientId(facts, target, route, principal, policy) // rule 11
  if (isRefusal(clientId)) return refuse(clientId)
  const principalAt = (nowMs: number) => {
    const identified = identify({ ...facts, nowMs }, head, credentials, sender, policy)
    if (identified.refusal) return identified.refusal
    return requireRole(identified.principal, standpoint, path, policy) ?? identified.principal
  }
  // Rules 8 (bodies) and 10
  return passOn({ facts, head, target, route, open, clientId, account, principalAt, refuse }, policy)
}
