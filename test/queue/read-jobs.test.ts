import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseMoment } from '../../src/queue/moment.ts'
import { type JobDefaults, readJobs } from '../../src/queue/read-jobs.ts'

const NODES = '{"3":{"class_type":"KSampler","inputs":{"seed":18446744073709551615,"cfg":8.0,"x":NaN}}}'
const ID = '0f0e2d3c-4b5a-4697-8877-665544332211'

let made = 0
const DEFAULTS: JobDefaults = { output: '/out', priority: 2, nowMs: 1_000, newId: () => `id-${++made}` }

async function* bytes(text: string, size = 7): AsyncGenerator<Uint8Array> {
  const all = Buffer.from(text)
  for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size)
}

const read = (text: string, defaults = DEFAULTS) => readJobs(bytes(text), defaults)

test('a bare workflow a line: digits are kept, blank lines passed over, the line is its label', async () => {
  made = 0
  expect(await read(`${NODES}\r\n\n  \n${NODES}`, { ...DEFAULTS, notBeforeMs: 77 })).toEqual([
    { id: 'id-1', workflow: NODES, label: 'line 1', output: '/out', priority: 2, notBeforeMs: 77, addedMs: 1_000 },
    { id: 'id-2', workflow: NODES, label: 'line 4', output: '/out', priority: 2, notBeforeMs: 77, addedMs: 1_000 },
  ])
})

test('a request body a line, with what the queue needs beside it', async () => {
  const line = `{"prompt":${NODES},"client_id":"x","number":1,"extra_data":{"extra_pnginfo":{"v":1.50}},"prompt_id":"${ID}","output":"cats/1","priority":-5,"not_before":"2027-01-31T18:00:00+01:00","label":"a\\ncat"}`
  expect(await read(line)).toEqual([
    {
      id: ID,
      workflow: NODES,
      extraData: '{"extra_pnginfo":{"v":1.50}}',
      label: 'a cat',
      output: '/out/cats/1',
      priority: -5,
      notBeforeMs: Date.UTC(2027, 0, 31, 17),
      addedMs: 1_000,
    },
  ])
})

test('a name spelt with escapes is the same name', async () => {
  const [job] = await read(`{"\\u0070rompt":${NODES},"priority":9}`)
  expect(job).toMatchObject({ workflow: NODES, priority: 9 })
})

test('a workflow whose node is called prompt is a workflow', async () => {
  const [job] = await read('{"prompt":{"class_type":"SaveImage","inputs":{}},"odd":{"class_type":"A","inputs":{}}}')
  expect(job?.workflow).toContain('"odd"')
})

test('a line separator within text does not end a line', async () => {
  const [job, ...more] = await read('{"1":{"class_type":"A","inputs":{"text":"a\u2028b"}}}')
  expect(job?.workflow).toContain('a\u2028b')
  expect(more).toEqual([])
})

describe.each([
  ['{"1":', 'line 2 is not JSON: the text ends too early at column'],
  ['[]', 'line 2 is JSON, but not a workflow'],
  ['{"1":{"inputs":{}}}', 'line 2: node 1 has no class_type'],
  [`{"prompt":${NODES},"prioritiy":1}`, 'line 2: "prioritiy" is none of prompt, '],
  [`{"prompt":${NODES},"priority":1.5}`, 'line 2: priority is not a whole number'],
  [`{"prompt":${NODES},"priority":"1"}`, 'line 2: priority is not a whole number'],
  [`{"prompt":${NODES},"priority":10000000}`, 'line 2: priority is not a whole number'],
  [`{"prompt":${NODES},"not_before":"soon"}`, 'line 2: not_before is no date'],
  [`{"prompt":${NODES},"prompt_id":"${ID.toUpperCase()}"}`, 'line 2: prompt_id is not a UUID'],
  [`{"prompt":${NODES},"output":7}`, 'line 2: output is not text'],
  [`{"prompt":${NODES},"extra_data":[]}`, 'line 2: extra_data is not an object'],
])('a second line %s', (line, message) => {
  test('fails the whole, names the line, and says that nothing was added', async () => {
    await expect(read(`${NODES}\n${line}\n${NODES}`)).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining(message),
      remedy: expect.stringContaining('Nothing was added'),
    })
  })
})

test('bytes that are no UTF-8 are an error of their line', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(`${NODES}\n`)
    yield Buffer.from([0x22, 0xff, 0x22])
  }
  await expect(readJobs(broken(), DEFAULTS)).rejects.toMatchObject({ kind: 'usage', message: 'line 2: not UTF-8.' })
})

test('any text is jobs or a usage error, wherever the chunks are cut', async () => {
  const piece = fc.oneof(fc.constantFrom(NODES, '\n', '{"prompt":', '}', '"é"', '\u2028', ' '), fc.string())
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 6 }), fc.integer({ min: 1, max: 9 }), async (pieces, size) => {
      const outcome = await readJobs(bytes(pieces.join(''), size), DEFAULTS).catch((error: unknown) => error)
      if (!Array.isArray(outcome)) expect(outcome).toMatchObject({ name: 'ComfyAuthError', kind: 'usage' })
    }),
    { numRuns: 200 },
  )
})

test('moments are dates from their beginning, UTC, or times with their zone; nothing else', () => {
  expect(parseMoment('2027-01-31')).toBe(Date.UTC(2027, 0, 31))
  expect(parseMoment('2027-01-31T18:00Z')).toBe(Date.UTC(2027, 0, 31, 18))
  for (const text of ['2027-02-30', '2027-13-01', '2027-01-31T18:00', 'tomorrow', '', '2027-1-1']) {
    expect(parseMoment(text)).toBeUndefined()
  }
})
