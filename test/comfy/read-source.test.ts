import { execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { readWorkflowFrom } from '../../src/comfy/read-source.ts'
import { temporaryFolder } from '../support/cli.ts'

const nothing = Readable.from([])

function fifo(): string {
  const path = join(temporaryFolder(), 'pipe')
  execFileSync('mkfifo', [path])
  return path
}

test('a FIFO that nobody writes to is empty, and not waited for', async () => {
  await expect(readWorkflowFrom(fifo(), nothing)).rejects.toMatchObject({
    kind: 'usage',
    message: expect.stringContaining('is empty'),
  })
})

test('a pipe that somebody writes to is read to its end', async () => {
  const path = fifo()
  const script = `exec 3<>"$1"; echo open; sleep 0.1; printf %s '{"1": {"class_type": "A", "inputs": {}}}' >&3; read -r _`
  const writer = spawn('sh', ['-c', script, 'sh', path])
  await new Promise((resolve) => writer.stdout.once('data', resolve))
  const read = readWorkflowFrom(path, nothing)
  setTimeout(() => writer.stdin.end(), 300)
  expect([...(await read).nodes.keys()]).toEqual(['1'])
})

test.each([
  ['/dev/null', 'is a device or a socket'],
  ['/dev/zero', 'is a device or a socket'],
  ['/', 'is a folder'],
  ['/none', 'does not exist'],
])('%s is refused', async (path, words) => {
  await expect(readWorkflowFrom(path, nothing)).rejects.toMatchObject({
    kind: 'usage',
    message: expect.stringContaining(words),
  })
})
