import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeText } from '../../src/sim/charset.ts'
import { dumpJson, JsonError, parseJson, pyRepr, truthy } from '../../src/sim/json.ts'

const again = (text: string) => dumpJson(parseJson(text))

describe('JSON as Python reads and writes it', () => {
  test('any document means the same after it was read and written', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(JSON.parse(again(text))).toEqual(JSON.parse(text))
      }),
    )
  })

  test.each([
    ['18446744073709551615', '18446744073709551615'],
    ['8.0', '8.0'],
    ['1e3', '1000.0'],
    ['1e-7', '1e-07'],
    ['[1,2]', '[1, 2]'],
    ['{"10":1,"2":{"a":[]}}', '{"10": 1, "2": {"a": []}}'],
    ['{"a":1,"a":2}', '{"a": 2}'],
    ['[NaN,-Infinity]', '[NaN, -Infinity]'],
    ['"ü\\u0001"', '"\\u00fc\\u0001"'],
    ['{"__proto__":1}', '{"__proto__": 1}'],
  ])('%s is written %s', (text, written) => {
    expect(again(text)).toBe(written)
  })

  test.each(['', '{', '[1,]', '{"a"}', '\ufeff{}', '1 2', "{'a':1}", '"a', '01', 'nul', '"\u0001"'])(
    '%j is no JSON',
    (text) => {
      expect(() => parseJson(text)).toThrow(JsonError)
    },
  )

  test('a document nested without end is an error, not a crash', () => {
    expect(() => parseJson('['.repeat(100_000))).toThrow('recursion')
  })

  test.each(['null', 'false', '0', '""', '[]', '{}', '0.0'])('%s is false', (text) => {
    expect(truthy(parseJson(text))).toBe(false)
  })

  test('values stand in messages as Python shows them', () => {
    expect(pyRepr(parseJson('["it\'s", true, null, 1.0, {"a": "b\\n"}]'))).toBe(
      "[\"it's\", True, None, 1.0, {'a': 'b\\n'}]",
    )
  })
})

describe('charsets', () => {
  test.each([
    ['utf-16', Buffer.from('\ufeffä{', 'utf16le'), 'ä{'],
    ['utf-16', Buffer.from('\ufeffä{', 'utf16le').swap16(), 'ä{'],
    ['utf-7', Buffer.from('+AHs-a+-b+AOQ'), '{a+bä'],
    ['utf-7', Buffer.from('{"prompt":{}}'), '{"prompt":{}}'],
    [undefined, Buffer.from('ä'), 'ä'],
    ['latin-1', Buffer.from([0xe4]), 'ä'],
  ])('%s is decoded', (charset, bytes, text) => {
    expect(decodeText(bytes, charset)).toBe(text)
  })

  test('bytes that are no UTF-8, and a charset that nobody knows, are refused', () => {
    expect(() => decodeText(Buffer.from([0xff]), undefined)).toThrow()
    expect(() => decodeText(Buffer.from('a'), 'klingon')).toThrow()
  })
})
