/** Of a head, as RFC 9113 counts it: with 32 bytes more a field. A longer one would end the client's HTTP/2 connection. */
const HEAD_LIST_BYTES = 60 * 1024

/** What the parser lets by, and nobody after us should have to read. */
export function checkHead(headers: readonly string[]): void {
  let bytes = 0
  for (const text of headers) bytes += text.length + 16
  if (bytes > HEAD_LIST_BYTES) throw new Error('its head is too long')
  const coding = headerOf(headers, 'transfer-encoding')
  // `chunked` alone is taken off: what is under it would go on as if it were the body.
  if (coding !== undefined && coding.trim().toLowerCase() !== 'chunked')
    throw new Error('a coding that nobody asked for')
}

export function without(headers: readonly string[], name: string): string[] {
  return headers.flatMap((field, i) => (i % 2 === 1 || field.toLowerCase() === name ? [] : [field, headers[i + 1]!]))
}

export function headerOf(headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    const candidate = headers[i]!
    if (candidate.length === name.length && candidate.toLowerCase() === name) return headers[i + 1]
  }
  return undefined
}
