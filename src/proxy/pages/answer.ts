/** An answer of ours as a value; wire/respond.ts alone writes it, onto a response or a bare socket. */
export interface Answer {
  readonly status: number
  /** name, value, name, value. Content-Length and Date are the writer's. */
  readonly headers: readonly string[]
  readonly body: string | Uint8Array
  /** What happened besides, for the audit log: whose key or session it turned out to be. */
  readonly event?: PageEvent
}

export type PageEvent =
  | { readonly kind: 'login'; readonly keyId: string; readonly label: string | undefined; readonly sessionId: string }
  | { readonly kind: 'login-failed'; readonly reason: 'unknown' | 'dead' | 'throttled' }
  | { readonly kind: 'logout'; readonly sessionIds: readonly string[] }

/** On every answer of ours: nothing is kept, nothing is guessed, and our own forms still say where they come from (rule 13). */
export const OWN_HEADERS: readonly string[] = [
  'Cache-Control',
  'no-store',
  'X-Content-Type-Options',
  'nosniff',
  'Referrer-Policy',
  'same-origin',
]

export function jsonAnswer(status: number, value: unknown, headers: readonly string[] = []): Answer {
  return {
    status,
    headers: ['Content-Type', 'application/json; charset=utf-8', ...OWN_HEADERS, ...headers],
    body: `${JSON.stringify(value)}\n`,
  }
}

/** 303: the browser goes on with a GET, whatever the method was. */
export function seeOther(location: string, headers: readonly string[] = []): Answer {
  return { status: 303, headers: ['Location', location, ...OWN_HEADERS, ...headers], body: '' }
}
