import { inflateSync } from 'node:zlib'

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

/** A text chunk unpacked is at most this long: a small file must not fill the memory. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024

export interface PictureTexts {
  /** The API-format JSON that made the picture. */
  readonly prompt: string | undefined
  /** The page's own workflow (UI format). */
  readonly workflow: string | undefined
}

function unpacked(packed: Buffer): Buffer | undefined {
  try {
    return inflateSync(packed, { maxOutputLength: MAX_TEXT_BYTES })
  } catch {
    return undefined
  }
}

/** Keyword and text of a tEXt, zTXt or iTXt chunk (PNG specification, section 11.3.3). */
function textOf(type: string, data: Buffer): { keyword: string; text: string } | undefined {
  const end = data.indexOf(0)
  if (end < 1) return undefined
  const keyword = data.toString('latin1', 0, end)
  if (type === 'tEXt') return { keyword, text: data.toString('latin1', end + 1) }
  if (type === 'zTXt') {
    const text = unpacked(data.subarray(end + 2))
    return text && { keyword, text: text.toString('latin1') }
  }
  const language = data.indexOf(0, end + 3)
  const translated = language < 0 ? -1 : data.indexOf(0, language + 1)
  if (translated < 0) return undefined
  const content = data.subarray(translated + 1)
  const text = data[end + 1] === 1 ? unpacked(content) : content
  return text && { keyword, text: text.toString('utf8') }
}

/**
 * The texts that ComfyUI's SaveImage puts into a PNG, or undefined where `bytes` is no PNG. A file cut off in the
 * middle still gives what stands before the cut. The first chunk of a keyword counts.
 */
export function promptInPng(bytes: Uint8Array): PictureTexts | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (!file.subarray(0, 8).equals(SIGNATURE)) return undefined
  const texts = new Map<string, string>()
  for (let at = 8; at + 8 <= file.length; ) {
    const length = file.readUInt32BE(at)
    const type = file.toString('latin1', at + 4, at + 8)
    const end = at + 8 + length
    if (end > file.length || type === 'IEND') break
    if (type === 'tEXt' || type === 'zTXt' || type === 'iTXt') {
      const found = textOf(type, file.subarray(at + 8, end))
      if (found && !texts.has(found.keyword)) texts.set(found.keyword, found.text)
    }
    at = end + 4 // the chunk's CRC
  }
  return { prompt: texts.get('prompt'), workflow: texts.get('workflow') }
}
