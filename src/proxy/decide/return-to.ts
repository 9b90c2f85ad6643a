import type { Principal, RequestFacts } from './facts.ts'
import { type Head, isPageLoad } from './head.ts'
import { findRoute } from './routes.ts'
import type { CanonicalPath, Target } from './target.ts'

/**
 * May a login lead there? Only to what ComfyUI's table lets one read: the login page goes on by itself where a session
 * lives, with a request that is then same-origin, and must carry nobody to a custom node's GET that does something.
 */
export function isLanding(path: CanonicalPath | undefined): path is CanonicalPath {
  const route = path && findRoute('GET', path)
  return route !== undefined && route.role === 'viewer' && route.mark !== 'socket'
}

/** Visible ASCII without what a browser may rewrite: the text stands in a page and in a Location. */
const SAFE = /^\/(?![/\\])[!#-;=?-[\]_a-z~]*$/

/** Rule 13: a canonical path of ours, less the key, or `/`. */
export function returnToOf(target: Target): string {
  return isLanding(target.canonical) && SAFE.test(target.withoutKey) ? target.withoutKey : '/'
}

/** Where a browser goes on that brought its key: where its own user sent it, any canonical path. */
export function cleanUrlOf(target: Target, head: Head): string {
  const own = head.fetchSite === 'none' || head.fetchSite === 'same-origin'
  return own && target.canonical && SAFE.test(target.withoutKey) ? target.withoutKey : returnToOf(target)
}

/** Rule 13: a page load with `?api_key=` on a canonical path is answered by a page that makes a session and a clean URL. */
export function isKeyArrival(
  facts: RequestFacts,
  head: Head,
  target: Target,
  principal: Principal | undefined,
): boolean {
  return (
    principal?.carrier === 'query' &&
    facts.method === 'GET' &&
    target.canonical !== undefined &&
    isPageLoad(facts, head)
  )
}
