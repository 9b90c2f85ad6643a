import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

export const KEY_PREFIX = 'comfy_'
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const SECRET_LENGTH = 43 // 62^43 > 2^256
const CHECKSUM_LENGTH = 6 // 62^6 > 2^32
const SHAPE = /^comfy_[0-9A-Za-z]{43}[0-9A-Za-z]{6}$/

/** Big-endian, left-padded with 0. */
export function base62(value: bigint, length: number): string {
  let digits = ''
  for (let rest = value; rest > 0n; rest /= 62n) digits = ALPHABET[Number(rest % 62n)] + digits
  return digits.padStart(length, '0')
}

/** CRC-32 of all that stands before it, prefix included: a typo or a cut copy is told without a server. */
function checksum(body: string): string {
  return base62(BigInt(crc32(body)), CHECKSUM_LENGTH)
}

/** `comfy_`, 256 bits from `random` as 43 characters of base62, and 6 of checksum. */
export function makeKey(random: (bytes: number) => Uint8Array = randomBytes): string {
  const secret = BigInt(`0x${Buffer.from(random(32)).toString('hex')}`)
  const body = KEY_PREFIX + base62(secret, SECRET_LENGTH)
  return body + checksum(body)
}

export type ParsedKey =
  /** One of ours, and typed right. */
  | { readonly kind: 'ok' }
  /** It begins as ours do, but was mistyped or cut. */
  | { readonly kind: 'bad-checksum' }
  /** Any other string, such as the guide's free-form keys. */
  | { readonly kind: 'foreign' }

export function parseKey(text: string): ParsedKey {
  if (!text.startsWith(KEY_PREFIX)) return { kind: 'foreign' }
  if (!SHAPE.test(text)) return { kind: 'bad-checksum' }
  const body = text.slice(0, -CHECKSUM_LENGTH)
  return checksum(body) === text.slice(-CHECKSUM_LENGTH) ? { kind: 'ok' } : { kind: 'bad-checksum' }
}

/** Long enough to be one of ours, whole, mistyped or cut, wherever in the text it stands. */
export function holdsKey(text: string): boolean {
  return /comfy_[0-9A-Za-z]{30,}/.test(text)
}

/** Keys, session cookies and storage tokens by their prefix, cut and mistyped ones too. */
const SECRETS = /comfy([st]?)_[0-9A-Za-z]{8,}/g

/** The text with everything that looks like a secret of ours taken out. The guide's free-form keys have no look. */
export function redact(text: string): string {
  return text.replaceAll(SECRETS, 'comfy$1_[redacted]')
}

const MAX_ENCODINGS = 8
/** Whole ones alone: paths without their slashes make long words of their own. */
const JOINED_SECRET = /comfy[st]?_[0-9A-Za-z]{40,}/
const OPEN_SECRETS = /comfy[st]?_[0-9A-Za-z]{43,}/g

/**
 * Whether whoever decodes this path, or takes its slashes out, has a secret of ours that `redact` does not see or sees a part
 * of: `/comfy%5f...`, encoded twice too. More encodings than anybody means count as one. It is read a few times over: cut it.
 */
export function hidesSecret(path: string): boolean {
  let text = path.replaceAll(OPEN_SECRETS, '/')
  const open = text.match(SECRETS)?.length ?? 0
  for (let i = 0; i < MAX_ENCODINGS; i++) {
    if (JOINED_SECRET.test(text.replaceAll('/', '')) || (text.match(SECRETS)?.length ?? 0) > open) return true
    const decoded = text.replaceAll(/%([0-7][0-9a-f])/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    if (decoded === text) return false
    text = decoded
  }
  return true
}
