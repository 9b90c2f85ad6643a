import type { RequestFacts } from './facts.ts'

/** Stands for a header that came twice where one is allowed: equal to no value a client can send. */
export const DOUBLED = '\u0000'

/** What the rules read of the headers, gathered in one pass; no later step looks at the raw list but to copy it. */
export interface Head {
  /** Lower-cased header names, in the order of `facts.headers`. */
  readonly names: readonly string[]
  readonly host: string | undefined
  readonly authorization: string | undefined
  readonly apiKey: string | undefined
  /** HTTP/2: the fields joined by `; `. */
  readonly cookie: string | undefined
  /** The fields joined by `,`. */
  readonly subprotocols: string | undefined
  readonly origin: string | undefined
  readonly referer: string | undefined
  /** `cross-site` too for what a page had fetched ahead: browsers say `none` there, as if its address had been typed. */
  readonly fetchSite: string | undefined
  readonly fetchMode: string | undefined
  readonly fetchDest: string | undefined
  readonly accept: string | undefined
  readonly acceptLanguage: string | undefined
  readonly forwardedFor: string | undefined
  readonly forwardedProto: string | undefined
  readonly forwardedHost: string | undefined
  readonly connection: string | undefined
  readonly contentType: string | undefined
  readonly contentEncoding: string | undefined
  readonly serviceWorker: string | undefined
  readonly preflightMethod: string | undefined
}

const once = (before: string | undefined, value: string): string => (before === undefined ? value : DOUBLED)
const list = (before: string | undefined, value: string): string =>
  before === undefined ? value : `${before},${value}`

/** HTTP/2 carries the authority beside an optional Host: two equal ones are one. */
const host2 = (before: string | undefined, value: string): string =>
  before === undefined || before.toLowerCase() === value.toLowerCase() ? value : DOUBLED

type Writable<T> = { -readonly [K in keyof T]: T[K] }

export function readHead(facts: RequestFacts): Head {
  const { headers, http2 = false } = facts
  const names: string[] = []
  const head: Writable<Head> = {
    names,
    host: undefined,
    authorization: undefined,
    apiKey: undefined,
    cookie: undefined,
    subprotocols: undefined,
    origin: undefined,
    referer: undefined,
    fetchSite: undefined,
    fetchMode: undefined,
    fetchDest: undefined,
    accept: undefined,
    acceptLanguage: undefined,
    forwardedFor: undefined,
    forwardedProto: undefined,
    forwardedHost: undefined,
    connection: undefined,
    contentType: undefined,
    contentEncoding: undefined,
    serviceWorker: undefined,
    preflightMethod: undefined,
  }
  let isAhead = false
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase()
    const value = headers[i + 1]!
    names.push(name)
    switch (name) {
      case ':authority':
      case 'host':
        head.host = http2 ? host2(head.host, value) : once(head.host, value)
        break
      case 'authorization':
        head.authorization = once(head.authorization, value)
        break
      case 'x-api-key':
        head.apiKey = once(head.apiKey, value)
        break
      case 'cookie':
        head.cookie = head.cookie === undefined ? value : http2 ? `${head.cookie}; ${value}` : DOUBLED
        break
      case 'sec-websocket-protocol':
        head.subprotocols = list(head.subprotocols, value)
        break
      case 'origin':
        head.origin = once(head.origin, value)
        break
      case 'referer':
        head.referer = once(head.referer, value)
        break
      case 'sec-fetch-site':
        head.fetchSite = once(head.fetchSite, value)
        break
      case 'sec-purpose':
        isAhead ||= value.toLowerCase().includes('prefetch')
        break
      case 'sec-fetch-mode':
        head.fetchMode = once(head.fetchMode, value)
        break
      case 'sec-fetch-dest':
        head.fetchDest = once(head.fetchDest, value)
        break
      case 'accept':
        head.accept = list(head.accept, value)
        break
      case 'accept-language':
        head.acceptLanguage = list(head.acceptLanguage, value)
        break
      case 'x-forwarded-for':
        head.forwardedFor = list(head.forwardedFor, value)
        break
      case 'x-forwarded-proto':
        head.forwardedProto = list(head.forwardedProto, value)
        break
      case 'x-forwarded-host':
        head.forwardedHost = list(head.forwardedHost, value)
        break
      case 'connection':
        head.connection = list(head.connection, value)
        break
      case 'content-type':
        head.contentType = once(head.contentType, value)
        break
      case 'content-encoding':
        head.contentEncoding = list(head.contentEncoding, value)
        break
      case 'service-worker':
        head.serviceWorker = list(head.serviceWorker, value)
        break
      case 'access-control-request-method':
        head.preflightMethod = once(head.preflightMethod, value)
        break
    }
  }
  if (isAhead && head.fetchSite === 'none') head.fetchSite = 'cross-site'
  return head
}

/** Only browsers send these; the User-Agent is never asked (rule 5). */
export function speaksOfBrowser(head: Head): boolean {
  return (
    head.fetchSite !== undefined ||
    head.fetchMode !== undefined ||
    head.fetchDest !== undefined ||
    head.origin !== undefined ||
    head.referer !== undefined ||
    head.acceptLanguage !== undefined
  )
}

/** A form sent by a page: its answer is put into a tab too. */
export function isFormPost(facts: RequestFacts, head: Head): boolean {
  return (
    facts.method === 'POST' &&
    (head.fetchMode === undefined || head.fetchMode === 'navigate') &&
    head.accept?.includes('text/html') === true
  )
}

/** A page put into a tab: by Sec-Fetch-Dest where the browser says it, else (plain HTTP) by an Accept that names HTML. */
export function isPageLoad(facts: RequestFacts, head: Head): boolean {
  if (facts.upgrade || (facts.method !== 'GET' && facts.method !== 'HEAD')) return false
  if (head.fetchDest !== undefined) return head.fetchDest === 'document'
  if (head.fetchMode !== undefined) return head.fetchMode === 'navigate'
  return head.accept?.includes('text/html') === true
}
