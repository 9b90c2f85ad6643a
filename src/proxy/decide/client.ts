import { countedAs, formatIp, type IpAddress, parseIp } from './address.ts'
import type { Policy, RequestFacts } from './facts.ts'
import type { Head } from './head.ts'

/** Port and brackets off: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
function parseHop(hop: string): IpAddress | undefined {
  const text = hop.trim()
  if (text.startsWith('[')) {
    const end = text.indexOf(']')
    if (end === -1 || !isPortSuffix(text.slice(end + 1))) return undefined
    return parseIp(text.slice(1, end))
  }
  const colon = text.indexOf(':')
  if (colon === -1 || text.includes(':', colon + 1)) return parseIp(text)
  return isPortSuffix(text.slice(colon)) ? parseIp(text.slice(0, colon)) : undefined
}

function isPortSuffix(text: string): boolean {
  return text === '' || /^:\d{1,5}$/.test(text)
}

/** The peer is one of `--trusted-proxy`: its X-Forwarded-* speak. */
export function isTrustedPeer(facts: RequestFacts, policy: Policy): boolean {
  const peer = parseIp(facts.peer)
  return peer !== undefined && policy.isTrustedProxy(formatIp(peer))
}

/**
 * Rule 3: the socket's address, or behind a trusted proxy the last untrusted hop of X-Forwarded-For; a hop that is
 * no IP ends the walk at the peer. IPv6 counts by /64; a unix socket is `local`.
 */
export function clientAddress(facts: RequestFacts, head: Head, policy: Policy): string {
  if (facts.peer === '') return 'local'
  const peer = parseIp(facts.peer)
  if (!peer) return facts.peer
  if (head.forwardedFor !== undefined && policy.isTrustedProxy(formatIp(peer))) {
    const hops = head.forwardedFor.split(',')
    for (let i = hops.length - 1; i >= 0; i--) {
      const hop = parseHop(hops[i]!)
      if (!hop) break
      if (!policy.isTrustedProxy(formatIp(hop))) return countedAs(hop)
    }
  }
  return countedAs(peer)
}
