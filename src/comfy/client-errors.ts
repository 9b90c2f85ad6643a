import { ComfyAuthError } from '../errors.ts'
import { readAnswer } from './json.ts'
import { plain } from './plain.ts'

/** What the words need to know of the server that was asked. */
export interface Asked {
  readonly url: string
  /** For taking it out of the server's text only. */
  readonly key: string | undefined
}

const OTHER_SERVER = 'name another server with --url, COMFY_AUTH_URL or a profile'

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name cannot be looked up now',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  UND_ERR_SOCKET: 'the connection was cut',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer',
  ETIMEDOUT: 'it does not answer',
}

const TLS = /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_|ERR_SSL_|EPROTO)/

/** The system's error code, wherever undici or ws put it. */
export function codeOf(error: unknown): string {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    if ('code' in at && typeof at.code === 'string') return at.code
    if (at instanceof AggregateError && at.errors.length > 0) return codeOf(at.errors[0])
  }
  return ''
}

/** undici's code for a body beyond the agent's limit; ours too. */
export const TOO_LONG = 'UND_ERR_RES_EXCEEDED_MAX_SIZE'

export function interrupted(): ComfyAuthError {
  return new ComfyAuthError('interrupted', 'Interrupted.', { remedy: 'Run it again to go on.' })
}

/** An exchange that brought no answer, in our words. Errors of ours pass unchanged. */
export function transportError(error: unknown, asked: Asked): ComfyAuthError {
  if (error instanceof ComfyAuthError) return error
  const code = codeOf(error)
  if (error instanceof Error && error.name === 'AbortError') return interrupted()
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') {
    return new ComfyAuthError('timeout', `${asked.url} took the request and did not answer in time.`, {
      remedy: 'Look at the server: it may be starting, overloaded, or hung.',
      cause: error,
    })
  }
  if (code === TOO_LONG) return notComfy(asked, 'its answer is longer than any of ComfyUI')
  if (TLS.test(code)) {
    return new ComfyAuthError('unreachable', `${asked.url}: its TLS certificate is not trusted here (${code}).`, {
      remedy:
        'If it is your own, set NODE_EXTRA_CA_CERTS to its certificate file; plain http needs http:// in the address.',
      cause: error,
    })
  }
  if (code.startsWith('HPE_') || (error instanceof Error && error.name === 'HTTPParserError'))
    return notComfy(asked, 'its answer is not HTTP')
  return new ComfyAuthError(
    'unreachable',
    `${asked.url} cannot be reached: ${REASONS[code] ?? 'the exchange failed'}.`,
    {
      remedy: `Start it (comfy-auth serve), or ${OTHER_SERVER}.`,
      cause: error,
    },
  )
}

/** Something answers there, but not a ComfyUI. */
export function notComfy(asked: Asked, why: string): ComfyAuthError {
  return new ComfyAuthError('unreachable', `${asked.url} is not a ComfyUI: ${why}.`, {
    remedy: `Look at the address (host, port, path prefix), or ${OTHER_SERVER}.`,
  })
}

type Fields = Readonly<Record<string, unknown>>

function fieldsOf(body: string): Fields {
  try {
    const answer = readAnswer(body)
    return typeof answer === 'object' && answer !== null ? (answer as Fields) : {}
  } catch {
    return {}
  }
}

const ROLES = ['viewer', 'user', 'admin']

/** The role that a 403 of our proxy names. */
function roleNeeded({ role_needed: role }: Fields): string | undefined {
  return typeof role === 'string' && ROLES.includes(role) ? role : undefined
}

function redirectTarget(location: string | undefined, base: string): string {
  const target = location === undefined ? null : URL.parse(location, `${base}/`)
  return target ? plain(target.origin + target.pathname, { limit: 200 }) : 'somewhere else'
}

/** An answer that is no success, in our words. 400 of POST /prompt is worded by submit.ts. */
export function statusError(
  asked: Asked,
  answer: {
    readonly status: number
    readonly body: string
    readonly location: string | undefined
    readonly retryAfter: string | undefined
  },
): ComfyAuthError {
  const { status } = answer
  const fields = fieldsOf(answer.body)
  const said =
    typeof fields.message === 'string' ? ` It says: ${plain(fields.message, { limit: 300, secret: asked.key })}` : ''
  if (status === 401) {
    return asked.key === undefined
      ? new ComfyAuthError('unauthorised', `${asked.url} asks for a key, and there is none for it here.`, {
          remedy: `Store one with: comfy-auth login ${asked.url}. Scripts set COMFYUI_API_KEY_FILE.`,
        })
      : new ComfyAuthError('unauthorised', `${asked.url} does not accept the key: wrong, revoked or expired.`, {
          remedy: 'Look where it comes from with comfy-auth whoami; store another with comfy-auth login.',
        })
  }
  if (status === 403) {
    const role = roleNeeded(fields)
    return new ComfyAuthError(
      'unauthorised',
      role ? `${asked.url} allows this to keys of role ${role} only.` : `${asked.url} forbids this (403).${said}`,
      {
        remedy: role
          ? `Ask its owner for a key: comfy-auth keygen --role ${role}.`
          : 'A proxy in front, or ComfyUI itself, refuses the request.',
      },
    )
  }
  if (status === 429) {
    const wait = /^\d{1,6}$/.test(answer.retryAfter ?? '')
      ? `Wait ${answer.retryAfter} s, then try again.`
      : 'Wait a while, then try again.'
    return new ComfyAuthError('unauthorised', `${asked.url} takes no more attempts from here for now (429).`, {
      remedy: wait,
    })
  }
  if (status >= 300 && status < 400) {
    return new ComfyAuthError(
      'unreachable',
      `${asked.url} answers with a redirect to ${redirectTarget(answer.location, asked.url)}; it is not followed, so that the key goes nowhere else.`,
      {
        remedy: 'If that is the server you mean, give its address.',
      },
    )
  }
  if (status === 413) {
    return new ComfyAuthError('refused', `${asked.url} does not take a request this large (413).`, {
      remedy: 'Raise --max-upload-size where ComfyUI and comfy-auth serve are started, or send less.',
    })
  }
  if (status === 421) {
    return new ComfyAuthError('unreachable', `${asked.url} does not know itself by this host name (421).`, {
      remedy: 'Start serve with --allow-host NAME or --public-url, or use the name it knows.',
    })
  }
  if (status === 502 || status === 503 || status === 504) {
    return new ComfyAuthError('unreachable', `${asked.url} answers, but the ComfyUI behind it does not (${status}).`, {
      remedy: 'Start ComfyUI, or wait until it is up.',
    })
  }
  if (status === 404 || status === 405) return notComfy(asked, `it answers ${status} where ComfyUI has a route`)
  return new ComfyAuthError('failed', `${asked.url} answered ${status}.${said}`, {
    remedy: "Look at ComfyUI's console for the reason.",
  })
}
