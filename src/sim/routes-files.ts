import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, extname, join, normalize, resolve } from 'node:path'
import { type Call, header } from './call.ts'
import { fileReply, isActive, regularFile, typeOf } from './files.ts'
import { encodeJpeg } from './jpeg.ts'
import { parseJson } from './json.ts'
import { type Part, parseMultipart } from './multipart.ts'
import { annotated, isWithin } from './paths.ts'
import { decodePng, encodePng, pngTexts, type Raster } from './png.ts'
import { empty, json, type Reply } from './reply.ts'
import type { Route } from './router.ts'
import { encodeWebp } from './webp.ts'
import type { World } from './world.ts'

type Kind = 'input' | 'output' | 'temp'

const isKind = (value: string): value is Kind => value === 'input' || value === 'output' || value === 'temp'

/** An upload's form. Anything that is no form has no parts. */
async function form(call: Call): Promise<Part[]> {
  return parseMultipart(header(call, 'content-type'), await call.body()) ?? []
}

/** The text of a part that is no file; the first of equal names, as ComfyUI reads them. */
function fieldOf(parts: readonly Part[], name: string): string | undefined {
  return parts.find((part) => part.name === name)?.data.toString('utf8')
}

function upload(world: World, parts: readonly Part[], save: (data: Buffer, path: string) => void): Reply {
  const type = fieldOf(parts, 'type') ?? 'input'
  // ComfyUI knows no other kind and stumbles over it.
  if (!isKind(type)) throw new Error('unbound variable type_dir')
  const image = parts.find((part) => part.name === 'image' && part.filename !== undefined)
  if (!image?.filename) return empty(400)
  const root = world.folders[type]
  const subfolder = fieldOf(parts, 'subfolder') ?? ''
  const folder = join(root, normalize(subfolder))
  const original = image.filename
  let path = resolve(folder, original)
  if (!isWithin(root, path)) return empty(400)
  mkdirSync(folder, { recursive: true })
  const overwrite = fieldOf(parts, 'overwrite')
  let name = original
  let same = false
  const ending = extname(original)
  for (let i = 1; overwrite !== 'true' && overwrite !== '1' && existsSync(path); i++) {
    same = readFileSync(path).equals(image.data)
    if (same) break
    name = `${original.slice(0, original.length - ending.length)} (${i})${ending}`
    path = join(folder, name)
  }
  if (!same) save(image.data, path)
  return json({ name, subfolder, type })
}

/** The mask's alpha goes onto the picture that `original_ref` names. */
function saveMask(world: World, reference: string, mask: Buffer, path: string): void {
  const ref = parseJson(reference)
  const get = (key: string) => (ref instanceof Map ? ref.get(key) : undefined)
  const { name, type } = annotated(String(get('filename')))
  const kind = type ?? String(get('type') ?? 'output')
  if (name === '' || name.startsWith('/') || name.includes('..') || !isKind(kind)) return
  const folder = join(world.folders[kind], String(get('subfolder') ?? ''))
  const file = join(folder, name)
  if (!isWithin(world.folders[kind], folder) || !regularFile(file)) return
  const source = readFileSync(file)
  const picture = decodePng(source)
  const alpha = decodePng(mask)
  const data = new Uint8Array(picture.width * picture.height * 4)
  for (let i = 0; i < picture.width * picture.height; i++) {
    for (let c = 0; c < 3; c++) data[i * 4 + c] = picture.data[i * picture.channels + c] as number
    data[i * 4 + 3] = alpha.channels === 4 ? (alpha.data[i * 4 + 3] ?? 255) : 255
  }
  writeFileSync(path, encodePng({ ...picture, channels: 4, data }, pngTexts(source)))
}

/** A channel of a picture as ComfyUI's mask editor asks for it. */
function channelOf({ width, height, channels, data }: Raster, channel: 'rgb' | 'a'): Raster {
  const wide = channel === 'rgb' ? 3 : 4
  const out = new Uint8Array(width * height * wide)
  for (let i = 0; i < width * height; i++) {
    if (channel === 'rgb') for (let c = 0; c < 3; c++) out[i * 3 + c] = data[i * channels + c] as number
    else out[i * 4 + 3] = channels === 4 ? (data[i * 4 + 3] as number) : 255
  }
  return { width, height, channels: wide, data: out }
}

function picture(body: Buffer, type: string, filename: string): Reply {
  return {
    status: 200,
    headers: [
      ['Content-Disposition', `filename="${filename}"`],
      ['Content-Type', type],
    ],
    body,
  }
}

function preview(file: string, filename: string, wanted: string, channel: string): Reply {
  const [format, ...rest] = wanted.split(';')
  const digits = rest.at(-1) ?? format ?? ''
  const quality = /^\d+$/.test(digits) ? Number(digits) : 90
  const raster = decodePng(readFileSync(file))
  if (format === 'jpeg' && !channel.includes('a'))
    return picture(encodeJpeg(raster, Math.min(100, Math.max(1, quality))), 'image/jpeg', filename)
  return picture(encodeWebp(raster), 'image/webp', filename)
}

/** GET /view, and the two uploads. */
export function fileRoutes(world: World): Route[] {
  const view: Route['handler'] = (call) => {
    const { query } = call.target
    const asked = query.get('filename')
    if (asked === null || asked.startsWith('blake3:')) return empty(404)
    const { name, type } = annotated(asked)
    if (name === '' || name.startsWith('/') || name.includes('..')) return empty(400)
    const kind = type ?? query.get('type') ?? 'output'
    if (!isKind(kind)) return empty(400)
    const folder = join(world.folders[kind], query.get('subfolder') ?? '')
    if (!isWithin(world.folders[kind], folder)) return empty(403)
    const filename = basename(name)
    const file = join(folder, filename)
    const stat = regularFile(file)
    if (!stat) return empty(404)
    const channel = query.get('channel') ?? 'rgba'
    const wanted = query.get('preview')
    if (wanted !== null) return preview(file, filename, wanted, query.get('channel') ?? '')
    if (channel === 'rgb' || channel === 'a')
      return picture(encodePng(channelOf(decodePng(readFileSync(file)), channel)), 'image/png', filename)
    return whole(call, file, filename, stat)
  }

  function whole(call: Call, file: string, filename: string, stat: NonNullable<ReturnType<typeof regularFile>>): Reply {
    const quoted = filename.replaceAll('\\', '\\\\').replaceAll('"', '\\"')
    const headers: [string, string][] = [['X-Content-Type-Options', 'nosniff']]
    let type = typeOf(filename)
    let disposition = `filename="${quoted}"`
    if (isActive(type)) {
      headers.push(['Vary', 'Sec-Fetch-Dest'], ['Cache-Control', 'no-store'])
      // An SVG in an <img> runs no script; anywhere else it would.
      if (!(type === 'image/svg+xml' && header(call, 'sec-fetch-dest') === 'image')) {
        type = 'application/octet-stream'
        disposition = `attachment; ${disposition}`
      }
    }
    headers.push(['Content-Disposition', disposition], ['Content-Type', type])
    return fileReply(call, file, stat, headers)
  }

  return [
    { method: 'GET', path: '/view', handler: view },
    {
      method: 'POST',
      path: '/upload/image',
      handler: async (call) => upload(world, await form(call), (data, path) => writeFileSync(path, data)),
    },
    {
      method: 'POST',
      path: '/upload/mask',
      handler: async (call) => {
        const parts = await form(call)
        return upload(world, parts, (data, path) => saveMask(world, fieldOf(parts, 'original_ref') ?? '', data, path))
      },
    },
  ]
}
