import type { Raster } from './png.ts'

const ZIGZAG = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47,
  55, 62, 63,
]
// ITU T.81, annex K: the tables that every encoder ships.
const LUMA = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
  87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
  72, 92, 95, 98, 112, 100, 103, 99,
]
const CHROMA = [
  17,
  18,
  24,
  47,
  99,
  99,
  99,
  99,
  18,
  21,
  26,
  66,
  99,
  99,
  99,
  99,
  24,
  26,
  56,
  99,
  99,
  99,
  99,
  99,
  47,
  66,
  99,
  99,
  99,
  99,
  99,
  99,
  ...Array.from({ length: 32 }, () => 99),
]
const DC_LUMA = { counts: '00010501010101010100000000000000', values: '000102030405060708090a0b' }
const DC_CHROMA = { counts: '00030101010101010101010000000000', values: '000102030405060708090a0b' }
const AC_LUMA = {
  counts: '0002010303020403050504040000017d',
  values:
    '01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa',
}
const AC_CHROMA = {
  counts: '00020102040403040705040400010277',
  values:
    '000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa',
}

interface Huffman {
  readonly codes: Int32Array
  readonly sizes: Uint8Array
}

function huffman({ counts, values }: { counts: string; values: string }): Huffman {
  const codes = new Int32Array(256)
  const sizes = new Uint8Array(256)
  const symbols = Buffer.from(values, 'hex')
  let code = 0
  let next = 0
  for (const [index, count] of Buffer.from(counts, 'hex').entries()) {
    for (let i = 0; i < count; i++) {
      const symbol = symbols[next++] as number
      codes[symbol] = code++
      sizes[symbol] = index + 1
    }
    code <<= 1
  }
  return { codes, sizes }
}

const TABLES = {
  dcLuma: huffman(DC_LUMA),
  acLuma: huffman(AC_LUMA),
  dcChroma: huffman(DC_CHROMA),
  acChroma: huffman(AC_CHROMA),
}
const COSINES = Float32Array.from({ length: 64 }, (_, i) => {
  const u = i >> 3
  return Math.cos((((i & 7) * 2 + 1) * u * Math.PI) / 16) * (u === 0 ? Math.SQRT1_2 : 1) * 0.5
})

function scaled(table: readonly number[], quality: number): Uint8Array {
  const factor = quality < 50 ? 5000 / quality : 200 - quality * 2
  return Uint8Array.from(table, (value) => Math.min(255, Math.max(1, Math.floor((value * factor + 50) / 100))))
}

/** Bits, highest first; a byte of 0xff is followed by a zero. */
class BitWriter {
  private readonly bytes: number[] = []
  private pending = 0
  private held = 0

  put(value: number, size: number): void {
    this.pending = (this.pending << size) | (value & ((1 << size) - 1))
    this.held += size
    while (this.held >= 8) {
      this.held -= 8
      const byte = (this.pending >> this.held) & 0xff
      this.bytes.push(byte)
      if (byte === 0xff) this.bytes.push(0)
    }
    this.pending &= (1 << this.held) - 1
  }

  end(): Buffer {
    if (this.held > 0) this.put(0x7f, 8 - this.held)
    return Buffer.from(this.bytes)
  }
}

const scratch = new Float32Array(64)

/** The discrete cosine transform of one block, in place, divided by its table. */
function transform(block: Float32Array, table: Uint8Array): void {
  for (let y = 0; y < 8; y++) {
    for (let u = 0; u < 8; u++) {
      let sum = 0
      for (let x = 0; x < 8; x++) sum += (block[y * 8 + x] as number) * (COSINES[u * 8 + x] as number)
      scratch[y * 8 + u] = sum
    }
  }
  for (let u = 0; u < 8; u++) {
    for (let v = 0; v < 8; v++) {
      let sum = 0
      for (let y = 0; y < 8; y++) sum += (scratch[y * 8 + u] as number) * (COSINES[v * 8 + y] as number)
      block[v * 8 + u] = Math.round(sum / (table[v * 8 + u] as number))
    }
  }
}

function writeNumber(bits: BitWriter, value: number, size: number): void {
  bits.put(value < 0 ? value + (1 << size) - 1 : value, size)
}

const sizeOf = (value: number) => (value === 0 ? 0 : 32 - Math.clz32(Math.abs(value)))

function writeBlock(bits: BitWriter, block: Float32Array, previous: number, dc: Huffman, ac: Huffman): number {
  const first = block[0] as number
  const step = first - previous
  const size = sizeOf(step)
  bits.put(dc.codes[size] as number, dc.sizes[size] as number)
  writeNumber(bits, step, size)
  let zeros = 0
  for (let i = 1; i < 64; i++) {
    const value = block[ZIGZAG[i] as number] as number
    if (value === 0) {
      zeros += 1
      continue
    }
    for (; zeros > 15; zeros -= 16) bits.put(ac.codes[0xf0] as number, ac.sizes[0xf0] as number)
    const length = sizeOf(value)
    const symbol = (zeros << 4) | length
    bits.put(ac.codes[symbol] as number, ac.sizes[symbol] as number)
    writeNumber(bits, value, length)
    zeros = 0
  }
  if (zeros > 0) bits.put(ac.codes[0] as number, ac.sizes[0] as number)
  return first
}

function segment(marker: number, data: readonly number[] | Buffer): Buffer {
  const head = Buffer.from([0xff, marker, (data.length + 2) >> 8, (data.length + 2) & 0xff])
  return Buffer.concat([head, Buffer.from(data)])
}

function tableSegment(kind: number, { counts, values }: { counts: string; values: string }): Buffer {
  return segment(0xc4, Buffer.concat([Buffer.from([kind]), Buffer.from(counts + values, 'hex')]))
}

/** Writes a baseline JPEG, 4:4:4, alpha dropped. `quality` is 1 to 100. */
export function encodeJpeg(raster: Raster, quality = 90): Buffer {
  const { width, height, channels, data } = raster
  const luma = scaled(LUMA, quality)
  const chroma = scaled(CHROMA, quality)
  const bits = new BitWriter()
  const blocks = [new Float32Array(64), new Float32Array(64), new Float32Array(64)] as const
  const last = [0, 0, 0] as [number, number, number]
  for (let top = 0; top < height; top += 8) {
    for (let left = 0; left < width; left += 8) {
      for (let i = 0; i < 64; i++) {
        const y = Math.min(height - 1, top + (i >> 3))
        const x = Math.min(width - 1, left + (i & 7))
        const at = (y * width + x) * channels
        const [r, g, b] = [data[at] as number, data[at + 1] as number, data[at + 2] as number]
        blocks[0][i] = 0.299 * r + 0.587 * g + 0.114 * b - 128
        blocks[1][i] = -0.168736 * r - 0.331264 * g + 0.5 * b
        blocks[2][i] = 0.5 * r - 0.418688 * g - 0.081312 * b
      }
      for (const c of [0, 1, 2] as const) {
        transform(blocks[c], c === 0 ? luma : chroma)
        last[c] = writeBlock(
          bits,
          blocks[c],
          last[c],
          c === 0 ? TABLES.dcLuma : TABLES.dcChroma,
          c === 0 ? TABLES.acLuma : TABLES.acChroma,
        )
      }
    }
  }
  const ordered = (table: Uint8Array) => ZIGZAG.map((index) => table[index] as number)
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    segment(0xe0, Buffer.from('4a46494600010100000100010000', 'hex')),
    segment(0xdb, [0, ...ordered(luma), 1, ...ordered(chroma)]),
    segment(0xc0, [8, height >> 8, height & 0xff, width >> 8, width & 0xff, 3, 1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1]),
    tableSegment(0x00, DC_LUMA),
    tableSegment(0x10, AC_LUMA),
    tableSegment(0x01, DC_CHROMA),
    tableSegment(0x11, AC_CHROMA),
    segment(0xda, [3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]),
    bits.end(),
    Buffer.from([0xff, 0xd9]),
  ])
}
