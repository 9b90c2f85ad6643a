import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  isNumber,
  isObject,
  JsonSyntaxError,
  numberFrom,
  parseJson,
  readAnswer,
  writeJson,
  writeJsonIndented,
} from '../../src/comfy/json.ts'

describe('numbers', () => {
  test.each(['18446744073709551615', '8.0', '1e400', '-0', '0.1000000000000000055', '9007199254740993', '1E+2'])(
    '%s is written as it was read',
    (number) => {
      expect(writeJson(parseJson(`{"seed": ${number}}`))).toBe(`{"seed":${number}}`)
    },
  )

  test.each(['NaN', 'Infinity', '-Infinity'])("Python's %s is read and written back", (number) => {
    expect(writeJson(parseJson(`[${number}]`))).toBe(`[${number}]`)
  })

  test.each(['01', '+1', '.5', '1.', '0x10', '1e', '-', '-NaN', 'nan', '', '1 '])('%j is no number', (text) => {
    expect(numberFrom(text)).toBeUndefined()
  })
})

test('any JSON means the same after reading and writing', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), (text) => {
      expect(JSON.parse(writeJson(parseJson(text)))).toEqual(JSON.parse(text))
      expect(JSON.parse(writeJsonIndented(parseJson(text)))).toEqual(JSON.parse(text))
    }),
  )
})

test('it reads what JSON.parse reads and refuses what JSON.parse refuses', () => {
  const mutated = fc
    .tuple(fc.json(), fc.nat(), fc.constantFrom('', ',', '"', '\\', '}', ']', '\u0001', ' ', '1', ':'))
    .map(([text, at, put]) => {
      const index = at % (text.length + 1)
      return text.slice(0, index) + put + text.slice(index + (put === '' ? 1 : 0))
    })
  fc.assert(
    fc.property(mutated, (text) => {
      let reference: unknown
      let fine = true
      try {
        reference = JSON.parse(text)
      } catch {
        fine = false
      }
      if (fine) expect(JSON.parse(writeJson(parseJson(text)))).toEqual(reference)
      else expect(() => parseJson(text)).toThrow(JsonSyntaxError)
    }),
    { numRuns: 500 },
  )
})

test('names keep their order, integers too, and __proto__ is a name', () => {
  const text = '{"10":1,"2":2,"__proto__":{"a":3}}'
  expect(writeJson(parseJson(text))).toBe(text)
  expect(Object.keys(readAnswer('{"__proto__":1,"a":NaN}') as object)).toEqual(['__proto__', 'a'])
})

test('of equal names the last counts', () => {
  expect(writeJson(parseJson('{"a":1,"a":2}'))).toBe('{"a":2}')
})

test('an error says where, and repeats nothing of the text', () => {
  expect(() => parseJson('{\n  "a": 1,\n  secret\n}')).toThrow('expected a name in double quotes at line 3, column 3')
  expect(() => parseJson('{"a": [1,')).toThrow('the text ends too early at line 1, column 10')
})

test('endless nesting is an error, not the end of the stack', () => {
  expect(() => parseJson('['.repeat(100_000))).toThrow('nested too deep')
})

test('a string of 20 MB is read', () => {
  const long = 'x'.repeat(20_000_000)
  expect(parseJson(JSON.stringify([long, '\\"\\\\'])) as string[]).toEqual([long, '\\"\\\\'])
})

test('readAnswer gives plain values where Python wrote NaN', () => {
  expect(readAnswer('{"a": [NaN, 1.5, true, null, "x"]}')).toEqual({ a: [Number.NaN, 1.5, true, null, 'x'] })
})

test('the guards tell the kinds apart', () => {
  const value = parseJson('{"source": 1}')
  expect([isObject(value), isNumber(value), isNumber(parseJson('1')), isObject(parseJson('[]'))]).toEqual([
    true,
    false,
    true,
    false,
  ])
})
