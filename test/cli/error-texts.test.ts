import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const source = join(import.meta.dirname, '../../src')
const TEXT = String.raw`('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\`(?:[^\`\\]|\\.)*\`)`
const ERROR = new RegExp(String.raw`new ComfyAuthError\(\s*'\w+',\s*${TEXT},\s*\{\s*(?:remedy:\s*${TEXT})?`, 'g')

/** The texts of all errors that are written out where they are thrown. */
const texts = globSync('**/*.ts', { cwd: source }).flatMap((file) => {
  const found = [...readFileSync(join(source, file), 'utf8').matchAll(ERROR)]
  return found.flatMap(([, message, remedy]) => [message, remedy]).flatMap((text) => text?.slice(1, -1) ?? [])
})

test('each error and its remedy is a sentence: a capital (or a flag, code, a value) at its head, a full stop at its end', () => {
  expect(texts.length).toBeGreaterThan(150)
  const wrong = texts.filter((text) => !/^([A-Z`$]|\\`|--|127\.)/.test(text) || !/[.?)}]$/.test(text))
  expect(wrong).toEqual([])
})
