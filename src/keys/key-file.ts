import { ComfyAuthError } from '../errors.ts'
import { readPrivate } from '../files/private.ts'
import { parseKey } from './format.ts'

/** What `openssl rand -base64 32` makes has 44; fewer than 8 can be guessed over the network. */
export const MIN_KEY_LENGTH = 8
/** Longer than any header that may carry it. */
const MAX_KEY_LENGTH = 4096
/** A free-form key may begin with `comfy_` too; from this length on it can only be one of ours gone wrong. */
const OURS_FROM = 36
const MAX_BYTES = 16 * 2 ** 20
const NAME = 'The key file'

/** What is wrong with a key as such, worded without the key; undefined where it can be one. */
export function keyFault(key: string): string | undefined {
  if (key.length < MIN_KEY_LENGTH) return `has fewer than ${MIN_KEY_LENGTH} characters`
  if (key.length > MAX_KEY_LENGTH) return `has more than ${MAX_KEY_LENGTH} characters`
  if (!/^[\x20-\x7e]+$/.test(key))
    return 'holds a control character or one beyond ASCII, which not every carrier brings over'
  if (key.length >= OURS_FROM && parseKey(key).kind === 'bad-checksum')
    return 'fails its checksum: it was mistyped or cut'
  return undefined
}

function fault(name: string, line: number, what: string): ComfyAuthError {
  return new ComfyAuthError('usage', `${name}: the key in line ${line} ${what}.`, {
    remedy: 'Write one key a line, 8 characters or more; `comfy-auth keygen --out FILE` makes such a file.',
  })
}

/**
 * The guide's file: one key a line, in order and once each. A byte order mark, CRLF, blank lines, blanks around a key and
 * lines that begin with `#` are passed over. No keys where there are only comments; throws `usage` with the line's number.
 */
export function parseKeyFile(text: string, name = NAME): string[] {
  const keys = new Set<string>()
  for (const [index, raw] of text
    .replace(/^\ufeff/, '')
    .split(/\r\n|\n|\r/)
    .entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const wrong = keyFault(line)
    if (wrong) throw fault(name, index + 1, wrong)
    keys.add(line)
  }
  return [...keys]
}

export interface KeyFile {
  readonly keys: readonly string[]
  /** Group or others may read it. */
  readonly exposed: boolean
}

/** Reads and parses a key file. A missing, empty, unreadable or broken one throws `usage`, one line, which calls it `name` and not by its path. */
export function readKeyFile(path: string, name = NAME): KeyFile {
  const file = readPrivate(path, { name, maxBytes: MAX_BYTES })
  if (!file) {
    throw new ComfyAuthError('usage', `${name} does not exist.`, {
      remedy: 'Make one with `comfy-auth keygen --out FILE`, or correct its name.',
    })
  }
  if (file.text.trim() === '') {
    throw new ComfyAuthError('usage', `${name} is empty.`, {
      remedy: 'Write one key a line, or make it anew: `comfy-auth keygen --out FILE --force`.',
    })
  }
  if (file.text.includes('\0') || file.text.includes('\ufffd')) {
    throw new ComfyAuthError('usage', `${name} is not text.`, {
      remedy: 'Write one key a line, as UTF-8 text. (PowerShell: Out-File -Encoding utf8)',
    })
  }
  return { keys: parseKeyFile(file.text, name), exposed: (file.mode & 0o044) !== 0 }
}
