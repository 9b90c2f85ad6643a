import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, normalize } from 'node:path'
import { dumpJson, pyStr } from '../json.ts'
import { isWithin } from '../paths.ts'
import { encodePng, type Raster } from '../png.ts'
import { imagesOf } from './image.ts'
import { nodeInfo } from './info.ts'
import { type NodeClass, type NodeContext, NodeError, type NodeResult, type Value } from './types.ts'

const HIDDEN = { prompt: 'PROMPT', extra_pnginfo: 'EXTRA_PNGINFO' }

function withDates(prefix: string, raster: Raster | undefined): string {
  const now = new Date()
  const two = (value: number) => String(value).padStart(2, '0')
  const values: Record<string, string> = {
    width: String(raster?.width ?? 0),
    height: String(raster?.height ?? 0),
    year: String(now.getFullYear()),
    month: two(now.getMonth() + 1),
    day: two(now.getDate()),
    hour: two(now.getHours()),
    minute: two(now.getMinutes()),
    second: two(now.getSeconds()),
  }
  return prefix.replace(/%(\w+)%/g, (found, name: string) => values[name] ?? found)
}

/** The next free number behind a prefix, as ComfyUI counts: the highest there is, and one. */
function nextNumber(folder: string, name: string): number {
  let highest = 0
  for (const entry of readdirSync(folder)) {
    if (!entry.startsWith(`${name}_`)) continue
    const digits = Number.parseInt(entry.slice(name.length + 1), 10)
    if (digits > highest) highest = digits
  }
  return highest + 1
}

function save(
  context: NodeContext,
  folder: string,
  type: 'output' | 'temp',
  wanted: string,
  level: number,
): NodeResult {
  const images = imagesOf(context, 'images')
  const prefix = normalize(withDates(wanted, images[0]))
  const subfolder = dirname(prefix) === '.' ? '' : dirname(prefix)
  const name = basename(prefix)
  const target = join(folder, subfolder)
  if (!isWithin(folder, target)) {
    throw new NodeError(
      'Exception',
      `**** ERROR: Saving image outside the output folder is not allowed.\n full_output_folder: ${target}\n         output_dir: ${folder}`,
    )
  }
  mkdirSync(target, { recursive: true })
  const texts = new Map([['prompt', dumpJson(context.prompt)]])
  if (context.extraPnginfo instanceof Map)
    for (const [key, value] of context.extraPnginfo) texts.set(key, dumpJson(value))
  let number = nextNumber(target, name)
  const saved = images.map((raster, index) => {
    const filename = `${name.replaceAll('%batch_num%', String(index))}_${String(number).padStart(5, '0')}_.png`
    number += 1
    writeFileSync(join(target, filename), encodePng(raster, texts, level))
    return { filename, subfolder, type }
  })
  return { outputs: [{ kind: 'IMAGE', images }], ui: { images: saved } }
}

const SaveImage: NodeClass = {
  info: nodeInfo(
    'SaveImage',
    'Save Image',
    'image',
    ['IMAGE'],
    {
      images: ['IMAGE', { tooltip: 'The images to save.' }],
      filename_prefix: [
        'STRING',
        {
          default: 'ComfyUI',
          tooltip:
            'The prefix for the file to save. This may include formatting information such as %date:yyyy-MM-dd% or %Empty Latent Image.width% to include values from nodes.',
        },
      ],
    },
    {
      input: { required: {}, hidden: HIDDEN },
      output_name: ['images'],
      output_node: true,
      description: 'Saves the input images to your ComfyUI output directory.',
      search_aliases: ['save', 'save image', 'export image', 'output image', 'write image', 'download'],
      essentials_category: 'Basics',
    },
  ),
  run: (context) =>
    save(context, context.folders.output, 'output', pyStr(context.input('filename_prefix') as never), 4),
}

const PreviewImage: NodeClass = {
  info: nodeInfo(
    'PreviewImage',
    'Preview Image',
    'image',
    ['IMAGE'],
    { images: ['IMAGE'] },
    {
      input: { required: {}, hidden: HIDDEN },
      output_name: ['images'],
      output_node: true,
      description: 'Preview the images without saving them to the ComfyUI output directory.',
      search_aliases: ['preview', 'preview image', 'show image', 'view image', 'display image', 'image viewer'],
      essentials_category: 'Basics',
    },
  ),
  run: (context) => save(context, context.folders.temp, 'temp', `ComfyUI${context.tempPrefix}`, 1),
}

let saves = 0

const SaveImageWebsocket: NodeClass = {
  info: nodeInfo(
    'SaveImageWebsocket',
    'Save Image (Websocket)',
    'image',
    [],
    { images: ['IMAGE'] },
    { output_node: true, python_module: 'custom_nodes.websocket_image_save' },
  ),
  // Never cached: the picture goes out each time.
  changed: () => String(saves++),
  run(context) {
    const images = imagesOf(context, 'images')
    for (const [index, raster] of images.entries())
      context.progress(index, images.length, () => ({ format: 'PNG', data: encodePng(raster, undefined, 1) }))
    return { outputs: [] }
  },
}

const PreviewAny: NodeClass = {
  info: nodeInfo(
    'PreviewAny',
    'Preview as Text',
    'utilities',
    ['STRING'],
    { source: ['*', {}] },
    {
      output_node: true,
      description: 'Preview any input value as text.',
      python_module: 'comfy_extras.nodes_preview_any',
    },
  ),
  run(context) {
    const value = context.input('source') as Value | null
    const text = value && 'value' in value ? String(value.value) : `<${value?.kind ?? 'None'}>`
    return { outputs: [{ kind: 'STRING', value: text }], ui: { text: [text] } }
  },
}

export const OUTPUT_NODES: readonly NodeClass[] = [SaveImage, PreviewImage, SaveImageWebsocket, PreviewAny]
