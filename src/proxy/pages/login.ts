import type { Account, PageDecision, RequestFacts } from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import { judgeSecret } from '../decide/identify.ts'
import { REALM } from '../decide/response-headers.ts'
import { type Answer, jsonAnswer, type PageEvent, seeOther } from './answer.ts'
import { type Document, loadDocument } from './document.ts'
import { enter, type LoginDeps } from './entry.ts'
import { keyArrival } from './key-arrival.ts'
import { type LoginForm, parseLoginForm } from './login-form.ts'
import { queryValue, safeNext } from './next.ts'
import { throttledText, waitText } from './words.ts'

/** What the login page shows beside its field. */
export interface LoginState {
  readonly status: number
  readonly next: string
  readonly error?: string
  readonly note?: string
  readonly remember?: boolean
  /** For a key that could be guessed; one of our own format is let in at once (rule 4). */
  readonly retryAfterSeconds?: number | undefined
}

export interface LoginPages {
  /** GET /auth_login.html: to log in, or with `?logout=true` to log out. */
  page(decision: PageDecision, facts: RequestFacts): Answer
  /** The login page in place of what was asked for. */
  inPlace(state: LoginState, headers?: readonly string[]): Answer
  /** POST /auth_login.html, from the page's script (JSON) or from a browser without one (a form). */
  post(decision: PageDecision, facts: RequestFacts, body: Uint8Array): Answer
  /** Rule 13: a page load that brought its key in the query. */
  arrival(decision: PageDecision, facts: RequestFacts): Answer
}

export function createLoginPages(deps: LoginDeps): LoginPages {
  const { basePath } = deps.policy
  const document = loadDocument('login', basePath)

  return {
    page: (decision, facts) => loginPage(deps, document, decision, facts),
    inPlace: (state, headers) => showLogin(document, state, headers),
    post(decision, facts, body) {
      const form = parseLoginForm(body, readHead(facts).contentType, basePath)
      const outcome = logIn(deps, decision.account, facts, form)
      return wantsJson(facts) ? asJson(outcome, form) : asPage(document, outcome, form)
    },
    arrival: (decision, facts) => keyArrival(deps, document, decision, facts),
  }
}

const REPLACED =
  'Another login took the place of yours in this browser. Log in again to go on as yourself. If it was not you, a page on another port of this host did it.'

function loginPage({ policy }: LoginDeps, document: Document, { account }: PageDecision, facts: RequestFacts): Answer {
  if (queryValue(facts, 'logout') === 'true') {
    const mode = logoutMode(facts)
    return document.answer(200, 'logout', { title: 'Log out', mode, next: `${policy.basePath}/` })
  }
  const next = safeNext(queryValue(facts, 'next'), policy.basePath) ?? `${policy.basePath}/`
  if (policy.auth === 'none') return seeOther(next)
  const notice = queryValue(facts, 'notice')
  const note = notice === 'logged-out' ? 'You are logged out.' : ''
  const error = notice === 'replaced' ? REPLACED : ''
  const retryAfterSeconds = policy.throttledFor(account.client, facts.nowMs)
  return showLogin(document, { status: 200, next, note, error, retryAfterSeconds })
}

/**
 * Rule 14: who is sent here by another page is asked before being logged out. Without Sec-Fetch-Site (plain HTTP under
 * a name) a typed address and a foreign page that hides its referrer look alike: only a referrer of ours goes on unasked.
 */
function logoutMode(facts: RequestFacts): string {
  const { fetchSite } = readHead(facts)
  if (fetchSite === undefined) return 'logout-own'
  return fetchSite === 'none' || fetchSite === 'same-origin' ? 'logout-now' : 'logout-ask'
}

function showLogin(document: Document, state: LoginState, headers: readonly string[] = []): Answer {
  const { status, next, error = '', note = '', remember = false, retryAfterSeconds } = state
  const wait = retryAfterSeconds ?? 0
  const values = {
    title: 'Log in',
    // After an error or a notice the page stands still: only without one it asks whether a session lives.
    mode: error === '' && note === '' && status !== 429 ? 'probe' : 'still',
    next,
    error,
    note,
    remember: remember ? 'yes' : '',
    calm: wait === 0 ? 'yes' : '',
    wait: String(wait),
    left: waitText(wait),
  }
  const retry = status === 429 ? ['Retry-After', String(wait)] : []
  return document.answer(status, 'login', values, [...retry, ...headers])
}

type Outcome =
  | {
      readonly status: 200
      readonly setCookie: readonly string[]
      readonly given: { readonly storage?: string; readonly token?: string }
      readonly event?: PageEvent
    }
  | {
      readonly status: 400 | 401 | 429
      readonly error: string
      readonly retryAfterSeconds?: number
      readonly event?: PageEvent
    }

/** Rules 4 and 6 as for any carrier, and a session where the key is right. */
function logIn(deps: LoginDeps, { client }: Account, facts: RequestFacts, form: LoginForm): Outcome {
  const { policy, throttle } = deps
  if (policy.auth === 'none') return { status: 200, setCookie: [], given: {} }
  if (form.key === '') return { status: 400, error: 'Enter your API key.' }
  const waitSeconds = policy.throttledFor(client, facts.nowMs)
  const judged = judgeSecret(form.key, waitSeconds, facts.nowMs, policy)
  if (judged.kind === 'live') {
    const { id, label } = judged.key
    const { session, setCookie, storage, token } = enter(deps, facts, { keyId: id, client, remember: form.remember })
    const given = { storage, ...(token === undefined ? {} : { token }) }
    return { status: 200, setCookie, given, event: { kind: 'login', keyId: id, label, sessionId: session.id } }
  }
  if (judged.kind === 'unknown') throttle.fail(client, judged.digest, facts.nowMs)
  if (waitSeconds !== undefined && judged.kind !== 'dead') {
    const event = { kind: 'login-failed', reason: 'throttled' } as const
    return { status: 429, error: throttledText(waitSeconds), retryAfterSeconds: waitSeconds, event }
  }
  return {
    status: 401,
    error: 'This key was not accepted. Check that it was copied whole, or ask for a new one.',
    event: { kind: 'login-failed', reason: judged.kind === 'dead' ? 'dead' : 'unknown' },
  }
}

const NAMES = { 400: 'Bad Request', 401: 'Unauthorized', 429: 'Too Many Requests' } as const

function asJson(outcome: Outcome, { next }: LoginForm): Answer {
  const event = outcome.event && { event: outcome.event }
  if (outcome.status === 200) {
    return { ...jsonAnswer(200, { status: 'ok', ...outcome.given, next }, outcome.setCookie), ...event }
  }
  const { status, error, retryAfterSeconds } = outcome
  const retry = retryAfterSeconds === undefined ? [] : ['Retry-After', String(retryAfterSeconds)]
  const headers = [...retry, ...challenge(status)]
  return { ...jsonAnswer(status, { error: NAMES[status], message: error }, headers), ...event }
}

function asPage(document: Document, outcome: Outcome, { next, remember }: LoginForm): Answer {
  const event = outcome.event && { event: outcome.event }
  if (outcome.status === 200) return { ...seeOther(next, outcome.setCookie), ...event }
  const error = outcome.status === 429 ? '' : outcome.error // the page has words of its own for the wait
  return { ...showLogin(document, { ...outcome, error, next, remember }, challenge(outcome.status)), ...event }
}

/** RFC 9110, 15.5.2: a 401 names a challenge. Bearer's opens no dialog in a browser. */
function challenge(status: number): readonly string[] {
  return status === 401 ? ['WWW-Authenticate', `Bearer realm="${REALM}"`] : []
}

function wantsJson(facts: RequestFacts): boolean {
  const { accept, contentType } = readHead(facts)
  return accept?.includes('application/json') === true || contentType?.includes('application/json') === true
}
