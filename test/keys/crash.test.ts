import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readKeyring } from '../../src/keys/keyring.ts'
import { pruneKeys } from '../../src/keys/lifecycle.ts'
import { temporaryFolder } from '../support/cli.ts'

/** COMFY_AUTH_TEST_KILLS raises it: 500 were run before this file was written. */
const KILLS = Number(process.env.COMFY_AUTH_TEST_KILLS ?? 12)
const WRITERS = 2

test(`${KILLS} writers killed at random points lose no record and leave no partial file`, {
  timeout: 20_000 + KILLS * 1_000,
}, async () => {
  const folder = temporaryFolder()
  const keyring = join(folder, 'keyring.json')
  const said = new Set<string>()
  for (let kills = 0; kills < KILLS; kills += WRITERS) {
    const writers = Array.from({ length: WRITERS }, () =>
      spawn(process.execPath, ['--no-warnings', join(import.meta.dirname, '../support/keyring-writer.ts'), keyring]),
    )
    const ends = writers.map(async (writer) => {
      let text = ''
      writer.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      await once(writer.stdout, 'data') // it is at work
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 25))
      writer.kill('SIGKILL')
      await once(writer, 'close')
      for (const id of text.split('\n').slice(0, -1)) said.add(id)
    })
    await Promise.all(ends)
    const ids = new Set(readKeyring(keyring).keys.map((record) => record.id)) // throws where the file is partial
    expect([...said].filter((id) => !ids.has(id))).toEqual([])
    for (const entry of readdirSync(folder)) expect(statSync(join(folder, entry)).mode & 0o077).toBe(0)
  }
  expect(said.size).toBeGreaterThanOrEqual(KILLS)
  await pruneKeys(keyring, { dryRun: false }) // the next writer finds the lock free
})
