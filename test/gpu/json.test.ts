import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { firstJson } from '../../src/gpu/json.ts'

describe('JSON among other output', () => {
  test('what is whole is found behind any lines, and nothing makes it throw', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.stringMatching(/^[A-Z][ -~]*$/), (value, warning) => {
        const wrapped = { value }
        expect(firstJson(`${warning}\n${JSON.stringify(wrapped, null, 2)}\ntrailing`)).toEqual(
          JSON.parse(JSON.stringify(wrapped)),
        )
      }),
    )
    fc.assert(fc.property(fc.string(), (text) => void firstJson(text)))
  })

  test('a line that only looks like JSON is passed over', () => {
    expect(firstJson('[WARN] no permission\n{"a": "}"}')).toEqual({ a: '}' })
    expect(firstJson('[WARN] no permission')).toBeUndefined()
  })
})
