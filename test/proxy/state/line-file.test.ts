import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
} from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openLineFile } from '../../../src/proxy/state/line-file.ts'
import { temporaryFolder as folder } from '../../support/cli.ts'

const name = 'The log'

test('lines come whole and in order', async () => {
  const path = join(folder(), 'log')
  const file = openLineFile({ path, name })
  const lines = Array.from({ length: 5_000 }, (_, i) => `line ${i}`)
  for (const line of lines) file.write(line)
  await file.close()
  expect(readFileSync(path, 'utf8')).toBe(`${lines.join('\n')}\n`)
  expect(file.lost).toBe(0)
})

test('a file that grows beyond its size becomes .1, and nothing is lost between the two', async () => {
  const path = join(folder(), 'log')
  for (let i = 0; i < 3; i++) {
    const file = openLineFile({ path, name, maxBytes: 1_000 })
    file.write(`${i}`.repeat(600))
    await file.close()
  }
  expect(readFileSync(path, 'utf8')[0]).toBe('2')
  expect(readFileSync(`${path}.1`, 'utf8')[0]).toBe('1')
  expect(existsSync(`${path}.2`)).toBe(false)
})

test('what cannot be written is counted, told of once, and the next line that can be says how much is missing', async () => {
  const path = join(folder(), 'log')
  const errors: unknown[] = []
  const file = openLineFile({ path, name, onError: (error) => errors.push(error), nowMs: () => 0 })
  rmSync(path)
  mkdirSync(path) // a folder in its place: every open fails
  file.reopen()
  file.write('a')
  file.write('b')
  await expect.poll(() => file.lost).toBe(2)
  file.write('c')
  await expect.poll(() => file.lost).toBe(3)
  expect(errors).toHaveLength(1)
  rmdirSync(path)
  file.write('d')
  await file.close()
  expect(readFileSync(path, 'utf8')).toBe('{"time":"1970-01-01T00:00:00.000Z","event":"lost","count":3}\nd\n')
})

test('where .1 cannot be made it grows on without losing a line, which is told once, and begins anew once it can be', async () => {
  const path = join(folder(), 'log')
  const told = { error: [] as unknown[], kept: [] as unknown[] }
  const file = openLineFile({
    path,
    name,
    maxBytes: 1_000,
    onError: (error) => told.error.push(error),
    onKept: (error) => told.kept.push(error),
  })
  const write = async (line: string) => {
    file.write(line)
    await expect.poll(() => readFileSync(path, 'utf8')).toContain(`${line}\n`)
  }
  mkdirSync(`${path}.1`)
  const lines = Array.from({ length: 5 }, (_, i) => `${i}`.repeat(600))
  for (const line of lines) await write(line)
  expect(readFileSync(path, 'utf8')).toBe(`${lines.join('\n')}\n`)
  expect(told).toMatchObject({ error: [], kept: [{ code: 'EISDIR' }] })
  rmdirSync(`${path}.1`)
  await write('anew')
  expect(readFileSync(path, 'utf8')).toBe('anew\n')
  expect(readFileSync(`${path}.1`, 'utf8')).toBe(`${lines.join('\n')}\n`)
  await file.close()
  expect(file.lost).toBe(0)
})

test('a file that was moved away and never re-opened is begun anew where it would grow too long', async () => {
  const path = join(folder(), 'log')
  const kept: unknown[] = []
  const file = openLineFile({ path, name, maxBytes: 1_000, onKept: (error) => kept.push(error) })
  file.write('a'.repeat(600))
  await expect.poll(() => readFileSync(path, 'utf8')).toHaveLength(601)
  renameSync(path, `${path}.old`)
  file.write('b'.repeat(600))
  await file.close()
  expect(readFileSync(path, 'utf8')).toBe(`${'b'.repeat(600)}\n`)
  expect([file.lost, kept]).toEqual([0, []])
})

describe('a file that cannot be one is refused when it is opened', () => {
  const open = (path: string) => openLineFile({ path, name })

  test('in a folder that is not there', () => {
    expect(() => open(join(folder(), 'none', 'log'))).toThrow('The log cannot be opened: no such file or folder.')
  })

  test('a folder', () => {
    expect(() => open(folder())).toThrow('The log cannot be opened: it is a folder.')
  })

  test('a pipe, whether someone reads it or not', () => {
    const path = join(folder(), 'pipe')
    execFileSync('mkfifo', [path])
    expect(() => open(path)).toThrow('The log is a pipe, a socket or a device.')
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    expect(() => open(path)).toThrow('The log is a pipe, a socket or a device.')
    closeSync(reader)
  })

  test('a device', () => {
    expect(() => open('/dev/null')).toThrow('The log is a pipe, a socket or a device.')
  })
})

test('a pipe that takes its place later is an error, not waited for', async () => {
  const path = join(folder(), 'log')
  const errors: unknown[] = []
  const file = openLineFile({ path, name, onError: (error) => errors.push(error) })
  rmSync(path)
  execFileSync('mkfifo', [path])
  file.reopen()
  file.write('a')
  await file.close()
  expect(file.lost).toBe(1)
  expect(errors).toMatchObject([{ code: 'ENXIO' }])
})

test('more than may wait is lost and counted rather than kept', async () => {
  const file = openLineFile({ path: join(folder(), 'log'), name, maxWaitingBytes: 100 })
  for (let i = 0; i < 20; i++) file.write('0123456789')
  expect(file.lost).toBe(10)
  await file.close()
})

const url = pathToFileURL(join(import.meta.dirname, '../../../src/proxy/state/line-file.ts')).href

function running(script: string, stdout: number) {
  const child = spawn(
    process.execPath,
    ['--input-type=module', '-e', `import { openLineFile } from ${JSON.stringify(url)}\n${script}`],
    { stdio: ['ignore', stdout, 'pipe'] },
  )
  onTestFinished(() => void child.kill('SIGKILL'))
  let said = ''
  child.stderr!.on('data', (chunk) => {
    said += chunk
  })
  return { child, said: () => said }
}

test('a full disk is an error like any other', async () => {
  const full = openSync('/dev/full', 'w')
  const { child, said } = running(
    `const file = openLineFile({ path: '-', name: 'The log', onError: (error) => process.stderr.write(error.code) })
    file.write('a')
    await file.close()
    process.stderr.write(' lost ' + file.lost)`,
    full,
  )
  closeSync(full)
  await once(child, 'close')
  expect(said()).toBe('ENOSPC lost 1')
})

test('a stdout that nobody reads holds nobody up, and is waited for at the end no longer than two seconds', async () => {
  const path = join(folder(), 'pipe')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const pipe = openSync(path, 'w')
  onTestFinished(() => closeSync(reader))
  const { child, said } = running(
    `process.stdout.write('greeting') // from here on Node has it not block
    const file = openLineFile({ path: '-', name: 'The log', maxWaitingBytes: 1_000_000 })
    for (let i = 0; i < 40; i++) {
      for (let j = 0; j < 1_000; j++) file.write('x'.repeat(99))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await file.close()
    const read = 64 * 1024 / 100 // what the pipe holds
    process.stderr.write('still running ' + (file.lost > 40_000 - 2 * read))`,
    pipe,
  )
  closeSync(pipe)
  const [code] = await once(child, 'close')
  expect(code).toBe(0)
  expect(said()).toContain('still running true')
})
