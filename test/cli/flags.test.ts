import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseDuration, parseExpiry, parseSize } from '../../src/cli/flags.ts'

const NOW = new Date('2026-11-24T12:00:00Z')

test.each([
  ['90d', 90 * 86_400_000],
  ['24h', 86_400_000],
  ['10m', 600_000],
  ['30s', 30_000],
  ['500ms', 500],
  ['1.5s', 1_500],
  ['1h30m', 5_400_000],
  ['2w', 14 * 86_400_000],
  ['0', 0],
])('%s is %d ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each(['', '10', 'h', '10 m', '-5m', '1e3s', '5mm', '10M', 'soon', '99999999999999999d', '1d x'])(
  '%o is no duration',
  (text) => {
    expect(() => parseDuration(text)).toThrow('That is not a duration.')
  },
)

test.each([
  ['4GiB', 4 * 2 ** 30],
  ['512MiB', 512 * 2 ** 20],
  ['1.5GB', 1.5e9],
  ['1 KiB', 1024],
  ['64K', 65_536],
  ['100', 100],
])('%s is %d bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes)
})

test.each(['', 'GiB', '-1', '4 gigs', '1e9', 'constructor', '1toString', '9999999TiB'])('%j is no size', (text) => {
  expect(() => parseSize(text)).toThrow('That is not a size.')
})

test.each([
  ['90d', '2027-02-22T12:00:00.000Z'],
  ['2027-01-31', '2027-01-31T23:59:59.999Z'],
  ['2028-02-29', '2028-02-29T23:59:59.999Z'],
  ['2027-01-31T10:00Z', '2027-01-31T10:00:00.000Z'],
  ['2027-01-31T10:00:00+02:00', '2027-01-31T08:00:00.000Z'],
])('%s ends at %s', (text, end) => {
  expect(parseExpiry(text, NOW).toISOString()).toBe(end)
})

test('a duration is a thousand years at most: no moment that it leads to is past what a date can hold', () => {
  expect(parseDuration('365000d')).toBe(365_000 * 86_400_000)
  for (const text of ['365001d', '3000000d', '104249991d'])
    expect(() => parseDuration(text)).toThrow('That is too long.')
})

test.each([
  ['2027-02-30', 'There is no such date.'],
  ['2027-13-01', 'There is no such date.'],
  ['2027-01-31T25:00Z', 'There is no such date.'],
  ['31.1.2027', 'That is neither a duration nor a date.'],
  ['2027-01-31T10:00', 'That is neither a duration nor a date.'], // whose midnight?
  ['2027-02-30T10:00Z', 'There is no such date.'],
  ['9999999w', 'That is too far away.'],
  ['9999-12-31T23:59-14:00', 'That is too far away.'], // the year 10000 in UTC
])('%s: %s', (text, message) => {
  expect(() => parseExpiry(text, NOW)).toThrow(message)
})

test('any text is a value in range or one usage error that does not repeat it', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: fc.constantFrom(...'0123456789.hmsdwTZ:-') })),
      (text) => {
        for (const parse of [parseDuration, parseSize, (each: string) => parseExpiry(each, NOW).getTime()]) {
          try {
            expect(Number.isSafeInteger(parse(text))).toBe(true)
          } catch (error) {
            expect(error).toMatchObject({ kind: 'usage' })
            if (text.length > 3) expect((error as Error).message).not.toContain(text)
          }
        }
      },
    ),
  )
})
