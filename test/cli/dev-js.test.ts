import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../support/cli.ts'

test('bin/dev.js runs the commands of src/, and words their errors as bin/run.js does', () => {
  const dev = join(import.meta.dirname, '../../bin/dev.js')
  // Node 22 calls node:sqlite experimental; bin/run.js keeps that from people, who run no dev.js
  const env = { ...process.env, COMFY_AUTH_HOME: temporaryFolder(), NODE_NO_WARNINGS: '1' }
  const { status, stderr } = spawnSync(process.execPath, [dev, 'keys', 'show', 'nobody'], { env, encoding: 'utf8' })
  expect({ status, stderr }).toEqual({
    status: 2,
    stderr: 'Error: No key in the keyring has this id or label.\nSee them all: `comfy-auth keys list`.\n',
  })
})
