import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { alerts, formatRange, parseRange, wordRange } from '../../src/health/range.ts'

describe('the monitoring plugins’ ranges', () => {
  test.each([
    ['10', [-1, 11], [0, 5, 10]],
    ['10:', [9.9, -5], [10, 1e9]],
    ['~:10', [10.1, 1e9], [10, 0, -1e9]],
    ['10:20', [9, 21], [10, 15, 20]],
    ['@10:20', [10, 15, 20], [9, 21]],
    ['@10', [0, 10], [-1, 11]],
    [':10', [-1, 11], [0, 10]],
    ['-5:5', [-6, 6], [-5, 0, 5]],
    ['~:', [], [-1e9, 0, 1e9]],
    ['1.5:2.5', [1.4, 2.6], [1.5, 2.5]],
    ['-10:-5', [-11, -4, 0], [-10, -5]],
  ])('%s alerts on %j and not on %j', (text, bad, good) => {
    const range = parseRange(text, '')
    for (const value of bad) expect(alerts(range, value)).toBe(true)
    for (const value of good) expect(alerts(range, value)).toBe(false)
  })

  test.each([
    '',
    ':',
    '@',
    '@:',
    '~',
    '20:10',
    'a',
    '1:2:3',
    '10:~',
    '1 :',
    '0x10',
    'NaN',
    'Infinity:',
    '10%%',
    '4GiB:',
    '-1',
  ])('%j is no range of a bare number', (text) => {
    expect(() => parseRange(text, '')).toThrow(expect.objectContaining({ kind: 'usage' }))
  })

  test('sizes stand for bytes, and the unit of the value may be written', () => {
    expect(parseRange('4GiB:', 'B')).toEqual({ start: 4294967296, end: Infinity, inside: false })
    expect(parseRange('@512MiB:1.5GB', 'B')).toEqual({ start: 536870912, end: 1500000000, inside: true })
    expect(parseRange('10%:', '%').start).toBe(10)
    expect(parseRange('500', 's').end).toBe(500)
    expect(() => parseRange('4GiB:', '%')).toThrow()
  })

  test('perfdata has the base unit and no exponent', () => {
    expect(formatRange(parseRange('4GiB:', 'B'))).toBe('4294967296:')
    expect(formatRange(parseRange('1e21', ''))).toBe('1000000000000000000000')
    expect(formatRange(parseRange('1e-7:', ''))).toBe('0.000000100000:')
  })

  test('what is written is read back as the same range', () => {
    const bound = fc.integer({ min: -1_000_000, max: 1_000_000 }).map((value) => value / 100)
    const spelled = fc.tuple(fc.boolean(), fc.option(bound), fc.option(bound))
    fc.assert(
      fc.property(spelled, bound, ([inside, low, high], value) => {
        const [start, end] = low !== null && high !== null && low > high ? [high, low] : [low, high]
        const text = `${inside ? '@' : ''}${start ?? '~'}:${end ?? ''}`
        const range = parseRange(text, '')
        const within = (start === null || value >= start) && (end === null || value <= end)
        expect(alerts(range, value)).toBe(within === inside)
        expect(parseRange(formatRange(range), '')).toEqual(range)
      }),
    )
  })

  test('a bare number is 0 to it, and inside is the reverse of outside', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer(), (end, value) => {
        expect(alerts(parseRange(String(end), ''), value)).toBe(value < 0 || value > end)
        expect(alerts(parseRange(`@${end}`, ''), value)).toBe(!alerts(parseRange(String(end), ''), value))
      }),
    )
  })

  test('no other text makes it throw anything but wrong usage', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseRange(text, 'B')
        } catch (error) {
          expect(error).toMatchObject({ kind: 'usage' })
        }
      }),
    )
  })

  test.each([
    ['10:', '10 or more'],
    ['10', '10 or less'],
    ['~:10', '10 or less'],
    ['10:20', 'from 10 to 20'],
    ['@10:20', 'not from 10 to 20'],
  ])('%s in words: %s', (text, words) => {
    expect(wordRange(parseRange(text, ''), String)).toBe(words)
  })
})
