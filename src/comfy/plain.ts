/** C0 and C1 control characters, line and paragraph separators, and what turns the direction of writing round. */
const CONTROL = /[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu

/** As CONTROL, but for line feed and tab. */
const CONTROL_IN_LINES = /(?![\n\t])[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu

export interface PlainOptions {
  /** In characters; default 500. */
  readonly limit?: number
  readonly secret?: string | undefined
  /** Keep its lines, those after the first indented: else it could look like lines of ours. */
  readonly lines?: boolean
}

/**
 * Text from a server or a file as it may be shown: it neither drives the terminal nor holds a secret. What a server said
 * goes through here before it is printed.
 */
export function plain(text: string, { limit = 500, secret, lines = false }: PlainOptions = {}): string {
  const hidden = secret ? text.replaceAll(secret, '[key]') : text
  const shown = hidden.replaceAll(lines ? CONTROL_IN_LINES : CONTROL, ' ').trim()
  const cut = shown.length > limit ? `${shown.slice(0, limit)}...` : shown
  return lines ? cut.replaceAll('\n', '\n  ') : cut
}

/** Each such character by another, where a name must stay a name. */
export function withoutControl(text: string, substitute: string): string {
  return text.replaceAll(CONTROL, substitute)
}
