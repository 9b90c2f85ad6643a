import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeJpeg } from '../../src/sim/jpeg.ts'
import { paint } from '../../src/sim/picture.ts'
import { decodePng, encodePng, PictureError, pngTexts, type Raster } from '../../src/sim/png.ts'
import { encodeWebp } from '../../src/sim/webp.ts'

const rasters: fc.Arbitrary<Raster> = fc
  .record({
    width: fc.integer({ min: 1, max: 9 }),
    height: fc.integer({ min: 1, max: 9 }),
    channels: fc.constantFrom(3 as const, 4 as const),
  })
  .chain(({ width, height, channels }) => {
    const length = width * height * channels
    return fc.uint8Array({ minLength: length, maxLength: length }).map((data) => ({ width, height, channels, data }))
  })

describe('PNG', () => {
  test('what is written is read again, pixel for pixel', () => {
    fc.assert(
      fc.property(rasters, (raster) => {
        const { data, ...rest } = decodePng(encodePng(raster))
        expect({ ...rest, data: [...data] }).toEqual({ ...raster, data: [...raster.data] })
      }),
    )
  })

  test('text chunks come back', () => {
    const texts = new Map([
      ['prompt', '{"1": "\\u00fc"}'],
      ['workflow', '{}'],
    ])
    expect(pngTexts(encodePng(paint('a', '1', 8, 8), texts))).toEqual(texts)
  })

  test('a cut, changed or foreign file is a PictureError, never another one', () => {
    const whole = encodePng(paint('a', '1', 8, 8))
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const broken = Buffer.from(whole)
        broken[at] = (broken[at] as number) ^ change
        expect(() => decodePng(broken)).toThrow(PictureError)
        expect(() => decodePng(whole.subarray(0, at))).toThrow(PictureError)
      }),
    )
  })
})

describe('the painted picture', () => {
  test('is the same for the same prompt and seed, and another for another', () => {
    const picture = (prompt: string, seed: string) => Buffer.from(paint(prompt, seed, 32, 32).data).toString('base64')
    expect(picture('a', '1')).toBe(picture('a', '1'))
    expect(new Set([picture('a', '1'), picture('a', '2'), picture('b', '1')]).size).toBe(3)
  })

  test('comes out of noise step by step', () => {
    const final = paint('a', '1', 32, 32).data
    const distance = (done: number) =>
      paint('a', '1', 32, 32, done).data.reduce(
        (sum, value, index) => sum + Math.abs(value - (final[index] as number)),
        0,
      )
    expect(distance(0.1)).toBeGreaterThan(distance(0.5))
    expect(distance(0.5)).toBeGreaterThan(distance(0.9))
    expect(distance(1)).toBe(0)
  })
})

test('JPEG and WebP have their heads and sizes', () => {
  const raster = paint('a', '1', 24, 16)
  const jpeg = encodeJpeg(raster)
  expect(jpeg.subarray(0, 4).toString('hex')).toBe('ffd8ffe0')
  expect(jpeg.subarray(-2).toString('hex')).toBe('ffd9')
  const frame = jpeg.indexOf(Buffer.from('ffc0', 'hex'))
  expect([jpeg.readUInt16BE(frame + 5), jpeg.readUInt16BE(frame + 7)]).toEqual([16, 24])
  const webp = encodeWebp(raster)
  expect(webp.toString('latin1', 0, 4) + webp.toString('latin1', 8, 16)).toBe('RIFFWEBPVP8L')
  expect(webp.readUInt32LE(4)).toBe(webp.length - 8)
  expect(webp.readUInt32LE(21) & 0x3fff).toBe(23)
})
