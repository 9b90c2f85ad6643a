import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ComfyEvent, parseFrame } from '../../src/comfy/events.ts'
import { createTracker, type RunEvent } from '../../src/comfy/track.ts'
import { readWorkflow } from '../../src/comfy/workflow.ts'

interface Frame {
  readonly text?: string
  readonly base64?: string
}
interface Session {
  readonly name: string
  readonly prompt: unknown
  readonly response: { readonly json?: { readonly prompt_id?: string } } | null
  readonly frames: readonly Frame[]
  readonly frames_after_reconnect?: readonly Frame[]
}

/** Recorded from a real ComfyUI 0.33.0. */
const sessions: readonly Session[] = JSON.parse(readFileSync('test/fixtures/comfyui-0.33.0/ws-sessions.json', 'utf8'))

function session(start: string): Session {
  const found = sessions.find(({ name }) => name.startsWith(start))
  if (!found) throw new Error(`no session ${start}`)
  return found
}

function read(frames: readonly Frame[]): ComfyEvent[] {
  return frames.flatMap(({ text, base64 }) => {
    const frame = text ?? (base64 === undefined ? undefined : Buffer.from(base64, 'base64'))
    return frame === undefined ? [] : [parseFrame(frame)]
  })
}

/** The run as a person is told it. */
function told(recorded: Session, frames = recorded.frames): { events: RunEvent[]; images: number; outputs: unknown } {
  const events: RunEvent[] = []
  const workflow = readWorkflow(JSON.stringify(recorded.prompt))
  const tracker = createTracker(recorded.response?.json?.prompt_id ?? '', workflow, (event) => events.push(event))
  for (const event of read(frames)) tracker.take(event)
  return { events, images: tracker.images.length, outputs: Object.fromEntries(tracker.outputs) }
}

test('every recorded frame is understood, but for logs and assets', () => {
  const others = sessions
    .flatMap(({ frames }) => read(frames))
    .flatMap((event) => (event.type === 'other' ? [event.name] : []))
  expect([...new Set(others)].filter((name) => name !== 'logs' && !name.startsWith('assets.'))).toEqual([])
})

test('a success is told in order, with the whole rising from 0 to 1', () => {
  const { events, outputs } = told(session('text-to-file'))
  expect(
    events.map((event) => (event.type === 'node' ? `${event.title} ${event.fraction.toFixed(2)}` : event.type)),
  ).toEqual(['started', '1 (EmptyImage) 0.00', '2 (ImageScale) 0.33', '3 (SaveImage) 0.67'])
  expect(outputs).toEqual({
    '3': {
      images: [
        { filename: 'fixture_00001_.png', subfolder: '', type: 'output' },
        { filename: 'fixture_00002_.png', subfolder: '', type: 'output' },
      ],
    },
  })
})

test('a repeated prompt is told as cached, and its outputs come all the same', () => {
  const { events, outputs } = told(session('the same prompt again'))
  expect(events.find(({ type }) => type === 'cached')).toMatchObject({ nodes: expect.arrayContaining(['1', '2', '3']) })
  expect(Object.keys(outputs as object)).toEqual(['3'])
})

test('SaveImageWebsocket sends its picture over the socket', () => {
  expect(told(session('images over the socket')).images).toBe(1)
})

describe('previews', () => {
  test.each([
    ['previews, client without feature flags: binary type 1 (JPEG)', 'image/jpeg', 3],
    ['previews, client without feature flags: binary type 1 (PNG)', 'image/png', 2],
    ['previews, client with supports_preview_metadata', 'image/jpeg', 3],
  ])('%s', (name, mime, count) => {
    const previews = told(session(name)).events.filter((event) => event.type === 'preview')
    expect(previews.map((event) => [event.node, event.mime])).toEqual(Array.from({ length: count }, () => ['1', mime]))
    for (const { image } of previews)
      expect(Buffer.from(image).toString('latin1', 0, 4)).toMatch(mime === 'image/png' ? /PNG/ : /^\u00ff\u00d8\u00ff/)
  })

  test('the steps of a sampler are told with the whole beside them', () => {
    const steps = told(session('previews, client without feature flags: binary type 1 (JPEG)')).events.filter(
      (event) => event.type === 'progress',
    )
    expect(steps.map(({ value, max, fraction }) => [value, max, Number(fraction.toFixed(2))])).toEqual([
      [1, 3, 0.17],
      [2, 3, 0.33],
      [3, 3, 0.5],
    ])
  })
})

test("a node's text (binary type 3) comes with the node", () => {
  expect(told(session('progress text')).events.filter(({ type }) => type === 'text')).toEqual([
    { type: 'text', node: '2', title: '2 (GetImageSize)', text: 'width: 64, height: 64\n batch size: 1' },
  ])
})

test("another client's frames tell nothing", () => {
  const recorded = sessions.find(({ name }) => name.startsWith('what every client sees'))!
  const tracker = createTracker('another prompt', undefined, () => expect.unreachable())
  for (const event of read((recorded as unknown as { observer_frames?: Frame[] }).observer_frames ?? recorded.frames))
    tracker.take(event)
})

test('after a reconnect the running node is known again, and its steps go on', () => {
  const recorded = session('reconnect with the same clientId')
  const events = told(recorded, [...recorded.frames, ...recorded.frames_after_reconnect!]).events
  expect(events.filter((event) => event.type === 'progress').at(-1)).toMatchObject({ node: '1', value: 30, max: 30 })
})

test.each([
  ['interrupted while running', { type: 'interrupted', node: '3', classType: 'SaveImage' }],
  [
    'node failure after a finished node',
    {
      type: 'error',
      failure: {
        node: '2',
        classType: 'FixtureFail',
        exceptionType: 'RuntimeError',
        message: 'fixture: this node always fails',
      },
    },
  ],
])('%s', (name, expected) => {
  expect(read(session(name).frames)).toContainEqual(expect.objectContaining(expected))
})

test('no frame breaks the reader, whatever it holds', () => {
  const anything = fc.oneof(
    fc.string(),
    fc.json(),
    fc.record({ type: fc.string(), data: fc.anything() }).map((message) => JSON.stringify(message) ?? ''),
  )
  fc.assert(
    fc.property(anything, fc.uint8Array({ maxLength: 60 }), (text, bytes) => {
      expect(parseFrame(text).type).toBeDefined()
      expect(parseFrame(Buffer.concat([Buffer.from([0, 0, 0, bytes[0] ?? 0]), Buffer.from(bytes)])).type).toBeDefined()
    }),
  )
})

test('NaN in a frame does not lose it', () => {
  expect(
    parseFrame('{"type": "executed", "data": {"node": "1", "prompt_id": "p", "output": {"x": [NaN]}}}'),
  ).toMatchObject({ type: 'executed', node: '1' })
})
