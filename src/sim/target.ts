/** A request-target as ComfyUI's router reads it. */
export interface Target {
  /** Decoded but for `%2F` and `%25`: what routes are matched against. */
  readonly path: string
  /** Decoded in full: what middleware and the static folders look at. */
  readonly decoded: string
  readonly query: URLSearchParams
}

const ESCAPE = /%[0-9A-Fa-f]{2}/g
const RUN = /(?:%[0-9A-Fa-f]{2})+/g

function decodeRun(run: string): string {
  try {
    return decodeURIComponent(run)
  } catch {
    return run
  }
}

/** Decodes what is a valid escape and leaves the rest: `%zz` stays as it is. */
export function unquote(text: string): string {
  return text.includes('%') ? text.replace(RUN, decodeRun) : text
}

const PLAIN = /^\/[A-Za-z0-9_./-]*$/
const NO_QUERY = new URLSearchParams()

/** Splits a target at the first `#`, then at `?`; an absolute form loses its authority. Undefined for `*`. */
export function parseTarget(raw: string): Target | undefined {
  if (PLAIN.test(raw)) return { path: raw, decoded: raw, query: NO_QUERY }
  const hash = raw.indexOf('#')
  let rest = hash < 0 ? raw : raw.slice(0, hash)
  if (!rest.startsWith('/')) {
    const absolute = /^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i.exec(rest)
    if (!absolute) return undefined
    rest = rest.slice(absolute[0].length) || '/'
  }
  const mark = rest.indexOf('?')
  const rawPath = mark < 0 ? rest : rest.slice(0, mark)
  const whole = rawPath.replace(/%(?![0-9A-Fa-f]{2})/g, '%25')
  const path = whole.replace(RUN, (run) =>
    run
      .replace(ESCAPE, (code) => (/^%(2f|25)$/i.test(code) ? `\u0000${code.toUpperCase()}\u0000` : code))
      .split('\u0000')
      .map((part) => (part === '%2F' || part === '%25' ? part : decodeRun(part)))
      .join(''),
  )
  return {
    path,
    decoded: path.replaceAll('%2F', '/').replaceAll('%25', '%'),
    query: mark < 0 ? NO_QUERY : new URLSearchParams(rest.slice(mark + 1)),
  }
}

/** A matched segment as the handler gets it: the two escapes that matching kept are decoded now. */
export function paramOf(segment: string): string {
  return segment.replaceAll('%2F', '/').replaceAll('%25', '%')
}
