import { createHash } from 'node:crypto'
import { readPackageText } from '../../files/package.ts'
import type { RequestFacts } from '../decide/facts.ts'
import { type Answer, OWN_HEADERS } from './answer.ts'
import { escapeHtml } from './document.ts'

/** An index page longer than this passes as it is (rule 12). */
export const MAX_INDEX_BYTES = 2 * 1024 * 1024

export const INJECT_PATH = '/auth_inject.js'

/** `/auth_inject.js`: the same for everybody and without a secret, so it may be kept and asked for again by its ETag. */
export function createInjectScript(): (facts: RequestFacts) => Answer {
  const body = readPackageText('web/inject.js')
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  const headers = [
    'Cache-Control',
    'no-cache',
    'ETag',
    etag,
    'Cross-Origin-Resource-Policy',
    'same-origin',
    ...OWN_HEADERS.slice(2),
  ]
  return (facts) => {
    if (headerOf(facts.headers, 'if-none-match')?.includes(etag)) return { status: 304, headers, body: '' }
    return { status: 200, headers: ['Content-Type', 'text/javascript; charset=utf-8', ...headers], body }
  }
}

/**
 * The index page with our script before every other one. `undefined`, and the page passes as it is: not
 * HTML, encoded, too long, already injected, or under a CSP that would not let the script run.
 */
export function injectIndex(
  html: Uint8Array,
  upstreamHeaders: readonly string[],
  options: {
    readonly wayOut: boolean
    readonly basePath: string
    /** Whose page it is, where the browser may keep it: no secret. */
    readonly keyId?: string | undefined
  },
): Buffer | undefined {
  if (html.length > MAX_INDEX_BYTES) return undefined
  if (headerOf(upstreamHeaders, 'content-type')?.toLowerCase().startsWith('text/html') !== true) return undefined
  const encoding = headerOf(upstreamHeaders, 'content-encoding')
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') return undefined

  // Latin1 keeps every byte; all that is looked for is ASCII.
  const page = Buffer.from(html.buffer, html.byteOffset, html.byteLength).toString('latin1')
  if (page.includes(INJECT_PATH)) return undefined
  const allowed = scriptRule(upstreamHeaders)
  if (allowed === 'no') return undefined
  const nonce = allowed === 'yes' ? '' : ` nonce="${allowed.nonce}"`
  const wayOut = options.wayOut ? '' : ' data-way-out="off"'
  const key = options.keyId === undefined ? '' : ` data-key="${escapeHtml(options.keyId)}"`
  const tag = `<script src="${options.basePath}${INJECT_PATH}"${nonce}${key}${wayOut}></script>`
  const at = insertionPoint(page)
  return Buffer.from(page.slice(0, at) + tag + page.slice(at), 'latin1')
}

/** After `<head>`, else `<html>`, else the doctype, else at the very start; what stands in comments does not count. */
function insertionPoint(page: string): number {
  const bare = page.replace(/<!--[\s\S]*?(?:-->|$)/g, (comment) => ' '.repeat(comment.length))
  const found = /<head(?:\s[^>]*)?>/i.exec(bare) ?? /<html(?:\s[^>]*)?>/i.exec(bare) ?? /<!doctype[^>]*>/i.exec(bare)
  return found === null ? 0 : found.index + found[0].length
}

/** Whether every Content-Security-Policy of the answer lets a script from our own origin run, or one with which nonce. */
function scriptRule(headers: readonly string[]): 'yes' | 'no' | { nonce: string } {
  let rule: 'yes' | { nonce: string } = 'yes'
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.toLowerCase() !== 'content-security-policy') continue
    for (const policy of headers[i + 1]!.split(',')) {
      const sources = scriptSources(policy)
      if (sources === undefined) continue
      const nonce = sources
        .map((source) => /^'nonce-([\w+/=-]+)'$/.exec(source)?.[1])
        .find((text) => text !== undefined)
      const bySelf = !sources.includes("'strict-dynamic'") && sources.some((source) => ["'self'", '*'].includes(source))
      if (nonce !== undefined) rule = { nonce }
      else if (!bySelf) return 'no'
    }
  }
  return rule
}

function scriptSources(policy: string): string[] | undefined {
  const directives = policy.split(';').map((directive) => directive.trim().split(/\s+/))
  const named = (name: string) => directives.find(([first]) => first?.toLowerCase() === name)
  return (named('script-src-elem') ?? named('script-src') ?? named('default-src'))?.slice(1)
}

function headerOf(headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.toLowerCase() === name) return headers[i + 1]
  }
  return undefined
}
