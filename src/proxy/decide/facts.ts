import type { Digest } from '../../keys/digest.ts'
import type { Role } from '../../keys/roles.ts'

/** All that a decision may know of one request: copied from the head once; nothing later reads the raw request. */
export interface RequestFacts {
  readonly method: string
  /** The raw request-target, as received and as it goes upstream. */
  readonly target: string
  /** name, value, name, value: case and duplicates as sent, values latin1. HTTP/2: `:authority` stands as `host`. */
  readonly headers: readonly string[]
  /** Cookie may come in several fields, and a Host beside `:authority` must be equal to it. Absent: HTTP/1. */
  readonly http2?: boolean
  /** The socket's remote address; empty for a unix socket. */
  readonly peer: string
  /** TLS ends here. A trusted proxy's X-Forwarded-Proto is csrf.ts' business. */
  readonly secure: boolean
  /** GET with `Upgrade: websocket` and no body, as the parser announced it; any other Upgrade header is an ordinary request. */
  readonly upgrade: boolean
  readonly nowMs: number
  /** 32 random hex digits made outside, for a socket that opens without a clientId (rule 11). */
  readonly freshClientId: string
}

/** A key as decide/ needs it; keys/live.ts keeps them by digest. */
export interface KnownKey {
  readonly id: string
  readonly label: string | undefined
  readonly role: Role
  readonly expiresMs: number | undefined
  readonly revoked: boolean
}

/** A session as decide/ needs it; state/sessions.ts keeps them by the digest of the cookie's value. */
export interface KnownSession {
  readonly id: string
  readonly keyId: string
  /** The storage token of this session (rule 14): good as a Bearer beside this session's cookie only. */
  readonly tokenDigest: Digest
  /** The nearer of idle and absolute end. */
  readonly endsMs: number
}

export type Carrier = 'bearer' | 'x-api-key' | 'basic' | 'query' | 'cookie' | 'subprotocol'

/** Who a request is, once its carrier is checked. */
export interface Principal {
  /** `key:ID`, `open` under --no-auth beyond sockets, `anonymous:CLIENT` for an exempt Upgrade: who owns a clientId. */
  readonly name: string
  readonly keyId: string | undefined
  readonly label: string | undefined
  readonly role: Role
  readonly carrier: Carrier | 'none'
  readonly sessionId: string | undefined
  /** A browser may send this credential by itself, or none is needed: CSRF applies (rule 9). */
  readonly ambient: boolean
}

/** What audit, throttle and the sockets' register read; nothing else says who it was. */
export interface Account {
  /** Client address after rule 3; IPv6 as its /64. */
  readonly client: string
  readonly principal: Principal | undefined
  /** Digests of presented credentials that are unknown: each distinct one counts as a failed guess (rule 4). */
  readonly failures: readonly Digest[]
  /** Whose guesses they are, where not this client's own: those of foreign pages in its browsers. */
  readonly guesser?: string
}

export type Reason =
  | 'bad-target'
  | 'outside-base-path'
  | 'bad-host'
  | 'unknown-host'
  | 'doubled-carrier'
  | 'conflicting-keys'
  | 'no-credential'
  | 'unknown-credential'
  | 'dead-credential'
  | 'two-sessions'
  | 'throttled'
  | 'role'
  | 'not-own-prompt'
  | 'bad-body'
  | 'foreign-origin'
  | 'service-worker'
  | 'foreign-client-id'

export interface Refusal {
  readonly kind: 'refusal'
  readonly status: 400 | 401 | 403 | 404 | 421 | 429
  readonly reason: Reason
  /** A browser's page load gets the login page in place of JSON: of a 401, a 429, or a 400 for the keys in its address. */
  readonly as: 'login' | 'json'
  /** WWW-Authenticate of a 401: Bearer always, Basic only where nothing speaks of a browser (rule 5); `none` on other statuses. */
  readonly challenge: 'none' | 'bearer' | 'bearer-basic'
  readonly roleNeeded?: Role
  readonly retryAfterSeconds?: number
}

export type PageName =
  | 'health'
  | 'login'
  | 'login-post'
  | 'logout-post'
  | 'inject-script'
  /** A browser that arrived with `?api_key=`: the page that turns it into a session and a clean URL (rule 13). */
  | 'key-arrival'
  | 'preflight'
  /** --base-path: somebody asks for the folder above the page. */
  | 'to-base-path'

/** How the upstream's answer is changed on its way back: response-headers.ts' input (rule 13). */
export interface ResponsePlan {
  /** The answer needed a key: `private` in place of `public`, and where nothing stands. */
  readonly private: boolean
  /** The key stood in the query: no-store. */
  readonly noStore: boolean
  /** /view, /userdata, asset content: a sandbox CSP. */
  readonly sandbox: boolean
  /** The page's optional style sheet, which most servers lack: under nosniff its 404 must call itself one, or browsers complain twice. */
  readonly userStyle: boolean
  /** The index page: asked for uncompressed and whole, auth_inject.js put in. */
  readonly index: boolean
  /** The Origin that --enable-cors-header allows, for this request. */
  readonly corsOrigin: string | undefined
  /** Our session cookies' names, dropped from the upstream's Set-Cookie. */
  readonly cookieNames: readonly string[]
  /** Policy's: a redirect of the upstream to itself leads below the one, and never to the other. */
  readonly basePath: string
  readonly upstreamHost: string
}

export interface SocketPlan {
  /** Empty where the socket is not ComfyUI's `/ws` and named none: nothing to own. */
  readonly clientId: string
  /** Our subprotocol as the client offered it, to be echoed by us. */
  readonly subprotocol: string | undefined
}

export interface PageDecision {
  readonly kind: 'page'
  readonly page: PageName
  /** The path and query without the key, canonical, or the page: where a login may return to, as a browser addresses it. */
  readonly returnTo: string
  readonly account: Account
}

export interface RefuseDecision {
  readonly kind: 'refuse'
  readonly refusal: Refusal
  readonly returnTo: string
  readonly account: Account
}

export interface ForwardDecision {
  readonly kind: 'forward'
  /** Byte for byte what came, less the key in the query, plus a clientId where one was missing. */
  readonly target: string
  /** name, value, ...: rule 10's outcome, Host first. Framing and hop-by-hop headers (Content-Length, Connection, Upgrade ...) are not in it: the wire makes them. */
  readonly headers: readonly string[]
  /** The whole body, where a rule re-serialised it or lets none go up; else the client's is streamed. */
  readonly body: string | undefined
  readonly response: ResponsePlan
  /** Set for an Upgrade. */
  readonly socket: SocketPlan | undefined
  /** POST /prompt: the answer's prompt_id may become the principal's own (rule 8). */
  readonly learnPrompt: boolean
  /** With it: no content or charset encoding, so that what does not stand in the body's bytes is not in the body. */
  readonly plainBody: boolean
  readonly account: Account
}

/** The role hangs on the body (rule 8): read it whole up to `limitBytes`, then ask again. */
export interface InspectDecision {
  readonly kind: 'inspect'
  readonly limitBytes: number
  /** `nowMs`: when the body had arrived. Who sends it is asked once more: its key may have died or changed while it came. */
  readonly check: (body: Uint8Array, nowMs: number) => ForwardDecision | RefuseDecision
  /** The answer where the body is longer than limitBytes. */
  readonly tooLong: RefuseDecision
  readonly account: Account
}

export type Decision = PageDecision | RefuseDecision | ForwardDecision | InspectDecision

/** `--route 'user:GET /easyuse/*'`. */
export interface ExtraRoute {
  readonly role: Role
  readonly method: string
  /** Decoded path; ends in `/*` for everything below it. */
  readonly path: string
}

export interface HostPolicy {
  /** loopback: loopback names and `allowed`; listed: `allowed` alone; any; ip: IP literals and `allowed` (--no-auth beyond loopback). */
  readonly kind: 'loopback' | 'listed' | 'any' | 'ip'
  /** host names, lower-case, without port. */
  readonly allowed: ReadonlySet<string>
}

/** What `serve` was told (options.ts makes it), and look-ups into keys/ and state/: the only door from decide/ to either. */
export interface Policy {
  /** none: --no-auth. */
  readonly auth: 'keys' | 'none'
  readonly hosts: HostPolicy
  readonly publicUrl: URL | undefined
  /** --base-path: empty, or a path such as `/comfy` without a slash at its end. */
  readonly basePath: string
  readonly isTrustedProxy: (address: string) => boolean
  readonly exempt: 'static' | 'minimal'
  /** --exempt-path: a decoded path, or one that ends in `/*`. */
  readonly exemptPaths: readonly string[]
  readonly extraRoutes: readonly ExtraRoute[]
  /** --enable-cors-header: an origin or `*`. */
  readonly corsOrigin: string | undefined
  readonly comfyUser: 'strip' | 'pass'
  /** The Host header that goes upstream: a number for http, the name for https. */
  readonly upstreamHost: string
  /** `comfy_auth_PORT`, with `__Host-` before it over TLS. */
  readonly cookieName: (secure: boolean) => string

  readonly findKey: (digest: Digest) => KnownKey | undefined
  readonly findKeyById: (id: string) => KnownKey | undefined
  readonly findSession: (cookieDigest: Digest) => KnownSession | undefined
  readonly findSessionByToken: (tokenDigest: Digest) => KnownSession | undefined
  /** Seconds to wait for a client whose failed guesses are too many, else undefined. */
  readonly throttledFor: (client: string, nowMs: number) => number | undefined
  /** How many distinct wrong guesses of one request of this client are looked at: one where it has just waited. */
  readonly guessesLeft: (client: string, nowMs: number) => number
  readonly ownsPrompt: (keyId: string, promptId: string) => boolean
  /** Principal.name that holds this clientId now, if any. */
  readonly clientIdOwner: (clientId: string, nowMs: number) => string | undefined
}
