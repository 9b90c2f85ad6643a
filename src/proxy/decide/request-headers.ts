import { otherSubprotocols, trimBlanks } from './carriers.ts'
import { isTrustedPeer } from './client.ts'
import type { Policy, RequestFacts } from './facts.ts'
import type { Head } from './head.ts'

/** Hop-by-hop (RFC 9110, 7.6.1), framing and Expect: the wire makes its own. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'http2-settings',
  'expect',
])

/** Credentials, the headers by which ComfyUI would refuse its own page behind us, and Host, which is set anew. */
const DROPPED: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'host',
  'authorization',
  'x-api-key',
  'origin',
  'referer',
  'sec-fetch-site',
])

const CONDITIONAL: ReadonlySet<string> = new Set([
  'range',
  'if-range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'accept-encoding',
])

const BODY: ReadonlySet<string> = new Set(['content-type', 'content-encoding'])
const NONE: ReadonlySet<string> = new Set()

export interface HeaderPlan {
  /** The page: asked for whole and uncompressed (rule 12). */
  readonly index: boolean
  /** In place of the client's: re-serialised JSON, or nothing. */
  readonly newBody: string | undefined
}

/** Names in a Connection header, lower-cased: no header of ours is among what they delete, those are added after. */
export function connectionNames(connection: string | undefined): ReadonlySet<string> {
  if (connection === undefined || connection === 'keep-alive') return NONE
  return new Set(connection.split(',').map((name) => name.trim().toLowerCase()))
}

/**
 * Rule 10: delete, then set (oauth2-proxy CVE-2025-64484, Traefik CVE-2024-45410, Caddy CVE-2026-30851). What is left
 * goes up as it came, in its case and order; Host stands first, as the upstream's own address.
 */
export function requestHeaders(facts: RequestFacts, head: Head, policy: Policy, plan: HeaderPlan): string[] {
  const { headers } = facts
  const { names } = head
  const named = connectionNames(head.connection)
  const out = ['Host', policy.upstreamHost]
  let cookieDone = false
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!
    if (DROPPED.has(name) || named.has(name) || name.startsWith(':')) continue
    if (isSpoof(name, facts, policy)) continue
    if (plan.index && CONDITIONAL.has(name)) continue
    if (plan.newBody !== undefined && BODY.has(name)) continue
    let value: string | undefined = headers[2 * i + 1]!
    if (name === 'cookie') {
      value = cookieDone ? undefined : otherCookies(head.cookie!, policy)
      cookieDone = true
    } else if (name === 'sec-websocket-protocol') value = otherSubprotocols(value)
    if (value !== undefined) out.push(headers[2 * i]!, value)
  }
  if (plan.index) out.push('Accept-Encoding', 'identity')
  if (plan.newBody) out.push('Content-Type', 'application/json')
  return out
}

/** Headers that only a trusted hop may send, in every spelling that a server may fold into theirs (`Comfy_User`). */
function isSpoof(name: string, facts: RequestFacts, policy: Policy): boolean {
  const first = name.charCodeAt(0)
  if (first !== 120 && first !== 102 && first !== 99) return false // x, f, c
  const folded = name.includes('_') ? name.replaceAll('_', '-') : name
  if (folded === 'comfy-user') return policy.comfyUser !== 'pass' || name !== folded
  if (folded === 'forwarded' || folded === 'x-real-ip' || folded.startsWith('x-forwarded-')) {
    return name !== folded || !isTrustedPeer(facts, policy)
  }
  return folded === 'x-api-key'
}

/** Cookies less ours, byte for byte: those of our names, and those of another comfy-auth on this host, by their secret's prefix. */
function otherCookies(header: string, policy: Policy): string | undefined {
  const pairs = header.split(';')
  const others = pairs.filter((pair) => !isOurs(pair, policy))
  if (others.length === pairs.length) return header
  const rest = others.join(';').replace(/^[ \t]+/, '')
  return rest === '' ? undefined : rest
}

function isOurs(pair: string, policy: Policy): boolean {
  const equals = pair.indexOf('=')
  const name = trimBlanks(equals === -1 ? pair : pair.slice(0, equals))
  if (name === policy.cookieName(false) || name === policy.cookieName(true)) return true
  return equals !== -1 && pair.slice(equals + 1).includes('comfys_')
}
