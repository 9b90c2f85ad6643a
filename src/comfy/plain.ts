/** Every C0 and C1 control character but line feed and tab: a server's text must not drive the terminal. */
function isControl(code: number): boolean {
  return (code < 0x20 && code !== 0x0a && code !== 0x09) || (code >= 0x7f && code <= 0x9f)
}

/** Text from a server or a file as it may be shown: no control characters, no secret, at most `limit` characters. */
export function plain(
  text: string,
  options: { readonly limit?: number; readonly secret?: string | undefined } = {},
): string {
  const { limit = 500, secret } = options
  const hidden = secret ? text.replaceAll(secret, '[key]') : text
  const shown = Array.from(hidden, (character) => (isControl(character.codePointAt(0)!) ? ' ' : character))
    .join('')
    .trim()
  return shown.length > limit ? `${shown.slice(0, limit)}...` : shown
}
