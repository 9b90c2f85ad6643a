import { crc32, deflateSync, inflateSync } from 'node:zlib'

/** Eight bits a channel, row by row: 3 channels RGB, 4 with alpha. */
export interface Raster {
  readonly width: number
  readonly height: number
  readonly channels: 3 | 4
  readonly data: Uint8Array
}

/** Bytes that are no picture we can read. */
export class PictureError extends Error {}

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const MAX_PIXELS = 64_000_000

function chunk(type: string, data: Buffer): Buffer {
  const out = Buffer.alloc(data.length + 12)
  out.writeUInt32BE(data.length, 0)
  out.write(type, 4, 'latin1')
  data.copy(out, 8)
  out.writeUInt32BE(crc32(out.subarray(4, data.length + 8)), data.length + 8)
  return out
}

/** Writes a PNG; `texts` become tEXt chunks before the pixels, as ComfyUI writes `prompt` and `workflow`. */
export function encodePng(raster: Raster, texts: ReadonlyMap<string, string> = new Map(), level = 4): Buffer {
  const { width, height, channels, data } = raster
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header[8] = 8
  header[9] = channels === 4 ? 6 : 2
  const stride = width * channels
  const rows = Buffer.alloc((stride + 1) * height)
  for (let y = 0; y < height; y++) {
    const to = y * (stride + 1)
    const from = y * stride
    // Filter Up for all but the first row: soft pictures shrink to a third.
    rows[to] = y === 0 ? 0 : 2
    for (let x = 0; x < stride; x++) {
      const above = y === 0 ? 0 : (data[from - stride + x] as number)
      rows[to + 1 + x] = ((data[from + x] as number) - above) & 0xff
    }
  }
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    ...[...texts].map(([key, value]) => chunk('tEXt', Buffer.from(`${key}\0${value}`, 'latin1'))),
    chunk('IDAT', deflateSync(rows, { level })),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

interface Chunk {
  readonly type: string
  readonly data: Buffer
}

function chunksOf(file: Buffer): Chunk[] {
  if (file.length < 8 || !file.subarray(0, 8).equals(SIGNATURE)) throw new PictureError('not a PNG')
  const out: Chunk[] = []
  for (let at = 8; at + 12 <= file.length; ) {
    const length = file.readUInt32BE(at)
    if (at + 12 + length > file.length) throw new PictureError('cut short')
    const type = file.toString('latin1', at + 4, at + 8)
    if (crc32(file.subarray(at + 4, at + 8 + length)) !== file.readUInt32BE(at + 8 + length))
      throw new PictureError('wrong checksum')
    out.push({ type, data: file.subarray(at + 8, at + 8 + length) })
    if (type === 'IEND') return out
    at += 12 + length
  }
  throw new PictureError('cut short')
}

/** The tEXt chunks of a PNG. */
export function pngTexts(file: Buffer): Map<string, string> {
  const out = new Map<string, string>()
  for (const { type, data } of chunksOf(file)) {
    if (type !== 'tEXt') continue
    const end = data.indexOf(0)
    out.set(data.toString('latin1', 0, end), data.toString('latin1', end + 1))
  }
  return out
}

function paeth(left: number, up: number, corner: number): number {
  const guess = left + up - corner
  const byLeft = Math.abs(guess - left)
  const byUp = Math.abs(guess - up)
  const byCorner = Math.abs(guess - corner)
  if (byLeft <= byUp && byLeft <= byCorner) return left
  return byUp <= byCorner ? up : corner
}

function unfilter(raw: Buffer, height: number, stride: number, step: number): Buffer {
  if (raw.length < (stride + 1) * height) throw new PictureError('too few pixels')
  const out = Buffer.alloc(stride * height)
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)] as number
    for (let x = 0; x < stride; x++) {
      const value = raw[y * (stride + 1) + 1 + x] as number
      const left = x >= step ? (out[y * stride + x - step] as number) : 0
      const up = y > 0 ? (out[(y - 1) * stride + x] as number) : 0
      const corner = x >= step && y > 0 ? (out[(y - 1) * stride + x - step] as number) : 0
      const guess = [0, left, up, (left + up) >> 1, filter === 4 ? paeth(left, up, corner) : 0][filter]
      if (guess === undefined) throw new PictureError('unknown filter')
      out[y * stride + x] = (value + guess) & 0xff
    }
  }
  return out
}

/** Reads a PNG of 8 or 16 bits a channel, not interlaced; palettes too. Anything else is a PictureError. */
export function decodePng(file: Buffer): Raster {
  const chunks = chunksOf(file)
  const header = chunks[0]
  if (header?.type !== 'IHDR' || header.data.length !== 13) throw new PictureError('no header')
  const width = header.data.readUInt32BE(0)
  const height = header.data.readUInt32BE(4)
  const [depth = 0, color = 0, , , interlaced = 0] = header.data.subarray(8)
  const samples = ({ 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 } as const)[color]
  if (samples === undefined || (depth !== 8 && depth !== 16) || interlaced !== 0)
    throw new PictureError('a kind of PNG that is not read here')
  if (width * height === 0 || width * height > MAX_PIXELS) throw new PictureError('unreasonable size')
  const bytes = depth / 8
  const stride = width * samples * bytes
  let raw: Buffer
  try {
    raw = inflateSync(Buffer.concat(chunks.filter(({ type }) => type === 'IDAT').map(({ data }) => data)), {
      maxOutputLength: (stride + 1) * height + 65_536,
    })
  } catch {
    throw new PictureError('broken pixels')
  }
  const pixels = unfilter(raw, height, stride, samples * bytes)
  const palette = chunks.find(({ type }) => type === 'PLTE')?.data
  const alpha = chunks.find(({ type }) => type === 'tRNS')?.data
  const channels = color === 4 || color === 6 || (color === 3 && alpha) ? 4 : 3
  const data = new Uint8Array(width * height * channels)
  for (let i = 0; i < width * height; i++) {
    const at = i * samples * bytes
    const sample = (n: number) => pixels[at + n * bytes] as number
    const grey = color === 0 || color === 4
    for (let c = 0; c < 3; c++) {
      data[i * channels + c] = color === 3 ? (palette?.[sample(0) * 3 + c] ?? 0) : sample(grey ? 0 : c)
    }
    if (channels === 4) data[i * 4 + 3] = color === 3 ? (alpha?.[sample(0)] ?? 255) : sample(samples - 1)
  }
  return { width, height, channels, data }
}
