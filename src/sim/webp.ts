import type { Raster } from './png.ts'

/** Bits, lowest first, as VP8L has them. */
class BitWriter {
  private readonly bytes: number[] = []
  private pending = 0
  private held = 0

  put(value: number, size: number): void {
    for (let bit = 0; bit < size; bit++) {
      this.pending |= ((value >> bit) & 1) << this.held
      if (++this.held < 8) continue
      this.bytes.push(this.pending)
      this.pending = 0
      this.held = 0
    }
  }

  end(): Buffer {
    if (this.held > 0) this.bytes.push(this.pending)
    return Buffer.from(this.bytes)
  }
}

const REVERSED = Uint8Array.from({ length: 256 }, (_, value) => {
  let out = 0
  for (let bit = 0; bit < 8; bit++) out |= ((value >> bit) & 1) << (7 - bit)
  return out
})

/** A code that gives each of 256 values 8 bits, and the `unused` symbols behind them none. */
function plainCode(bits: BitWriter, unused: number): void {
  // A normal code; its lengths are themselves coded with two lengths: 0 and 8, one bit each.
  bits.put(0, 1)
  const order = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8]
  bits.put(order.length - 4, 4)
  for (const length of order) bits.put(length === 0 || length === 8 ? 1 : 0, 3)
  bits.put(0, 1)
  for (let i = 0; i < 256; i++) bits.put(1, 1)
  for (let i = 0; i < unused; i++) bits.put(0, 1)
}

/** Writes a lossless WebP (VP8L) without any compression: it is read everywhere, and small enough for a preview. */
export function encodeWebp({ width, height, channels, data }: Raster): Buffer {
  const bits = new BitWriter()
  bits.put(0x2f, 8)
  bits.put(width - 1, 14)
  bits.put(height - 1, 14)
  bits.put(channels === 4 ? 1 : 0, 1)
  bits.put(0, 3)
  // No transforms, no colour cache, one set of codes.
  bits.put(0, 1)
  bits.put(0, 1)
  bits.put(0, 1)
  plainCode(bits, 24)
  plainCode(bits, 0)
  plainCode(bits, 0)
  plainCode(bits, 0)
  // Distances: a code of the single symbol 0.
  bits.put(1, 1)
  bits.put(0, 1)
  bits.put(0, 1)
  bits.put(0, 1)
  for (let i = 0; i < width * height; i++) {
    const at = i * channels
    for (const c of [1, 0, 2] as const) bits.put(REVERSED[data[at + c] as number] as number, 8)
    bits.put(REVERSED[channels === 4 ? (data[at + 3] as number) : 255] as number, 8)
  }
  const image = bits.end()
  const padded = image.length % 2 === 1 ? Buffer.concat([image, Buffer.alloc(1)]) : image
  const head = Buffer.alloc(20)
  head.write('RIFF', 0, 'latin1')
  head.writeUInt32LE(12 + padded.length, 4)
  head.write('WEBPVP8L', 8, 'latin1')
  head.writeUInt32LE(image.length, 16)
  return Buffer.concat([head, padded])
}
