import { digestOf } from '../../keys/digest.ts'
import { decodeQuery } from '../decide/encoding.ts'
import type { Account, PageDecision, Policy, RequestFacts } from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import { judgeSecret } from '../decide/identify.ts'
import { isRefusal } from '../decide/refusal.ts'
import { parseTarget } from '../decide/target.ts'
import type { Sessions, StartedSession } from '../state/sessions.ts'
import type { Throttle } from '../state/throttle.ts'
import { type Answer, jsonAnswer, seeOther } from './answer.ts'
import { presentedSessions, sessionCookie } from './cookie.ts'
import { loadDocument } from './document.ts'
import { parseLoginForm } from './login-form.ts'
import { queryValue, safeNext } from './next.ts'
import { waitText } from './words.ts'

export interface LoginDeps {
  readonly policy: Policy
  readonly sessions: Sessions
  readonly throttle: Throttle
  /** `off`: nothing is handed to scripts (--browser-storage off). */
  readonly storage: 'on' | 'off'
}

/** What the login page shows beside its field. */
export interface LoginState {
  readonly status: number
  readonly next: string
  readonly error?: string
  readonly note?: string
  readonly remember?: boolean
  readonly retryAfterSeconds?: number
}

export interface LoginPages {
  /** GET /auth_login.html: to log in, or with `?logout=true` to log out. */
  page(facts: RequestFacts): Answer
  /** The login page in place of what was asked for. */
  inPlace(state: LoginState, headers?: readonly string[]): Answer
  /** POST /auth_login.html, from the page's script (JSON) or from a browser without one (a form). */
  post(decision: PageDecision, facts: RequestFacts, body: Uint8Array): Answer
  /** Rule 13: a page load that brought its key in the query. */
  arrival(decision: PageDecision, facts: RequestFacts): Answer
}

export function createLoginPages(deps: LoginDeps): LoginPages {
  const { policy, sessions, throttle, storage } = deps
  const document = loadDocument('login')

  function inPlace(state: LoginState, headers: readonly string[] = []): Answer {
    const { status, next, error = '', note = '', remember = false, retryAfterSeconds } = state
    const values = {
      title: 'Log in',
      // After an error or a notice the page must stand still: only then does it not ask for a living session.
      mode: error === '' && note === '' ? 'probe' : 'still',
      next,
      error,
      note,
      remember: remember ? 'yes' : '',
      wait: retryAfterSeconds === undefined ? '' : String(retryAfterSeconds),
    }
    const retry = retryAfterSeconds === undefined ? [] : ['Retry-After', String(retryAfterSeconds)]
    return document.answer(status, 'login', values, [...retry, ...headers])
  }

  /** A session under new secrets, in place of those that this browser had. */
  function begin(keyId: string, remember: boolean, account: Account, facts: RequestFacts): StartedSession {
    for (const old of presentedSessions(facts, policy, sessions)) sessions.end(old.id)
    return sessions.start({ keyId, remember, client: account.client, nowMs: facts.nowMs })
  }

  function storageKind(remember: boolean): 'local' | 'session' | 'off' {
    return storage === 'off' ? 'off' : remember ? 'local' : 'session'
  }

  return {
    inPlace,
    page(facts) {
      const next = safeNext(queryValue(facts, 'next')) ?? '/'
      if (queryValue(facts, 'logout') === 'true') {
        const values = { title: 'Log out', mode: asksFirst(facts) ? 'logout-ask' : 'logout-now', next: '/' }
        return document.answer(200, 'logout', values)
      }
      if (policy.auth === 'none') return seeOther(next)
      const note = queryValue(facts, 'notice') === 'logged-out' ? 'You are logged out.' : ''
      return inPlace({ status: 200, next, note })
    },
    post(decision, facts, body) {
      const { account } = decision
      const json = wantsJson(facts)
      const { key, remember, next } = parseLoginForm(body, readHead(facts).contentType)
      const refuse = (status: 400 | 401 | 429, error: string, event?: Answer['event'], seconds?: number): Answer => {
        const retry = seconds === undefined ? {} : { retryAfterSeconds: seconds }
        const answer = json
          ? jsonAnswer(
              status,
              { error: NAMES[status], message: error },
              seconds ? ['Retry-After', String(seconds)] : [],
            )
          : inPlace({ status, next, error, remember, ...retry })
        return event === undefined ? answer : { ...answer, event }
      }

      if (policy.auth === 'none') return json ? jsonAnswer(200, { status: 'ok', next }) : seeOther(next)
      if (key === '') return refuse(400, 'Enter your API key.')
      const seconds = policy.throttledFor(account.client, facts.nowMs)
      const judged = judgeSecret(key, seconds, facts.nowMs, policy)
      if (judged.kind !== 'live') {
        if (judged.kind === 'unknown') throttle.fail(account.client, judged.digest, facts.nowMs)
        if (seconds !== undefined) {
          const error = `Too many wrong keys came from your address. Try again in ${waitText(seconds)}.`
          return refuse(429, error, { kind: 'login-failed', reason: 'throttled' }, seconds)
        }
        const error = 'This key was not accepted. Check that it was copied whole, or ask for a new one.'
        return refuse(401, error, { kind: 'login-failed', reason: judged.kind === 'dead' ? 'dead' : 'unknown' })
      }
      const live = judged.key
      const { cookie, token, session } = begin(live.id, remember, account, facts)
      const setCookie = sessionCookie(facts, policy, cookie, remember)
      const kind = storageKind(remember)
      const answer = json
        ? jsonAnswer(200, { status: 'ok', storage: kind, ...(kind === 'off' ? {} : { token }), next }, setCookie)
        : seeOther(next, setCookie)
      return { ...answer, event: { kind: 'login', keyId: live.id, label: live.label, sessionId: session.id } }
    },
    arrival(decision, facts) {
      const { principal } = decision.account
      const next = safeNext(decision.returnTo) ?? '/'
      if (principal?.keyId === undefined) return inPlace({ status: 401, next })
      const { keyId, label } = principal
      const site = readHead(facts).fetchSite
      if (site !== 'none' && site !== 'same-origin') {
        const key = keyInQuery(facts, keyId, policy)
        return document.answer(200, 'ask', { title: 'Log in', mode: 'ask', label: label ?? keyId, key, next })
      }
      const values = { title: 'Logging in', mode: 'enter', next }
      if (presentedSessions(facts, policy, sessions).some((session) => session.keyId === keyId)) {
        return document.answer(200, 'enter', { ...values, storage: 'kept' })
      }
      const { cookie, token, session } = begin(keyId, false, decision.account, facts)
      const kind = storageKind(false)
      const setCookie = sessionCookie(facts, policy, cookie, false)
      const shown = { ...values, storage: kind, token: kind === 'off' ? '' : token }
      return {
        ...document.answer(200, 'enter', shown, setCookie),
        event: { kind: 'login', keyId, label, sessionId: session.id },
      }
    },
  }
}

const NAMES = { 400: 'Bad Request', 401: 'Unauthorized', 429: 'Too Many Requests' } as const

function wantsJson(facts: RequestFacts): boolean {
  const { accept, contentType } = readHead(facts)
  return accept?.includes('application/json') === true || contentType?.includes('application/json') === true
}

/** Rule 14: a page of somebody else's that sends the browser here must not log anyone out. */
function asksFirst(facts: RequestFacts): boolean {
  const { fetchSite } = readHead(facts)
  // Without Sec-Fetch-Site (plain HTTP) the page's own script looks at its referrer.
  return fetchSite !== undefined && fetchSite !== 'none' && fetchSite !== 'same-origin'
}

/** The key as it was meant: a `+` in a query may be a plus or a blank (rule 5). Only the page that asks shows it, in a field. */
function keyInQuery(facts: RequestFacts, keyId: string, policy: Policy): string {
  const target = parseTarget(facts.target)
  if (isRefusal(target)) return ''
  const readings = target.keys.flatMap(({ value }) => [decodeQuery(value, 'plus'), decodeQuery(value)])
  return readings.find((text) => text !== undefined && policy.findKey(digestOf(text))?.id === keyId) ?? ''
}
