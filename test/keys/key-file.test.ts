import { execFileSync } from 'node:child_process'
import { chmodSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { makeKey } from '../../src/keys/format.ts'
import { parseKeyFile, readKeyFile } from '../../src/keys/key-file.ts'
import { temporaryFolder } from '../support/cli.ts'

const key = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'abcXYZ019+/=-_.~ '), minLength: 8, maxLength: 60 }).map((text) => text.trim()),
  fc.uint8Array({ minLength: 32, maxLength: 32 }).map((random) => makeKey(() => random)),
  fc.uint8Array({ minLength: 32, maxLength: 32 }).map((random) => Buffer.from(random).toString('base64')),
)
const good = key.filter((text) => text.length >= 8 && !text.startsWith('#'))
const noise = fc.constantFrom('', '   ', '\t', '# a comment', '  # another')

test('keys come back in order and once each, through BOM, CRLF, blanks and comments', () => {
  const line = fc.oneof(
    { weight: 3, arbitrary: good.map((text) => ({ text, key: text })) },
    { arbitrary: noise.map((text) => ({ text, key: undefined })), weight: 1 },
  )
  fc.assert(
    fc.property(
      fc.array(line),
      fc.constantFrom('\n', '\r\n', '\r'),
      fc.boolean(),
      fc.boolean(),
      (lines, end, bom, last) => {
        const text = (bom ? '\ufeff' : '') + lines.map((each) => `  ${each.text}\t`).join(end) + (last ? end : '')
        expect(parseKeyFile(text)).toEqual([...new Set(lines.flatMap((each) => each.key ?? []))])
      },
    ),
  )
})

test('a wrong line is named by its number and never repeated', () => {
  const fault = (text: string) => {
    try {
      return parseKeyFile(text)
    } catch (error) {
      return (error as Error).message
    }
  }
  expect(fault('# mine\n\nshort\n')).toBe('The key file: the key in line 3 has fewer than 8 characters.')
  expect(fault('longenoughkey\nschlüsselschlüssel')).toMatch(
    /^The key file: the key in line 2 holds a control character or one beyond ASCII/,
  )
  const mistyped = `${makeKey().slice(0, -1)}!`
  expect(fault(mistyped)).toBe('The key file: the key in line 1 fails its checksum: it was mistyped or cut.')
  expect(fault('comfy_mykey')).toEqual(['comfy_mykey']) // a free-form key of somebody's own
})

test('any text either gives keys or one usage error without the text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 4 }), (text) => {
      try {
        for (const each of parseKeyFile(text)) expect(each.length).toBeGreaterThanOrEqual(8)
      } catch (error) {
        expect(error).toMatchObject({ kind: 'usage' })
        expect((error as Error).message).toMatch(/^The key file: the key in line \d+ [a-zA-Z0-9 :,-]+\.$/)
      }
    }),
  )
})

test('files as the guide makes them are read', () => {
  const folder = temporaryFolder()
  execFileSync('sh', ['-c', 'echo my-secret-key > api_key.txt; openssl rand -base64 32 >> api_key.txt'], {
    cwd: folder,
  })
  const file = join(folder, 'api_key.txt')
  chmodSync(file, 0o600)
  expect(readKeyFile(file)).toMatchObject({
    keys: ['my-secret-key', expect.stringMatching(/^[\w+/]{43}=$/)],
    exposed: false,
  })
  chmodSync(file, 0o644)
  expect(readKeyFile(file).exposed).toBe(true)
})

test('each damaged file is one usage line, without its path', () => {
  const folder = temporaryFolder()
  const make = (name: string, data: string | Buffer) => {
    writeFileSync(join(folder, name), data)
    return join(folder, name)
  }
  const huge = make('huge', '')
  truncateSync(huge, 100 * 2 ** 20)
  execFileSync('mkfifo', [join(folder, 'pipe')])
  const cases: [string, string][] = [
    [join(folder, 'none'), 'The key file does not exist.'],
    [make('empty', ''), 'The key file is empty.'],
    [make('blank', '\n \n'), 'The key file is empty.'],
    [make('utf16', Buffer.from('\ufeffmy-secret-key', 'utf16le')), 'The key file is not text.'],
    [folder, 'The key file is a folder, not a file.'],
    [join(folder, 'pipe'), 'The key file is a pipe, not a file.'],
    [huge, 'The key file is 100 MiB long, more than the 16 MiB it may be.'],
  ]
  for (const [path, message] of cases) {
    expect(() => readKeyFile(path)).toThrow(
      expect.objectContaining({ kind: 'usage', message, remedy: expect.stringMatching(/\w/) }),
    )
  }
})
