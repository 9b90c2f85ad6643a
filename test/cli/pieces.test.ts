import { afterEach, expect, test, vi } from 'vitest'
import { completeBareFlags } from '../../src/cli/bare-flags.ts'
import { splitCommand } from '../../src/cli/dispatch.ts'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { exitCodeRows } from '../../src/cli/help.ts'
import { nearest } from '../../src/cli/nearest.ts'
import { BROKEN_PIPE } from '../../src/cli/output.ts'
import { createProgress } from '../../src/cli/progress.ts'
import { renderTable, textWidth } from '../../src/cli/table.ts'

afterEach(() => vi.unstubAllEnvs())

test("ComfyUI's bare flags get the value they have there, and keep one that stands", () => {
  const flags = ['listen', 'enable-cors-header', 'port']
  const complete = (...argv: string[]) => completeBareFlags(argv, flags)
  expect(complete('--listen')).toEqual(['--listen=0.0.0.0,::'])
  expect(complete('--listen', '--port', '1')).toEqual(['--listen=0.0.0.0,::', '--port', '1'])
  expect(complete('--listen', '10.0.0.1')).toEqual(['--listen', '10.0.0.1'])
  expect(complete('--listen=::1')).toEqual(['--listen=::1'])
  expect(complete('--enable-cors-header')).toEqual(['--enable-cors-header=*'])
  expect(completeBareFlags(['--listen'], ['port'])).toEqual(['--listen'])
})

test('the longest run of words that names a command is the command', () => {
  const ids = ['keygen', 'keys:list', 'queue', 'queue:add']
  expect(splitCommand(['keys', 'list', '--json'], ids)).toMatchObject({ id: 'keys:list', rest: ['--json'] })
  expect(splitCommand(['queue', 'add', 'x'], ids)).toMatchObject({ id: 'queue:add', rest: ['x'] })
  expect(splitCommand(['queue', 'x'], ids)).toMatchObject({ id: 'queue', rest: ['x'] })
  expect(splitCommand(['keygen', 'list'], ids)).toMatchObject({ id: 'keygen', rest: ['list'] })
  expect(splitCommand(['keys'], ids)).toMatchObject({ id: undefined, words: ['keys'] })
  expect(splitCommand(['--json', 'keygen'], ids)).toMatchObject({ id: undefined, words: [] })
})

test('every exit code has its meaning in the help', () => {
  expect(exitCodeRows().map(([code]) => Number(code))).toEqual([0, ...Object.values(EXIT_CODES), BROKEN_PIPE])
})

test('the nearest words are offered, the nearest first, and none for what is far off', () => {
  const known = ['label', 'role', 'expires', 'out', 'force', 'api-key-file']
  expect(nearest('lable', known)).toEqual(['label'])
  expect(nearest('exipres', known)).toEqual(['expires'])
  expect(nearest('api-keyfile', known)).toEqual(['api-key-file'])
  expect(nearest('zzzzzzzzzz', known)).toEqual([])
  expect(nearest('x'.repeat(1e6), known)).toEqual([])
})

test('a table lines up, wide characters and all, without trailing blanks', () => {
  vi.stubEnv('NO_COLOR', '1')
  const table = renderTable(
    ['ID', { header: 'SIZE', align: 'right' }, 'LABEL'],
    [
      ['a', '5', '絵描き'],
      ['longer', '12345', 'x'],
      ['b', '1', ''],
    ],
  )
  expect(table.split('\n')).toEqual([
    'ID       SIZE  LABEL',
    'a           5  絵描き',
    'longer  12345  x',
    'b           1',
  ])
  expect(textWidth('\u001b[31m絵\u001b[39me\u0301')).toBe(3)
})

function printed(json: boolean, stream: { isTTY?: boolean; columns?: number }) {
  let text = ''
  let now = 0
  const progress = createProgress({
    json,
    stream: { ...stream, write: (chunk) => (text += chunk) },
    nowMs: () => now,
  })
  return { progress, text: () => text, pass: (ms: number) => (now += ms) }
}

test('a table has as many rows as there are', () => {
  const lines = renderTable(['ID', 'N'], Array(200_000).fill(['a', '10'])).split('\n')
  expect(lines).toHaveLength(200_001)
  expect(lines.at(-1)).toBe('a   10')
})

test('off a terminal, progress is one line a label', () => {
  const { progress, text } = printed(false, {})
  for (let step = 0; step <= 10; step++) progress.update({ label: 'KSampler', fraction: step / 10 })
  progress.update({ label: 'VAE Decode', detail: 'tile 1' })
  progress.done()
  expect(text()).toBe('KSampler\nVAE Decode: tile 1\n')
})

test('on a terminal it is one line redrawn, never wider than the window, and gone at the end', () => {
  vi.stubEnv('TERM', 'xterm')
  const { progress, text, pass } = printed(false, { isTTY: true, columns: 60 })
  progress.update({ label: 'KSampler', fraction: 0.5, detail: 'x'.repeat(100) })
  progress.update({ label: 'KSampler', fraction: 0.6 }) // too soon to be drawn
  pass(100)
  progress.update({ label: 'KSampler', fraction: 0.75 })
  progress.done()
  const drawn = text().split('\r\u001b[K')
  expect(drawn).toHaveLength(4)
  expect(drawn[1]).toMatch(/^█{12}░{12} {2}50% {2}KSampler {2}x+$/)
  expect(textWidth(drawn[1]!)).toBe(59)
  expect(drawn[2]).toBe('██████████████████░░░░░░  75%  KSampler')
  expect(drawn[3]).toBe('')
})

test('with --json it is NDJSON, a few lines a second, the last step always', () => {
  const { progress, text, pass } = printed(true, {})
  for (let step = 0; step <= 100; step++) {
    progress.update({ label: 'KSampler', fraction: step / 100 })
    pass(10)
  }
  progress.done()
  const lines = text()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines.length).toBeLessThan(10)
  expect(lines.at(-1)).toEqual({ progress: { label: 'KSampler', fraction: 1 } })
})
