import { decodeQuery } from './encoding.ts'
import type { Policy, Principal, Refusal, RequestFacts } from './facts.ts'
import { refusal } from './refusal.ts'
import type { Route } from './routes.ts'
import type { Target } from './target.ts'

export interface ClientId {
  /** Empty where there is none. */
  readonly clientId: string
  /** What goes upstream: with a clientId of our making where the page named none. */
  readonly target: string
}

/** As ComfyUI reads it: the first `clientId`, decoded, `+` a blank, empty is absent. 400 where it is not UTF-8. */
function firstClientId(query: string): string | Refusal {
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=')
    const raw = equals === -1 ? pair : pair.slice(0, equals)
    if (decodeQuery(raw) !== 'clientId') continue
    return equals === -1 ? '' : (decodeQuery(pair.slice(equals + 1)) ?? refusal(400, 'bad-target'))
  }
  return ''
}

/**
 * Rule 11, for every Upgrade: a clientId belongs to the principal that used it first (403). ComfyUI's own socket
 * gets one where it has none, in front, as an empty first one would hide it. Undefined for what is no Upgrade.
 */
export function checkClientId(
  facts: RequestFacts,
  { withoutKey: target }: Target,
  route: Route | undefined,
  principal: Principal | undefined,
  policy: Policy,
): ClientId | Refusal | undefined {
  if (!facts.upgrade || !principal) return undefined
  const mark = target.indexOf('?')
  const query = mark === -1 ? '' : target.slice(mark + 1)
  const clientId = query === '' ? '' : firstClientId(query)
  if (typeof clientId !== 'string') return clientId
  if (clientId === '') {
    if (route?.mark !== 'socket') return { clientId, target }
    const path = mark === -1 ? target : target.slice(0, mark)
    const made = `${path}?clientId=${facts.freshClientId}`
    return { clientId: facts.freshClientId, target: query === '' ? made : `${made}&${query}` }
  }
  const owner = policy.clientIdOwner(clientId, facts.nowMs)
  const free = owner === undefined || owner === principal.name
  // A stranger's socket must not keep a key's holder from an id of its own: strangers have no prompts to lose
  const yields = owner?.startsWith('anonymous:') === true && principal.keyId !== undefined
  return free || yields ? { clientId, target } : refusal(403, 'foreign-client-id')
}
