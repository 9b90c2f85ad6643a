import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { closeFrame, FrameTracker, PongFilter, pingFrame } from '../../../src/proxy/wire/frames.ts'

interface Frame {
  readonly opcode: number
  readonly payload: Uint8Array
  readonly mask: Uint8Array | undefined
}

function encode({ opcode, payload, mask }: Frame): Buffer {
  const length = payload.length
  const head = [0x80 | opcode]
  const flag = mask ? 0x80 : 0
  if (length < 126) head.push(flag | length)
  else if (length < 65_536) head.push(flag | 126, length >> 8, length & 0xff)
  else head.push(flag | 127, 0, 0, 0, 0, length >>> 24, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff)
  const body = mask ? payload.map((byte, i) => byte ^ mask[i & 3]!) : payload
  return Buffer.concat([Buffer.from(head), mask ?? Buffer.alloc(0), body])
}

const PAYLOAD = Buffer.from('12345678')
const masks = fc.option(fc.uint8Array({ minLength: 4, maxLength: 4 }), { nil: undefined })
const data = fc.record({
  opcode: fc.constantFrom(0x0, 0x1, 0x2),
  payload: fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(new Uint8Array(65_535), new Uint8Array(70_000))),
  mask: masks,
})
const controls = fc.record({
  opcode: fc.constantFrom(0x8, 0x9, 0xa),
  payload: fc.oneof(fc.uint8Array({ maxLength: 125 }), fc.constant(PAYLOAD)),
  mask: masks,
})
const streams = fc.array(fc.oneof(data, controls), { maxLength: 12 })
/** Where a stream is cut into chunks. */
const cuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 60 })

function chunksOf(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = i < sizes.length ? sizes[i]! : bytes.length
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return chunks
}

describe('FrameTracker', () => {
  test('stops at each boundary and nowhere else, however the stream is cut', () => {
    fc.assert(
      fc.property(streams, cuts, (frames, sizes) => {
        const encoded = frames.map(encode)
        const tracker = new FrameTracker()
        const boundaries: number[] = []
        let offset = 0
        for (const chunk of chunksOf(Buffer.concat(encoded), sizes)) {
          for (let at = 0; at < chunk.length; ) {
            at = tracker.step(chunk, at)
            if (tracker.atBoundary) boundaries.push(offset + at)
          }
          offset += chunk.length
        }
        let end = 0
        expect(boundaries).toEqual(encoded.map((frame) => (end += frame.length)))
      }),
    )
  })

  test('a length beyond 4 GiB is followed without overflow', () => {
    const tracker = new FrameTracker()
    tracker.skip(Buffer.from([0x82, 127, 0, 0, 0, 1, 0, 0, 0, 1]))
    const chunk = Buffer.alloc(1024 * 1024)
    for (let i = 0; i < 4_096; i++) tracker.skip(chunk)
    expect(tracker.atBoundary).toBe(false)
    expect(tracker.step(Buffer.from([7, 0x81]), 0)).toBe(1)
    expect(tracker.atBoundary).toBe(true)
  })
})

describe('PongFilter', () => {
  test('takes out as many pongs with our payload as were asked for, and passes every other byte in order', () => {
    fc.assert(
      fc.property(streams, cuts, fc.integer({ min: 0, max: 4 }), (frames, sizes, asked) => {
        const filter = new PongFilter(PAYLOAD)
        for (let i = 0; i < asked; i++) filter.expectPong()
        const passed = chunksOf(Buffer.concat(frames.map(encode)), sizes).flatMap((chunk) => [...filter.pass(chunk)])
        let left = asked
        const kept = frames.filter(({ opcode, payload }) => {
          if (left === 0 || opcode !== 0xa || !Buffer.from(payload).equals(PAYLOAD)) return true
          left--
          return false
        })
        expect(Buffer.concat(passed).equals(Buffer.concat(kept.map(encode)))).toBe(true)
      }),
    )
  })

  test('a pong longer than a control frame may be is passed on, not kept for ever', () => {
    const filter = new PongFilter(PAYLOAD)
    filter.expectPong()
    const chunk = Buffer.concat([Buffer.from([0x8a, 126, 0xff, 0xff]), Buffer.alloc(200)])
    expect(Buffer.concat([...filter.pass(chunk)])).toEqual(chunk)
  })
})

test("control frames of ours are a server's: unmasked, final, at most 125 bytes", () => {
  expect(pingFrame(PAYLOAD)).toEqual(Buffer.concat([Buffer.from([0x89, 8]), PAYLOAD]))
  expect(closeFrame(4401, 'bye')).toEqual(Buffer.from([0x88, 5, 0x11, 0x31, ...Buffer.from('bye')]))
  expect(closeFrame(1001, 'x'.repeat(500))).toHaveLength(127)
})
