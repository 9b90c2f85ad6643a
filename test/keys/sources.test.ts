import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { keySources } from '../../src/keys/sources.ts'
import { temporaryFolder } from '../support/cli.ts'

const names = (flags: Parameters<typeof keySources>[0], env: NodeJS.ProcessEnv = {}) =>
  keySources(flags, env).keyFiles.map(({ name }) => name)

test('each key file has a name that says where it was named, and never its path', () => {
  const systemd = temporaryFolder()
  expect(names({ keyFiles: ['a'] })).toEqual(['The key file of --api-key-file'])
  expect(names({ keyFiles: ['a', 'b'] }, { COMFYUI_API_KEY_FILE: 'c', CREDENTIALS_DIRECTORY: systemd })).toEqual([
    'Key file 1 of 2 (--api-key-file)',
    'Key file 2 of 2 (--api-key-file)',
    'The key file of COMFYUI_API_KEY_FILE',
  ])
  writeFileSync(join(systemd, 'api_key'), 'first-secret')
  expect(names({}, { CREDENTIALS_DIRECTORY: systemd })).toEqual(["The key file of systemd's credential api_key"])
})

test('what is empty or unset in the environment is no source', () => {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'empty'))
  const env = { COMFYUI_API_KEY: '', COMFYUI_API_KEY_FILE: '', CREDENTIALS_DIRECTORY: join(folder, 'empty') }
  expect(keySources({ keyring: 'ring' }, env)).toEqual({ keyring: 'ring', keyFiles: [], bareKeys: [] })
  expect(keySources({ key: 'first-secret' }, { COMFYUI_API_KEY: 'second-secret' }).bareKeys).toEqual([
    'first-secret',
    'second-secret',
  ])
})
