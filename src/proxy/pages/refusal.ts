import { allowedOrigin, corsHeaders } from '../decide/cors.ts'
import type { Policy, Reason, RefuseDecision, RequestFacts } from '../decide/facts.ts'
import { readHead } from '../decide/head.ts'
import { REALM } from '../decide/response-headers.ts'
import { type Answer, jsonAnswer } from './answer.ts'
import { expiredTwins } from './cookie.ts'
import type { LoginPages, LoginState } from './login.ts'
import { waitText } from './words.ts'

const NAMES = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  421: 'Misdirected Request',
  429: 'Too Many Requests',
} as const

/** What went wrong and what to do next, for whoever reads the answer of a script. */
const MESSAGES: Readonly<Record<Reason, string>> = {
  'bad-target':
    'This path is not one that every server reads alike. Send it as /path?query, without "#" or control characters.',
  'outside-base-path': 'Nothing is served here: this server lives below its --base-path.',
  'bad-host': 'The request needs exactly one Host header, as host or host:port.',
  'unknown-host':
    'The server does not go by this name. Its owner can add it with serve --allow-host NAME or --public-url URL.',
  'doubled-carrier': 'A header that carries a credential came twice. Send it once.',
  'conflicting-keys': 'Two different keys came with one request. Send one of them.',
  'no-credential':
    'An API key is needed. Send it as "Authorization: Bearer KEY" or "X-API-Key: KEY", or log in at /auth_login.html.',
  'unknown-credential':
    'This key is not known here. Check that it was copied whole, or ask the owner of the server for one.',
  'dead-credential':
    'This key or session has ended. Log in again at /auth_login.html, or ask the owner of the server for a new key.',
  'two-sessions':
    'Two sessions came with one request, which may belong to two people. Log in again at /auth_login.html.',
  throttled: 'Too many wrong keys came from this address.',
  role: 'The key may not do this.',
  'not-own-prompt': 'A key may stop its own prompts only, each named by its prompt_id.',
  'bad-body':
    'The body must be plain UTF-8 JSON, an object under 64 KiB without doubled members or a content encoding: otherwise ComfyUI might read another order from it.',
  'foreign-origin':
    "The request came from another site's page. If it is this server's own page behind another proxy, start serve with --public-url URL.",
  'service-worker': 'Service workers cannot be installed through this server.',
  'foreign-client-id':
    'This clientId is in use by somebody else. Open the socket with one of your own, such as a fresh UUID.',
}

/** A refusal in the guide's shape `{"error","message"}`, or the login page where a browser loads a page. */
export function refusalAnswer(
  login: LoginPages,
  policy: Policy,
  decision: RefuseDecision,
  facts: RequestFacts,
): Answer {
  const { refusal, account } = decision
  const { status, reason, retryAfterSeconds, roleNeeded } = refusal
  const headers = challenges(refusal.challenge, reason)
  if (reason === 'two-sessions') headers.push(...expiredTwins(facts, policy))
  if (refusal.as === 'login') return login.inPlace(loginState(decision, policy, facts), headers)

  let message = MESSAGES[reason].replaceAll('/auth_login.html', `${policy.basePath}/auth_login.html`)
  if (roleNeeded !== undefined) {
    const role = account.principal?.role
    message += ` It needs the role ${roleNeeded}${role === undefined ? '' : `; yours is ${role}`}.`
  }
  if (retryAfterSeconds !== undefined) {
    message += ` Try again in ${waitText(retryAfterSeconds)}.`
    headers.push('Retry-After', String(retryAfterSeconds))
  }
  const body = { error: NAMES[status], message, ...(roleNeeded === undefined ? {} : { role_needed: roleNeeded }) }
  // A page of the origin that --enable-cors-header names may read why.
  headers.push(...corsHeaders(allowedOrigin(readHead(facts), policy)))
  return jsonAnswer(status, body, headers)
}

function challenges(challenge: RefuseDecision['refusal']['challenge'], reason: Reason): string[] {
  if (challenge === 'none') return []
  const error = reason === 'no-credential' ? '' : ', error="invalid_token"' // RFC 6750, 3.1
  // By this our scripts know it: the answer to a HEAD has no body
  const why = reason === 'two-sessions' ? `, error_description="${reason}"` : ''
  const headers = ['WWW-Authenticate', `Bearer realm="${REALM}"${error}${why}`]
  if (challenge === 'bearer-basic') headers.push('WWW-Authenticate', `Basic realm="${REALM}", charset="UTF-8"`)
  return headers
}

function loginState(decision: RefuseDecision, policy: Policy, facts: RequestFacts): LoginState {
  const { status, reason } = decision.refusal
  // Also where the page was asked for without a key: its first try would be told to wait.
  const retryAfterSeconds =
    decision.refusal.retryAfterSeconds ?? policy.throttledFor(decision.account.client, facts.nowMs)
  const state = { status, next: decision.returnTo, retryAfterSeconds }
  const error = ERRORS[reason]
  return error === undefined ? state : { ...state, error }
}

/** Of a key in the address, which the login page takes out of it. */
const ERRORS: Partial<Readonly<Record<Reason, string>>> = {
  'unknown-credential': 'The key in the address is not known here.',
  'doubled-carrier': 'More than one key came with the address. Log in with the one that you mean.',
  'conflicting-keys': 'More than one key came with the address. Log in with the one that you mean.',
}
