const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const utf8Bytes = new TextEncoder()

function hexValue(code: number): number {
  if (code >= 48 && code <= 57) return code - 48
  const letter = code | 32
  return letter >= 97 && letter <= 102 ? letter - 87 : -1
}

/** UTF-8, or undefined: never a replacement character. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

/** Bytes that the parser handed over as latin1, read as UTF-8 where they are it: a key file is UTF-8. */
export function textOf(latin1: string): string {
  for (let i = 0; i < latin1.length; i++) {
    if (latin1.charCodeAt(i) > 127) return decodeUtf8(bytesOf(latin1)) ?? latin1
  }
  return latin1
}

function bytesOf(latin1: string): Uint8Array {
  const bytes = new Uint8Array(latin1.length)
  for (let i = 0; i < latin1.length; i++) bytes[i] = latin1.charCodeAt(i)
  return bytes
}

/** Percent-decodes once. Undefined where a `%` is malformed (unless it may `stay`) or the bytes are not UTF-8. */
function percentDecode(bytes: Uint8Array, malformed: 'undefined' | 'stays'): string | undefined {
  let length = 0
  for (let i = 0; i < bytes.length; i++) {
    let byte = bytes[i]!
    if (byte === 37) {
      const high = i + 2 < bytes.length ? hexValue(bytes[i + 1]!) : -1
      const low = high === -1 ? -1 : hexValue(bytes[i + 2]!)
      if (low !== -1) {
        byte = high * 16 + low
        i += 2
      } else if (malformed === 'undefined') return undefined
    }
    bytes[length++] = byte
  }
  return decodeUtf8(bytes.subarray(0, length))
}

/** A segment of a raw path, decoded once and strictly. */
export function decodeSegment(raw: string): string | undefined {
  return decodeAscii(raw) ?? percentDecode(bytesOf(raw), 'undefined')
}

/** The usual case at a tenth of the price: ASCII throughout, before and after. Undefined where it is another. */
function decodeAscii(raw: string): string | undefined {
  let text = ''
  let from = 0
  for (let i = 0; i < raw.length; i++) {
    const code = raw.charCodeAt(i)
    if (code > 127) return undefined
    if (code !== 37) continue
    const high = hexValue(raw.charCodeAt(i + 1))
    const low = hexValue(raw.charCodeAt(i + 2))
    if (high < 0 || high > 7 || low < 0) return undefined
    text += raw.slice(from, i) + String.fromCharCode(high * 16 + low)
    i += 2
    from = i + 1
  }
  return from === 0 ? raw : text + raw.slice(from)
}

/** ComfyUI's second decoding of a `/userdata` file name: a malformed `%` stays as it is. */
export function decodeAgain(text: string): string | undefined {
  return text.includes('%') ? percentDecode(utf8Bytes.encode(text), 'stays') : text
}

/** A name or value of a query, with `+` as a blank. Undefined where the bytes are not UTF-8. */
export function decodeQuery(raw: string, plus: 'blank' | 'plus' = 'blank'): string | undefined {
  const text = plus === 'blank' ? raw.replaceAll('+', ' ') : raw
  return percentDecode(bytesOf(text), 'stays')
}

/** Base64 of latin1 text, or base64url, as bytes in a latin1 string; undefined where it is neither. */
export function decodeBase64(text: string): string | undefined {
  try {
    return atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  } catch {
    return undefined
  }
}
