import { belowBase } from '../decide/base-path.ts'
import type { RequestFacts } from '../decide/facts.ts'
import { isRefusal } from '../decide/refusal.ts'
import { isLanding } from '../decide/return-to.ts'
import { parseTarget } from '../decide/target.ts'

const MAX_LENGTH = 2_048

/**
 * Where a login may return to (rule 13): a canonical path of ours that ComfyUI's table lets one read, with its query (less
 * any key) and fragment, in visible ASCII, so that no browser finds a host in it (`//h`, `/\h`, `/<tab>/h`). Undefined for
 * everything else: the login page goes there by itself where a session lives, so no link may choose a custom node's GET.
 */
export function safeNext(text: string | undefined, basePath: string): string | undefined {
  if (text === undefined || text.length > MAX_LENGTH || !/^\/[!-~]*$/.test(text) || /["<>\\^`{|}]/.test(text)) {
    return undefined
  }
  const hash = text.indexOf('#')
  const below = belowBase(hash === -1 ? text : text.slice(0, hash), basePath)
  if (below === undefined) return undefined
  const target = parseTarget(below)
  if (isRefusal(target) || !isLanding(target.canonical)) return undefined
  return basePath + target.withoutKey + (hash === -1 ? '' : text.slice(hash))
}

/** The first value of `name` in the raw target's query, decoded as a form is. */
export function queryValue(facts: RequestFacts, name: string): string | undefined {
  const mark = facts.target.indexOf('?')
  return mark === -1 ? undefined : (new URLSearchParams(facts.target.slice(mark + 1)).get(name) ?? undefined)
}
