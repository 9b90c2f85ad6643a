import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { commandName, linesToTry, shown, word } from '../../src/demo/lines.ts'
import { PACKAGE_ROOT } from '../../src/files/package.ts'
import { temporaryFolder } from '../support/cli.ts'

test('any text is one word to sh', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'grapheme-ascii' }), (text) => {
      expect(execFileSync('sh', ['-c', `printf %s ${word(text)}`], { encoding: 'utf8' })).toBe(text)
    }),
    { numRuns: 50, examples: [['a b'], ['$HOME'], ['`id`'], ['a"b'], ["it's"], ['\\'], ['a\\$b']] },
  )
})

test('it is called by its name where the PATH has this very package, by npx in the clone, else by its path', () => {
  const folder = temporaryFolder()
  const bin = join(PACKAGE_ROOT, 'bin', 'run.js')
  const shell = { cwd: folder, path: folder, execPath: '/usr/bin/node' }
  const byPath = `/usr/bin/node ${bin}`
  expect(commandName(shell)).toBe(byPath)
  expect(commandName({ ...shell, cwd: PACKAGE_ROOT })).toBe('npx comfy-auth')
  writeFileSync(join(folder, 'comfy-auth'), '#!/bin/sh\n')
  chmodSync(join(folder, 'comfy-auth'), 0o755)
  expect(commandName(shell)).toBe(byPath) // another program of that name
  const mine = join(folder, 'bin')
  mkdirSync(mine)
  symlinkSync(bin, join(mine, 'comfy-auth'))
  expect(commandName({ ...shell, path: `${mine}:/usr/bin` })).toBe('comfy-auth')
})

test('files are shown by the shorter name, and the key stands in no argument of comfy-auth', () => {
  expect(shown('/a/b/c.png', '/a')).toBe('b/c.png')
  expect(shown('/a/b', '/a/b')).toBe('/a/b')
  expect(shown('/c/d', '/a')).toBe('/c/d')
  const demo = { url: 'http://127.0.0.1:1', key: 'comfy_x', keyFile: '/t/demo.key', workflowFile: '/w/my flow.json' }
  const { cli } = linesToTry(demo, '/here/out', { cwd: '/here', path: '', execPath: '/usr/bin/node' })
  expect(cli).toContain(
    'submit "/w/my flow.json" --seed random --url http://127.0.0.1:1 --key-file /t/demo.key --output out',
  )
  expect(cli).not.toContain('comfy_x')
})
