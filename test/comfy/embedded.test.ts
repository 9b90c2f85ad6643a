import { crc32, deflateSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { promptInPng } from '../../src/comfy/embedded.ts'
import { readWorkflow, serialise } from '../../src/comfy/workflow.ts'

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const PROMPT = '{"1":{"class_type":"SaveImage","inputs":{"seed":18446744073709551615,"is_changed":NaN}}}'

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  crc.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, crc])
}

function png(...chunks: Buffer[]): Buffer {
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', Buffer.alloc(13)),
    ...chunks,
    chunk('IDAT', deflateSync('')),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

const latin = (keyword: string, text: string) => chunk('tEXt', Buffer.from(`${keyword}\0${text}`, 'latin1'))
const packed = (keyword: string, text: string) =>
  chunk('zTXt', Buffer.concat([Buffer.from(`${keyword}\0\0`), deflateSync(text)]))
const international = (keyword: string, text: string, pack: boolean) =>
  chunk(
    'iTXt',
    Buffer.concat([
      Buffer.from(`${keyword}\0${pack ? '\u0001' : '\0'}\0en\0key\0`),
      pack ? deflateSync(text) : Buffer.from(text),
    ]),
  )

test.each([
  ['tEXt', latin('prompt', PROMPT)],
  ['zTXt', packed('prompt', PROMPT)],
  ['iTXt', international('prompt', PROMPT, false)],
  ['iTXt, packed', international('prompt', PROMPT, true)],
])('the prompt in a %s chunk is read, numbers digit for digit', (_name, text) => {
  expect(serialise(readWorkflow(png(text)))).toBe(PROMPT)
})

test("the page's workflow goes along, so that the new picture opens in the page too", () => {
  const workflow = readWorkflow(
    png(latin('prompt', PROMPT), international('workflow', '{"nodes": [], "title": "日本"}', false)),
  )
  const pnginfo = workflow.extraData?.get('extra_pnginfo')
  expect(pnginfo).toEqual(
    new Map([
      [
        'workflow',
        new Map<string, unknown>([
          ['nodes', []],
          ['title', '日本'],
        ]),
      ],
    ]),
  )
})

test('a file cut off behind the text still gives it', () => {
  const whole = png(latin('prompt', PROMPT))
  expect(promptInPng(whole.subarray(0, whole.length - 20))?.prompt).toBe(PROMPT)
})

test('a PNG without a prompt is named as one', () => {
  expect(() => readWorkflow(png(latin('Software', 'x')), 'the workflow file')).toThrow(
    'the workflow file is a PNG without a prompt inside.',
  )
})

test('a bomb in a packed chunk is passed over', () => {
  const bomb = chunk('zTXt', Buffer.concat([Buffer.from('prompt\0\0'), deflateSync(Buffer.alloc(80 * 1024 * 1024))]))
  expect(promptInPng(png(bomb))).toEqual({ prompt: undefined, workflow: undefined })
})

test('no bytes behind the signature break it', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, inChunk) => {
      const file = inChunk
        ? png(chunk('iTXt', Buffer.from(bytes)), chunk('zTXt', Buffer.from(bytes)))
        : Buffer.concat([SIGNATURE, bytes])
      expect(promptInPng(file)).toBeDefined()
    }),
  )
})
