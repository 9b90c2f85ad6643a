import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { openLineFile } from '../../../src/proxy/state/line-file.ts'

const folder = () => mkdtempSync(join(tmpdir(), 'lines-'))

test('lines come whole and in order', async () => {
  const path = join(folder(), 'log')
  const file = openLineFile({ path })
  const lines = Array.from({ length: 5_000 }, (_, i) => `line ${i}`)
  for (const line of lines) file.write(line)
  await file.close()
  expect(readFileSync(path, 'utf8')).toBe(`${lines.join('\n')}\n`)
  expect(file.lost).toBe(0)
})

test('a file that grows beyond its size becomes .1, and nothing is lost between the two', async () => {
  const path = join(folder(), 'log')
  for (let i = 0; i < 3; i++) {
    const file = openLineFile({ path, maxBytes: 1_000 })
    file.write(`${i}`.repeat(600))
    await file.close()
  }
  expect(readFileSync(path, 'utf8')[0]).toBe('2')
  expect(readFileSync(`${path}.1`, 'utf8')[0]).toBe('1')
  expect(existsSync(`${path}.2`)).toBe(false)
})

test('what cannot be written is counted, told of once, and the next line that can be says how much is missing', async () => {
  const path = join(folder(), 'log')
  mkdirSync(path) // a folder in its place: every open fails
  const errors: unknown[] = []
  const file = openLineFile({ path, onError: (error) => errors.push(error) })
  file.write('a')
  file.write('b')
  await expect.poll(() => file.lost).toBe(2)
  file.write('c')
  await expect.poll(() => file.lost).toBe(3)
  expect(errors).toHaveLength(1)
  rmdirSync(path)
  file.write('d')
  await file.close()
  expect(readFileSync(path, 'utf8')).toBe('{"event":"lost","count":3}\nd\n')
})

test('a full disk is an error like any other', async () => {
  const errors: unknown[] = []
  const file = openLineFile({ path: '/dev/full', onError: (error) => errors.push(error) })
  file.write('a')
  await file.close()
  expect(file.lost).toBe(1)
  expect(errors).toMatchObject([{ code: 'ENOSPC' }])
})

test('more than may wait is lost and counted rather than kept', async () => {
  const file = openLineFile({ path: join(folder(), 'log'), maxWaitingBytes: 100 })
  for (let i = 0; i < 20; i++) file.write('0123456789')
  expect(file.lost).toBe(10)
  await file.close()
})

test('a stdout that nobody reads holds nobody up', async () => {
  const url = pathToFileURL(join(import.meta.dirname, '../../../src/proxy/state/line-file.ts')).href
  const script = `
    import { openLineFile } from ${JSON.stringify(url)}
    const file = openLineFile({ path: '-', maxWaitingBytes: 1_000_000 })
    for (let i = 0; i < 40; i++) {
      for (let j = 0; j < 1_000; j++) file.write('x'.repeat(99))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await file.close()
    process.stderr.write('still running ' + (file.lost > 0))
    process.exit(0)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk) => {
    said += chunk
  })
  child.stdout.pause()
  try {
    await expect.poll(() => said, { timeout: 10_000 }).toContain('still running true')
  } finally {
    child.kill('SIGKILL')
  }
})
