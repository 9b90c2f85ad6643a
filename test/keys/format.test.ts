import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { base62, makeKey, parseKey, redact } from '../../src/keys/format.ts'

const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** Read back digit by digit, as a stranger would. */
function value(digits: string): bigint {
  return [...digits].reduce((sum, digit) => sum * 62n + BigInt(ALPHABET.indexOf(digit)), 0n)
}

test('the format does not change: keys made long ago stay valid', () => {
  expect(makeKey(() => new Uint8Array(32))).toBe('comfy_00000000000000000000000000000000000000000001mi62P')
  expect(makeKey(() => new Uint8Array(32).fill(255))).toBe('comfy_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13hQ0cf')
})

test('a key carries its 256 bits, and the CRC-32 of what stands before the checksum', () => {
  fc.assert(
    fc.property(bytes, (random) => {
      const key = makeKey(() => random)
      expect(key).toMatch(/^comfy_[0-9A-Za-z]{49}$/)
      expect(value(key.slice(6, 49))).toBe(BigInt(`0x${Buffer.from(random).toString('hex')}`))
      expect(value(key.slice(49))).toBe(BigInt(crc32(key.slice(0, 49))))
      expect(parseKey(key)).toEqual({ kind: 'ok' })
    }),
  )
})

test('one character changed, left out, doubled or swapped with its neighbour is noticed', () => {
  fc.assert(
    fc.property(
      bytes,
      fc.nat(48),
      fc.constantFrom(...ALPHABET),
      fc.constantFrom(0, 1, 2, 3),
      (random, at, digit, kind) => {
        const key = makeKey(() => random)
        const i = 6 + at
        const wrong = [
          key.slice(0, i) + digit + key.slice(i + 1),
          key.slice(0, i) + key.slice(i + 1),
          key.slice(0, i) + key[i] + key.slice(i),
          key.slice(0, i) + (key[i + 1] ?? '') + key[i] + key.slice(i + 2),
        ][kind]!
        fc.pre(wrong !== key)
        expect(parseKey(wrong)).toEqual({ kind: 'bad-checksum' })
      },
    ),
  )
})

test('a cut key is told from a foreign one', () => {
  const key = makeKey()
  expect(parseKey(key.slice(0, 20))).toEqual({ kind: 'bad-checksum' })
  expect(parseKey(`${key}x`)).toEqual({ kind: 'bad-checksum' })
  expect(parseKey(`${key}\n`)).toEqual({ kind: 'bad-checksum' })
  expect(parseKey('k9Vn2v3fQ0c1mYHn1yJ8w2Kq7xTzP4sLrB6dEeGhIjA=')).toEqual({ kind: 'foreign' })
  expect(parseKey('')).toEqual({ kind: 'foreign' })
})

test('any text is one of the three, and never throws', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.string().map((text) => `comfy_${text}`),
      ),
      (text) => {
        expect(['ok', 'bad-checksum', 'foreign']).toContain(parseKey(text).kind)
      },
    ),
  )
})

test('base62 pads on the left and keeps the order of numbers', () => {
  expect(base62(0n, 3)).toBe('000')
  expect(base62(61n, 2)).toBe('0z')
  expect(base62(62n, 2)).toBe('10')
  expect(base62(2n ** 256n - 1n, 43)).toHaveLength(43)
})

test('no key, session or token of ours survives redact, whatever stands around it', () => {
  fc.assert(
    fc.property(
      bytes,
      fc.string(),
      fc.string(),
      fc.constantFrom('comfy_', 'comfys_', 'comfyt_'),
      (random, before, after, prefix) => {
        const secret = makeKey(() => random).slice(6)
        expect(redact(`${before}${prefix}${secret}${after}`)).not.toContain(secret)
      },
    ),
  )
  expect(redact('comfy_ui and comfy_auth stay')).toBe('comfy_ui and comfy_auth stay')
})
