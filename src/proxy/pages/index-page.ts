import { createHash } from 'node:crypto'
import { readPackageText } from '../../files/package.ts'
import type { RequestFacts } from '../decide/facts.ts'
import { type Answer, OWN_HEADERS } from './answer.ts'
import { escapeHtml } from './document.ts'
import { headStart } from './head-start.ts'

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
 * HTML, encoded, in a charset that is not ASCII's, too long, already injected, or under a CSP that would not
 * let the script run.
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
  const contentType = headerOf(upstreamHeaders, 'content-type')?.toLowerCase() ?? ''
  if (contentType.split(';', 1)[0]!.trim() !== 'text/html') return undefined
  const encoding = headerOf(upstreamHeaders, 'content-encoding')
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') return undefined

  // Latin1 keeps every byte; all that is looked for is ASCII.
  const page = Buffer.from(html.buffer, html.byteOffset, html.byteLength).toString('latin1')
  if (page.includes(INJECT_PATH) || !isAsciiCompatible(page, contentType)) return undefined
  const allowed = scriptRule(upstreamHeaders)
  if (allowed === 'no') return undefined
  const nonce = allowed === 'yes' ? '' : ` nonce="${allowed.nonce}"`
  const wayOut = options.wayOut ? '' : ' data-way-out="off"'
  const key = options.keyId === undefined ? '' : ` data-key="${escapeHtml(options.keyId)}"`
  const tag = `<script src="${options.basePath}${INJECT_PATH}"${nonce}${key}${wayOut}></script>`
  const at = headStart(page)
  return Buffer.from(page.slice(0, at) + tag + page.slice(at), 'latin1')
}

/** Whose labels a browser reads as UTF-16, ISO-2022-JP or as nothing at all (WHATWG Encoding, 4.2). */
const NOT_ASCII =
  /^(?:utf-16(?:le|be)?|(?:cs)?unicode|unicodef(?:eff|ffe)|ucs-2|iso-10646-ucs-2|(?:cs)?iso-?2022.*|hz-gb-2312|replacement)$/

/** Whether `<` is the byte `<`: a byte order mark goes before the header, and UTF-16 is seen without either. */
function isAsciiCompatible(page: string, contentType: string): boolean {
  if (/^(?:\xff\xfe|\xfe\xff|<\0|\0<)/.test(page)) return false
  if (page.startsWith('\xef\xbb\xbf')) return true
  const charset = /;\s*charset\s*=\s*["']?([^\s;"']+)/.exec(contentType)?.[1]
  return charset === undefined || !NOT_ASCII.test(charset)
}

/** Whether every Content-Security-Policy of the answer lets a script from our own origin run, or one with which nonce. */
function scriptRule(headers: readonly string[]): 'yes' | 'no' | { nonce: string } {
  const policies = headers
    .filter((_, i) => i % 2 === 1 && headers[i - 1]!.toLowerCase() === 'content-security-policy')
    .flatMap((value) => value.split(','))
    .map(scriptSources)
    .filter((sources) => sources !== undefined)
  // By nonce, where our own origin alone does not do: one and the same for all of them
  const strict = policies.filter((sources) => !allowsSelf(sources))
  if (strict[0] === undefined) return 'yes'
  const nonce = noncesOf(strict[0]).find((text) => strict.every((sources) => noncesOf(sources).includes(text)))
  return nonce === undefined ? 'no' : { nonce }
}

function allowsSelf(sources: readonly string[]): boolean {
  const words = sources.map((source) => source.toLowerCase())
  return !words.includes("'strict-dynamic'") && words.some((word) => word === "'self'" || word === '*')
}

function noncesOf(sources: readonly string[]): readonly string[] {
  return sources.map((source) => /^'nonce-([\w+/=-]+)'$/i.exec(source)?.[1]).filter((text) => text !== undefined)
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
