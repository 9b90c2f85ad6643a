import { type Digest, digestOf } from '../../keys/digest.ts'
import { parseKey } from '../../keys/format.ts'
import type { Credential } from './carriers.ts'
import { isForeignPages } from './csrf.ts'
import type { Carrier, KnownKey, KnownSession, Policy, Principal, Refusal, RequestFacts } from './facts.ts'
import type { Head } from './head.ts'
import { refusal, throttled, unauthorised } from './refusal.ts'

/** Session secrets (rule 14): a cookie's value and a storage token. Never looked up as keys, so never guesses at one. */
const SESSION_PREFIXES = ['comfys_', 'comfyt_'] as const

/** What one secret is, once looked up. */
export type Judged =
  | { readonly kind: 'live'; readonly key: KnownKey }
  /** Revoked or expired: refused, never counted as a guess. */
  | { readonly kind: 'dead' }
  /** A session's secret where a key belongs: refused, never counted. */
  | { readonly kind: 'session' }
  | { readonly kind: 'unknown'; readonly digest: Digest }
  /** Not looked at: this client guessed too often, and the secret is no key of our own format. */
  | { readonly kind: 'throttled'; readonly seconds: number }

export function isLive(key: KnownKey, nowMs: number): boolean {
  return !key.revoked && (key.expiresMs === undefined || nowMs < key.expiresMs)
}

/**
 * Rules 4 and 6 for one secret, the login form's too. While its client is throttled a free-form secret is not looked up
 * at all, so that no answer tells a right guess from a wrong one; 256 bits of our own format cannot be guessed.
 */
export function judgeSecret(secret: string, waitSeconds: number | undefined, nowMs: number, policy: Policy): Judged {
  if (isSessionSecret(secret)) return { kind: 'session' }
  if (waitSeconds !== undefined && parseKey(secret).kind !== 'ok') return { kind: 'throttled', seconds: waitSeconds }
  const digest = digestOf(secret)
  const key = policy.findKey(digest)
  if (!key) return { kind: 'unknown', digest }
  return isLive(key, nowMs) ? { kind: 'live', key } : { kind: 'dead' }
}

function isSessionSecret(secret: string): boolean {
  return SESSION_PREFIXES.some((prefix) => secret.startsWith(prefix))
}

/** A principal, or why there is none; and the guesses that failed, beside a live credential too. */
export type Identified =
  | { readonly principal: Principal; readonly refusal: undefined; readonly failures: readonly Digest[] }
  | { readonly principal: undefined; readonly refusal: Refusal; readonly failures: readonly Digest[] }

const NO_FAILURES: readonly Digest[] = []

/** What became of all that was presented. */
interface Tally {
  key: KnownKey | undefined
  carrier: Carrier
  session: KnownSession | undefined
  /** Two live keys, or two live sessions. */
  clash: 'keys' | 'sessions' | undefined
  /** Storage tokens: they count beside the cookie of their own session only (rule 14). */
  tokens: Digest[]
  waitSeconds: number | undefined
  dead: boolean
  failures: Digest[]
  /** Of what could be guessed, the values that were no key. */
  guesses: number
}

/** Rules 4 and 6: what was presented becomes a principal, 401, 429, or 400 where it names two live keys. */
export function identify(
  facts: RequestFacts,
  head: Head,
  credentials: readonly Credential[],
  { client, guesser }: Sender,
  policy: Policy,
): Identified {
  if (policy.auth === 'none') {
    return { principal: open(facts, client), refusal: undefined, failures: NO_FAILURES }
  }
  if (credentials.length === 0) {
    return { principal: undefined, refusal: unauthorised(facts, head, 'no-credential'), failures: NO_FAILURES }
  }
  const tally = weigh(facts, credentials, guesser, policy)
  const { key, failures } = tally
  if (key && tally.clash === undefined) return { principal: principalOf(key, tally), refusal: undefined, failures }
  return { principal: undefined, refusal: refusalOf(tally, facts, head), failures }
}

function refusalOf(tally: Tally, facts: RequestFacts, head: Head): Refusal {
  if (tally.clash === 'keys') return refusal(400, 'conflicting-keys')
  if (tally.clash === 'sessions') return unauthorised(facts, head, 'two-sessions')
  if (tally.waitSeconds !== undefined) return throttled(facts, head, tally.waitSeconds)
  return unauthorised(facts, head, tally.dead ? 'dead-credential' : 'unknown-credential')
}

/** Where a request came from. */
export interface Sender {
  /** Client address after rule 3. */
  readonly client: string
  /** Whose guesses these are to the throttle. */
  readonly guesser: string
}

/** A foreign page can have its visitor's browser send any query: its guesses must not lock the visitor out, and are held back among themselves. */
export function senderOf(facts: RequestFacts, head: Head, client: string, policy: Policy): Sender {
  return { client, guesser: isForeignPages(facts, head, policy) ? `foreign pages at ${client}` : client }
}

function weigh(facts: RequestFacts, credentials: readonly Credential[], guesser: string, policy: Policy): Tally {
  const tally: Tally = {
    key: undefined,
    carrier: 'bearer',
    session: undefined,
    clash: undefined,
    tokens: [],
    waitSeconds: undefined,
    dead: false,
    failures: [],
    guesses: 0,
  }
  const waitSeconds = policy.throttledFor(guesser, facts.nowMs)
  const patience: Patience = { waitSeconds, guessesLeft: policy.guessesLeft(guesser, facts.nowMs) }
  for (const credential of credentials) {
    if (credential.carrier === 'cookie') weighCookie(credential.secret, tally, waitSeconds, facts.nowMs, policy)
    else weighKey(credential, tally, patience, facts.nowMs, policy)
  }
  if (isCookieBelied(tally, facts.nowMs, policy)) tally.clash ??= 'sessions'
  return tally
}

/**
 * Over plain HTTP a page on another port of the host can put the cookie of its own session in place of ours; the storage
 * token, which it cannot reach, then still names the one that was there. A dead token says nothing: a login in another tab
 * ended its session.
 */
function isCookieBelied({ session, tokens }: Tally, nowMs: number, policy: Policy): boolean {
  if (session === undefined) return false
  return tokens.some((token) => {
    const other = token === session.tokenDigest ? undefined : policy.findSessionByToken(token)
    return other !== undefined && liveKeyOf(other, nowMs, policy) !== undefined
  })
}

/** How far this client's guesses are looked at. */
interface Patience {
  readonly waitSeconds: number | undefined
  /** Of values that could be guessed, in one request: the two readings of a query are one, but count as two. */
  readonly guessesLeft: number
}

function weighKey(
  credential: Credential,
  tally: Tally,
  { waitSeconds, guessesLeft }: Patience,
  nowMs: number,
  policy: Policy,
): void {
  const isHeld = tally.guesses >= guessesLeft && !tally.failures.includes(digestOf(credential.secret))
  const judge = (secret: string) => judgeSecret(secret, isHeld ? (waitSeconds ?? 0) : waitSeconds, nowMs, policy)
  const first = judge(credential.secret)
  const other =
    credential.otherReading !== undefined && first.kind !== 'live' ? judge(credential.otherReading) : undefined
  const judged = other?.kind === 'live' || other?.kind === 'dead' ? other : first
  switch (judged.kind) {
    case 'live':
      take(judged.key, credential.carrier, tally)
      return
    case 'dead':
      tally.dead = true
      return
    case 'session':
      tally.dead = true
      if (credential.carrier === 'bearer') tally.tokens.push(digestOf(credential.secret))
      return
    case 'unknown':
      if (waitSeconds !== undefined) tally.waitSeconds = waitSeconds
      if (parseKey(credential.secret).kind !== 'ok') tally.guesses++
      for (const missed of [judged, other]) {
        if (missed?.kind === 'unknown' && !tally.failures.includes(missed.digest)) tally.failures.push(missed.digest)
      }
      return
    case 'throttled':
      if (waitSeconds !== undefined) tally.waitSeconds = waitSeconds
  }
}

function weighCookie(
  secret: string,
  tally: Tally,
  waitSeconds: number | undefined,
  nowMs: number,
  policy: Policy,
): void {
  if (!isSessionSecret(secret)) {
    if (waitSeconds !== undefined) tally.waitSeconds = waitSeconds
    else tally.failures.push(digestOf(secret))
    return
  }
  const session = policy.findSession(digestOf(secret))
  const key = session && liveKeyOf(session, nowMs, policy)
  if (!key) {
    tally.dead = true
    return
  }
  if (tally.session) tally.clash ??= 'sessions'
  tally.session ??= session
  take(key, 'cookie', tally)
}

function liveKeyOf(session: KnownSession, nowMs: number, policy: Policy): KnownKey | undefined {
  if (session.endsMs <= nowMs) return undefined
  const key = policy.findKeyById(session.keyId)
  return key && isLive(key, nowMs) ? key : undefined
}

/** The first carrier of a key is its carrier; another key beside it is a clash (rule 5). */
function take(key: KnownKey, carrier: Carrier, tally: Tally): void {
  if (!tally.key) {
    tally.key = key
    tally.carrier = carrier
  } else if (tally.key.id !== key.id) tally.clash ??= 'keys'
}

function principalOf(key: KnownKey, { carrier: first, session, tokens }: Tally): Principal {
  const carrier = first === 'cookie' && session && tokens.includes(session.tokenDigest) ? 'bearer' : first
  return {
    name: `key:${key.id}`,
    keyId: key.id,
    label: key.label,
    role: key.role,
    carrier,
    sessionId: session?.id,
    ambient: carrier === 'cookie' || carrier === 'basic',
  }
}

/** --no-auth. Its sockets are told apart by client address (rule 11). */
function open(facts: RequestFacts, client: string): Principal {
  return {
    name: facts.upgrade ? `anonymous:${client}` : 'open',
    keyId: undefined,
    label: undefined,
    role: 'admin',
    carrier: 'none',
    sessionId: undefined,
    ambient: true,
  }
}

/**
 * An exempt Upgrade reads its credential for rule 11 alone: whoever has none that lives is a stranger, one principal a
 * client address. Only a request that contradicts itself (400) is still refused.
 */
export function identifyExempt(
  facts: RequestFacts,
  head: Head,
  credentials: readonly Credential[],
  sender: Sender,
  policy: Policy,
): Identified {
  const identified = identify(facts, head, credentials, sender, policy)
  if (identified.principal || identified.refusal?.status === 400) return identified
  const stranger: Principal = { ...open(facts, sender.client), role: 'viewer' }
  return { principal: stranger, refusal: undefined, failures: identified.failures }
}
