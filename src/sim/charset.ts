/** A body that its charset does not allow: Python raises, and ComfyUI answers 500. */
export class CharsetError extends Error {}

const BASE64 = /^[A-Za-z0-9+/]*$/

/** UTF-7 (RFC 2152): `+...-` holds UTF-16 in base64; everything else is ASCII. */
function utf7(bytes: Buffer): string {
  let out = ''
  const text = bytes.toString('latin1')
  for (let at = 0; at < text.length; ) {
    const char = text[at] as string
    if (char.charCodeAt(0) > 0x7f) throw new CharsetError('utf-7')
    at += 1
    if (char !== '+') {
      out += char
      continue
    }
    let end = at
    while (end < text.length && BASE64.test(text[end] as string)) end += 1
    if (end === at && text[end] === '-') out += '+'
    else
      out += Buffer.from(text.slice(at, end), 'base64')
        .subarray(0, Math.floor(((end - at) * 6) / 16) * 2)
        .swap16()
        .toString('utf16le')
    at = text[end] === '-' ? end + 1 : end
  }
  return out
}

function utf16(bytes: Buffer): string {
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return Buffer.from(bytes.subarray(2)).swap16().toString('utf16le')
  const start = bytes[0] === 0xff && bytes[1] === 0xfe ? 2 : 0
  return bytes.subarray(start).toString('utf16le')
}

/** The `charset=` of a Content-Type, in lower case; undefined where there is none. */
export function charsetOf(contentType: string | undefined): string | undefined {
  return /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(contentType ?? '')?.[1]?.toLowerCase()
}

/** Decodes a body as aiohttp does: by the charset that the request names, else UTF-8, strictly. */
export function decodeText(bytes: Buffer, charset: string | undefined): string {
  switch ((charset ?? 'utf-8').replaceAll('_', '-')) {
    case 'utf-16':
    case 'utf16':
      return utf16(bytes)
    case 'utf-16le':
    case 'utf-16-le':
      return bytes.toString('utf16le')
    case 'utf-16be':
    case 'utf-16-be':
      return Buffer.from(bytes).swap16().toString('utf16le')
    case 'utf-7':
    case 'utf7':
      return utf7(bytes)
    case 'latin-1':
    case 'latin1':
    case 'iso-8859-1':
      return bytes.toString('latin1')
    case 'utf-8-sig':
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    case 'utf-8':
    case 'utf8':
    case 'ascii':
    case 'us-ascii':
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
      } catch {
        throw new CharsetError('utf-8')
      }
    default:
      throw new CharsetError('unknown charset')
  }
}
