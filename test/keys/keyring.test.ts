import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { digestOf } from '../../src/keys/digest.ts'
import {
  changeKeyring,
  formatKeyring,
  isLabel,
  type KeyRecord,
  parseKeyring,
  readableText,
  readKeyring,
} from '../../src/keys/keyring.ts'
import { ROLES } from '../../src/keys/roles.ts'
import { temporaryFolder } from '../support/cli.ts'

const id = fc.string({ unit: fc.constantFrom(...'abcXYZ019'), minLength: 12, maxLength: 12 })
const date = fc.date({ min: new Date('2000-01-01'), max: new Date('2999-01-01'), noInvalidDate: true })
const record: fc.Arbitrary<KeyRecord> = fc.record({
  id,
  label: fc.option(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter(isLabel), { nil: undefined }),
  role: fc.constantFrom(...ROLES),
  created: date,
  expires: fc.option(date, { nil: undefined }),
  revoked: fc.option(date, { nil: undefined }),
  replacedBy: fc.option(id, { nil: undefined }),
  digest: fc.string().map(digestOf),
})
const records = fc
  .uniqueArray(record, { selector: (each) => each.id })
  .map((list) => [...new Map(list.map((each) => [each.digest, each])).values()])

const one: KeyRecord = {
  id: 'abcdefghijkl',
  label: 'ci',
  role: 'user',
  created: new Date('2026-11-24T00:00:00Z'),
  expires: undefined,
  revoked: undefined,
  replacedBy: undefined,
  digest: digestOf('x'),
}

test('what is written is read back, whatever the records', () => {
  fc.assert(
    fc.property(records, (keys) => {
      const text = formatKeyring(keys)
      expect(parseKeyring(text)).toEqual(keys)
      // As an editor may leave it: then it is not read record by record
      expect(parseKeyring(JSON.stringify(JSON.parse(text), null, 4))).toEqual(keys)
    }),
  )
})

test.each([
  ['a record of two lines', (text: string) => text.replace(',"role"', ',\n"role"'), undefined],
  ['a comma after the last record', (text: string) => text.replace('\n  ]', ',\n  ]'), /not JSON/],
  [
    'a record that is no object',
    (text: string) => text.replace('\n  ]', ',\n    7\n  ]'),
    /keys\[2\] is not an object/,
  ],
  ['an end before the end', (text: string) => text.replace('},\n', '}],\n'), /not JSON/],
  ['a second list', (text: string) => text.replace('},\n', '}\n  ],\n "keys": [\n'), undefined],
])('our own form with %s says what JSON says', (_name, edit, fault) => {
  const text = edit(formatKeyring([one, { ...one, id: 'abcdefghijkm', digest: digestOf('y') }]))
  if (fault) expect(() => parseKeyring(text)).toThrow(fault)
  else expect(parseKeyring(text)).toEqual(parseKeyring(JSON.stringify(JSON.parse(text))))
})

test('a text cut anywhere is refused, never read as fewer records', () => {
  const text = formatKeyring([one, { ...one, id: 'abcdefghijkm', digest: digestOf('y') }])
  for (let length = 0; length < text.trimEnd().length; length++) {
    expect(() => parseKeyring(text.slice(0, length))).toThrow(
      /^The keyring is (an empty file|not JSON, or was cut short)\.$/,
    )
  }
})

/** The good text with one field of its second record set to `value`, or taken out where that is undefined. */
function withField(name: string, value: unknown): string {
  const json = JSON.parse(formatKeyring([{ ...one, id: 'zzzzzzzzzzzz', digest: digestOf('z') }, one]))
  json.keys[1][name] = value
  return JSON.stringify(json)
}

test.each([
  ['id', undefined, 'is not 12 letters and digits.'],
  ['id', 'short', 'is not 12 letters and digits.'],
  ['id', 'zzzzzzzzzzzz', 'stands twice.'],
  ['label', 7, 'is not a text of 1 to 64 characters in one line.'],
  ['label', 'two\nlines', 'is not a text of 1 to 64 characters in one line.'],
  ['role', 'root', 'is not one of viewer, user, admin.'],
  ['role', undefined, 'is not one of viewer, user, admin.'],
  ['created', undefined, 'is not a date such as 2027-01-31T00:00:00.000Z.'],
  ['expires', 'soon', 'is not a date such as 2027-01-31T00:00:00.000Z.'],
  ['expires', '2027-13-01T00:00:00Z', 'is not a date such as 2027-01-31T00:00:00.000Z.'],
  ['expires', 1_800_000_000, 'is not a date such as 2027-01-31T00:00:00.000Z.'],
  ['revoked', true, 'is not a date such as 2027-01-31T00:00:00.000Z.'],
  ['replacedBy', '', 'is not 12 letters and digits.'],
  ['sha256', 'ABC', 'is not a SHA-256 in lower-case hex.'],
  ['sha256', digestOf('z'), 'stands twice.'],
])('a wrong %s (%j) is named, not repeated', (field, value, what) => {
  const text = withField(field, value)
  expect(() => parseKeyring(text)).toThrow(`The keyring: keys[1].${field} ${what}`)
})

test('an unknown field is refused without its name: a key may have been written there', () => {
  const run = () => parseKeyring(withField('comfy_secret', 1))
  expect(run).toThrow('keys[1] has a field that this version does not know.')
})

test.each([
  ['{}', 'version is not a whole number.'],
  ['{"version":"1","keys":[]}', 'version is not a whole number.'],
  ['{"version":1}', 'keys is not a list.'],
  ['{"version":1,"keys":{}}', 'keys is not a list.'],
  ['{"version":1,"keys":[7]}', 'keys[0] is not an object.'],
])('%j: %s', (text, what) => {
  expect(() => parseKeyring(text)).toThrow(`The keyring: ${what}`)
})

test.each([
  ['', 'is an empty file.'],
  ['[]', 'is not a JSON object.'],
  ['"text"', 'is not a JSON object.'],
  ['\u0000\u0001', 'is not JSON, or was cut short.'],
])(
  '%j %s, and there is no field to mend; nor is the file called by a name that --keyring may have changed',
  (text, what) => {
    const remedy = 'Restore the file from a copy, or name another keyring; nothing was changed.'
    expect(() => parseKeyring(text)).toThrow(expect.objectContaining({ message: `The keyring ${what}`, remedy }))
  },
)

test('any JSON is read or refused in one usage line', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (json) => {
      try {
        parseKeyring(JSON.stringify({ version: 1, keys: [json] }))
      } catch (error) {
        expect(error).toMatchObject({ kind: 'usage' })
        expect((error as Error).message).not.toContain('\n')
      }
    }),
  )
})

test('a newer version is refused and the file is left as it was', async () => {
  const path = join(temporaryFolder(), 'keyring.json')
  const text = '{"version":2,"keys":[],"more":true}'
  writeFileSync(path, text, { mode: 0o600 })
  const change = changeKeyring(path, (keys) => ({ keys: [...keys, one], result: undefined }))
  await expect(change).rejects.toMatchObject({ kind: 'usage', message: expect.stringContaining('has version 2') })
  expect(readFileSync(path, 'utf8')).toBe(text)
})

test('a damaged keyring is never written over', async () => {
  const path = join(temporaryFolder(), 'keyring.json')
  writeFileSync(path, '{"version":1,"keys":[', { mode: 0o600 })
  await expect(changeKeyring(path, (keys) => ({ keys: [...keys, one], result: 1 }))).rejects.toThrow('cut short')
  expect(readFileSync(path, 'utf8')).toBe('{"version":1,"keys":[')
})

test('modes that let others in are told with the chmod to run', () => {
  const path = join(temporaryFolder(), 'keyring.json')
  writeFileSync(path, formatKeyring([one]))
  chmodSync(path, 0o644)
  expect(readKeyring(path).warnings).toEqual(['Other users may read the keyring: run `chmod 600` on it.'])
  chmodSync(path, 0o622)
  expect(readKeyring(path).warnings).toEqual(['Other users may write the keyring: run `chmod 600` on it.'])
  chmodSync(path, 0o600)
  expect(readKeyring(path).warnings).toEqual([])
})

test('no keyring is an empty one; the first change makes it and its folder, closed to others', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'new', 'keyring.json')
  expect(readKeyring(path).keys).toEqual([])
  await changeKeyring(path, (keys) => ({ keys: [...keys, one], result: undefined }))
  expect(readKeyring(path).keys).toEqual([one])
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(statSync(join(folder, 'new')).mode & 0o777).toBe(0o700)
})

test('writers in one process lose no record, and leave no file beside the lock', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'keyring.json')
  writeFileSync(join(folder, '.keyring.json.0123456789ab.tmp'), 'left by a killed writer', { mode: 0o600 })
  const ids = Array.from({ length: 20 }, (_, index) => `abcdefghij${String(index).padStart(2, '0')}`)
  await Promise.all(
    ids.map((each) =>
      changeKeyring(path, (keys) => ({
        keys: [...keys, { ...one, id: each, digest: digestOf(each) }],
        result: undefined,
      })),
    ),
  )
  expect(
    readKeyring(path)
      .keys.map((each) => each.id)
      .sort(),
  ).toEqual(ids)
  expect(readdirSync(folder).sort()).toEqual(['keyring.json', 'keyring.lock'])
})

test('a change that changes nothing writes nothing', async () => {
  const path = join(temporaryFolder(), 'keyring.json')
  writeFileSync(path, formatKeyring([one]), { mode: 0o600 })
  const before = statSync(path).ino
  await changeKeyring(path, (keys) => ({ keys, result: undefined }))
  expect(statSync(path).ino).toBe(before)
})

test.each([
  ['a year of five digits', { expires: new Date('+010000-01-01T00:00:00Z') }],
  ['a year before 0', { revoked: new Date(-1e14) }],
  ['no date, which JSON would turn into none', { expires: new Date(Number.NaN) }],
  ['a label of two lines', { label: 'two\nlines' }],
])('what could not be read again is not written: %s', async (_name, fields) => {
  const path = join(temporaryFolder(), 'keyring.json')
  writeFileSync(path, formatKeyring([one]), { mode: 0o600 })
  const other = { ...one, id: 'abcdefghijkm', digest: digestOf('y'), ...fields }
  await expect(changeKeyring(path, (keys) => ({ keys: [...keys, other], result: 1 }))).rejects.toMatchObject({
    kind: 'usage',
    message: expect.stringMatching(/^The keyring would hold what cannot be read again/),
  })
  expect(readFileSync(path, 'utf8')).toBe(formatKeyring([one]))
})

test('a text longer than can be read is refused; one nearly so takes no new key, but a revocation', async () => {
  const name = (index: number) => `abcdefgh${String(index).padStart(4, '0')}`
  const many = Array.from({ length: 200 }, (_, index) => ({ ...one, id: name(index), digest: digestOf(name(index)) }))
  const bytes = formatKeyring(many).length + 100
  const more = [...many, { ...one, id: name(999), digest: digestOf('more') }]
  expect(() => readableText(more, many, bytes)).toThrow('The keyring would be longer than')
  expect(() => readableText(many, many.slice(1), bytes)).toThrow('The keyring would be longer than')
  const [first, ...others] = many
  expect(readableText([{ ...first!, revoked: one.created }, ...others], many, bytes)).toContain('revoked')
  expect(() => readableText(many, many, bytes - 200)).toThrow('The keyring would be longer than')
})

test('a change to more than 64 MiB is not written', { timeout: 30_000 }, async () => {
  const path = join(temporaryFolder(), 'keyring.json')
  const huge = Array<KeyRecord>(500_000).fill(one)
  await expect(changeKeyring(path, () => ({ keys: huge, result: 1 }))).rejects.toThrow('longer than the 64 MiB')
  expect(existsSync(path)).toBe(false)
})
