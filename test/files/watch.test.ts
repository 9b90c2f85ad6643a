import { mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type WatchOptions, watchFiles } from '../../src/files/watch.ts'
import { temporaryFolder } from '../support/cli.ts'

const FAST: WatchOptions = { quietMs: 20, maxMs: 60, pollMs: 5_000 }

function watched(paths: string[], options: WatchOptions = FAST) {
  let wake = () => {}
  let seen = 0
  const watch = watchFiles(
    paths,
    () => {
      seen++
      wake()
    },
    options,
  )
  onTestFinished(() => watch.close())
  return {
    watch,
    count: () => seen,
    /** Until one more change was told than when it was called. */
    next: () => new Promise<void>((resolve) => (wake = resolve)),
  }
}

/** Longer than the quiet time: what was to be told has been. */
const quiet = () => new Promise((resolve) => setTimeout(resolve, 80))

test('an atomic replace, an edit in place, a deletion and a new file are each told', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'keys')
  writeFileSync(path, 'one')
  const { next } = watched([path])
  const change = async (act: () => void) => {
    const told = next()
    act()
    await told
  }
  await change(() => {
    writeFileSync(`${path}.new`, 'two')
    renameSync(`${path}.new`, path)
  })
  await change(() => writeFileSync(path, 'three'))
  await change(() => unlinkSync(path))
  await change(() => writeFileSync(path, 'four'))
})

test('a burst of changes is told once, when it has been quiet', async () => {
  const path = join(temporaryFolder(), 'keys')
  writeFileSync(path, '')
  const { next, count } = watched([path], { quietMs: 300, maxMs: 60_000, pollMs: 5_000 })
  const told = next()
  for (let step = 0; step < 10; step++) writeFileSync(path, String(step))
  const end = performance.now()
  await told
  expect(performance.now() - end).toBeGreaterThan(250)
  expect(count()).toBe(1)
})

test('a file that never is quiet is told at the limit', async () => {
  const path = join(temporaryFolder(), 'keys')
  writeFileSync(path, '')
  const { next } = watched([path], { quietMs: 60_000, maxMs: 200, pollMs: 5_000 })
  const told = next()
  const writer = setInterval(() => writeFileSync(path, String(performance.now())), 20)
  onTestFinished(() => clearInterval(writer))
  await told
})

test('other files in the folder are not told', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'keys')
  writeFileSync(path, 'one')
  const { next, count } = watched([path])
  writeFileSync(join(folder, 'other'), 'x')
  await quiet()
  expect(count()).toBe(0)
  const told = next()
  writeFileSync(path, 'two')
  await told
})

test('the poll sees what sends no events: the target of a symbolic link, a folder that comes later', async () => {
  const folder = temporaryFolder()
  const target = join(folder, 'elsewhere', 'keys')
  mkdirSync(join(folder, 'elsewhere'))
  writeFileSync(target, 'one')
  mkdirSync(join(folder, 'here'))
  symlinkSync(target, join(folder, 'here', 'keys'))
  const { next } = watched([join(folder, 'here', 'keys'), join(folder, 'later', 'keys')], { ...FAST, pollMs: 25 })
  let told = next()
  writeFileSync(target, 'two')
  await told
  told = next()
  mkdirSync(join(folder, 'later'))
  writeFileSync(join(folder, 'later', 'keys'), 'three')
  await told
  told = next()
  rmSync(join(folder, 'later'), { recursive: true })
  await told
})

test('nothing is told after close', async () => {
  const path = join(temporaryFolder(), 'keys')
  writeFileSync(path, 'one')
  const { watch, count } = watched([path])
  writeFileSync(path, 'two')
  watch.close()
  await quiet()
  expect(count()).toBe(0)
})
