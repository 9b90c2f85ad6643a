import { join } from 'node:path'
import { withoutControl } from './plain.ts'

const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)$/i

const MAX_BYTES = 200

/** Cut to bytes without cutting a character, the extension kept: file systems limit a name to 255 bytes. */
function shortened(name: string): string {
  if (Buffer.byteLength(name) <= MAX_BYTES) return name
  const dot = name.lastIndexOf('.')
  const extension = dot > 0 && name.length - dot <= 12 ? name.slice(dot) : ''
  let stem = extension === '' ? name : name.slice(0, dot)
  while (Buffer.byteLength(stem + extension) > MAX_BYTES) stem = Array.from(stem).slice(0, -1).join('')
  return stem + extension
}

/** One segment of a path from a name that a server gave; undefined where nothing is left of it. */
function safeSegment(segment: string): string | undefined {
  const clean = withoutControl(segment, '_')
    .replaceAll(/[<>:"|?*\\/]/g, '_')
    .replace(/[. ]+$/, '') // Windows drops them: `..` and `x.png.` would become other names there
    .replace(/^ +/, '')
  if (clean === '') return undefined
  const stem = clean.split('.', 1)[0]!
  return shortened(RESERVED.test(stem) ? `_${clean}` : clean)
}

/**
 * Where a file of a server is kept below the output folder. Names come from a server that may be hostile: whatever it
 * says, the result is relative, without `..`, drive, stream or device name, and legal on every platform.
 */
export function localPath(file: { readonly filename: string; readonly subfolder: string }): string {
  const folders = file.subfolder
    .split(/[\\/]+/)
    .map(safeSegment)
    .filter((segment) => segment !== undefined)
  const name = file.filename
    .split(/[\\/]+/)
    .map(safeSegment)
    .filter((segment) => segment !== undefined)
    .at(-1)
  return join(...folders.slice(0, 16), name ?? 'output')
}

/** `a.png`, `a-1.png`, `a-2.png`, ... */
export function* alternatives(path: string): Generator<string> {
  yield path
  const slash = Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\'))
  const dot = path.lastIndexOf('.')
  const at = dot > slash + 1 ? dot : path.length
  for (let count = 1; count < 100_000; count += 1) yield `${path.slice(0, at)}-${count}${path.slice(at)}`
}
