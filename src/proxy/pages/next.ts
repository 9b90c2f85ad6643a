import type { RequestFacts } from '../decide/facts.ts'
import { isRefusal } from '../decide/refusal.ts'
import { parseTarget } from '../decide/target.ts'

const MAX_LENGTH = 2_048

/** Our own pages: to return there after a login would only go round in a circle. */
const OWN_PAGES: readonly string[] = ['/auth_login.html', '/auth_logout', '/auth_inject.js']

/**
 * Where a login may return to (rule 13): a canonical path of ours with its query (less any key) and
 * fragment, in visible ASCII, so that no browser finds a host in it (`//h`, `/\h`, `/<tab>/h`).
 * Undefined for everything else.
 */
export function safeNext(text: string | undefined): string | undefined {
  if (text === undefined || text.length > MAX_LENGTH || !/^\/[!-~]*$/.test(text) || /["<>\\^`{|}]/.test(text)) {
    return undefined
  }
  const hash = text.indexOf('#')
  const target = parseTarget(hash === -1 ? text : text.slice(0, hash))
  if (isRefusal(target) || target.canonical === undefined || OWN_PAGES.includes(target.canonical.text)) return undefined
  return target.withoutKey + (hash === -1 ? '' : text.slice(hash))
}

/** The first value of `name` in the raw target's query, decoded as a form is. */
export function queryValue(facts: RequestFacts, name: string): string | undefined {
  const mark = facts.target.indexOf('?')
  return mark === -1 ? undefined : (new URLSearchParams(facts.target.slice(mark + 1)).get(name) ?? undefined)
}
