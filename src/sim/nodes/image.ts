import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { asNumber, pyStr } from '../json.ts'
import { inputFile } from '../paths.ts'
import { decodePng, PictureError, type Raster } from '../png.ts'
import { nodeInfo } from './info.ts'
import { type NodeClass, type NodeContext, NodeError, type Value } from './types.ts'

const FULL = 16_384

/** The pictures behind a link. */
export function imagesOf(context: NodeContext, name: string): readonly Raster[] {
  const value = context.input(name) as Value
  if (value?.kind !== 'IMAGE') throw new NodeError('TypeError', `${name} is no image`)
  return value.images
}

/** A widget's number. */
export function numberOf(context: NodeContext, name: string): number {
  return asNumber(context.input(name) as never) ?? 0
}

const mapped = (context: NodeContext, change: (raster: Raster) => Raster) => ({
  outputs: [{ kind: 'IMAGE' as const, images: imagesOf(context, 'image').map(change) }],
})

const EmptyImage: NodeClass = {
  info: nodeInfo('EmptyImage', 'Empty Image', 'image', ['IMAGE'], {
    width: ['INT', { default: 512, min: 1, max: FULL, step: 1 }],
    height: ['INT', { default: 512, min: 1, max: FULL, step: 1 }],
    batch_size: ['INT', { default: 1, min: 1, max: 4096 }],
    color: ['INT', { default: 0, min: 0, max: 16_777_215, step: 1, display: 'color' }],
  }),
  run(context) {
    const [width, height, color] = [numberOf(context, 'width'), numberOf(context, 'height'), numberOf(context, 'color')]
    const data = new Uint8Array(width * height * 3)
    for (let i = 0; i < data.length; i += 3) data.set([color >> 16, (color >> 8) & 255, color & 255], i)
    const raster: Raster = { width, height, channels: 3, data }
    return {
      outputs: [{ kind: 'IMAGE', images: Array.from({ length: numberOf(context, 'batch_size') }, () => raster) }],
    }
  },
}

const LoadImage: NodeClass = {
  info: nodeInfo(
    'LoadImage',
    'Load Image',
    'image',
    ['IMAGE', 'MASK'],
    { image: [[], { image_upload: true }] },
    { search_aliases: ['load image', 'open image', 'upload image'], essentials_category: 'Basics' },
  ),
  checked: 'image',
  check: (value, folders) => (inputFile(folders, value) ? undefined : `Invalid image file: ${value}`),
  changed: (inputs, folders) => {
    const file = inputFile(folders, pyStr(inputs.get('image') ?? null))
    return file ? createHash('sha256').update(readFileSync(file)).digest('hex') : ''
  },
  run(context) {
    const name = pyStr(context.input('image') as never)
    const file = inputFile(context.folders, name) ?? join(context.folders.input, name)
    try {
      const { width, height, channels, data } = decodePng(readFileSync(file))
      const rgb = new Uint8Array(width * height * 3)
      const mask = new Uint8Array(width * height * 3)
      for (let i = 0; i < width * height; i++) {
        for (let c = 0; c < 3; c++) rgb[i * 3 + c] = data[i * channels + c] as number
        if (channels === 4) mask.fill(255 - (data[i * 4 + 3] as number), i * 3, i * 3 + 3)
      }
      return {
        outputs: [
          { kind: 'IMAGE', images: [{ width, height, channels: 3, data: rgb }] },
          { kind: 'MASK', images: [{ width, height, channels: 3, data: mask }] },
        ],
      }
    } catch (error) {
      if (error instanceof PictureError)
        throw new NodeError('PIL.UnidentifiedImageError', `cannot identify image file '${file}'\n`)
      throw error
    }
  },
}

/** Bilinear, or the nearest pixel. */
function scale(source: Raster, width: number, height: number, nearest: boolean): Raster {
  const data = new Uint8Array(width * height * 3)
  const at = (x: number, y: number, c: number) =>
    source.data[
      (Math.min(source.height - 1, Math.max(0, y)) * source.width + Math.min(source.width - 1, Math.max(0, x))) * 3 + c
    ] as number
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const sx = ((x + 0.5) * source.width) / width - 0.5
      const sy = ((y + 0.5) * source.height) / height - 0.5
      const [x0, y0] = [Math.floor(sx), Math.floor(sy)]
      const [fx, fy] = [sx - x0, sy - y0]
      for (let c = 0; c < 3; c++) {
        data[(y * width + x) * 3 + c] = nearest
          ? at(Math.round(sx), Math.round(sy), c)
          : Math.round(
              (at(x0, y0, c) * (1 - fx) + at(x0 + 1, y0, c) * fx) * (1 - fy) +
                (at(x0, y0 + 1, c) * (1 - fx) + at(x0 + 1, y0 + 1, c) * fx) * fy,
            )
      }
    }
  }
  return { width, height, channels: 3, data }
}

function cropTo(source: Raster, width: number, height: number): Raster {
  const wanted = width / height
  const now = source.width / source.height
  const cutWidth = now > wanted ? Math.max(1, Math.round(source.height * wanted)) : source.width
  const cutHeight = now < wanted ? Math.max(1, Math.round(source.width / wanted)) : source.height
  const [left, top] = [(source.width - cutWidth) >> 1, (source.height - cutHeight) >> 1]
  const data = new Uint8Array(cutWidth * cutHeight * 3)
  for (let y = 0; y < cutHeight; y++) {
    const from = ((y + top) * source.width + left) * 3
    data.set(source.data.subarray(from, from + cutWidth * 3), y * cutWidth * 3)
  }
  return { width: cutWidth, height: cutHeight, channels: 3, data }
}

const ImageScale: NodeClass = {
  info: nodeInfo(
    'ImageScale',
    'Upscale Image',
    'image/upscaling',
    ['IMAGE'],
    {
      image: ['IMAGE'],
      upscale_method: [['nearest-exact', 'bilinear', 'area', 'bicubic', 'lanczos']],
      width: ['INT', { default: 512, min: 0, max: FULL, step: 1 }],
      height: ['INT', { default: 512, min: 0, max: FULL, step: 1 }],
      crop: [['disabled', 'center']],
    },
    { search_aliases: ['resize', 'scale image', 'zoom'], essentials_category: 'Image Tools' },
  ),
  run: (context) =>
    mapped(context, (raster) => {
      const wanted = { width: numberOf(context, 'width'), height: numberOf(context, 'height') }
      if (wanted.width === 0 && wanted.height === 0) return raster
      const width = wanted.width || Math.max(1, Math.round((raster.width * wanted.height) / raster.height))
      const height = wanted.height || Math.max(1, Math.round((raster.height * wanted.width) / raster.width))
      const source = context.input('crop') === 'center' ? cropTo(raster, width, height) : raster
      return scale(source, width, height, context.input('upscale_method') === 'nearest-exact')
    }),
}

const ImageInvert: NodeClass = {
  info: nodeInfo(
    'ImageInvert',
    'Invert Image Colors',
    'image/color',
    ['IMAGE'],
    { image: ['IMAGE'] },
    { search_aliases: ['reverse colors'], essentials_category: 'Image Tools' },
  ),
  run: (context) => mapped(context, (raster) => ({ ...raster, data: raster.data.map((value) => 255 - value) })),
}

/** One pass of a box of `radius`, along rows (`step` 3) or columns (`step` of a row). */
function box(
  data: Uint8Array,
  lines: number,
  length: number,
  lineStep: number,
  step: number,
  radius: number,
): Uint8Array {
  const out = new Uint8Array(data.length)
  const width = radius * 2 + 1
  for (let line = 0; line < lines; line++) {
    for (let c = 0; c < 3; c++) {
      const at = (i: number) => data[line * lineStep + Math.min(length - 1, Math.max(0, i)) * step + c] as number
      let sum = 0
      for (let i = -radius; i <= radius; i++) sum += at(i)
      for (let i = 0; i < length; i++) {
        out[line * lineStep + i * step + c] = Math.round(sum / width)
        sum += at(i + radius + 1) - at(i - radius)
      }
    }
  }
  return out
}

const ImageBlur: NodeClass = {
  info: nodeInfo(
    'ImageBlur',
    'Blur Image',
    'image/filters',
    ['IMAGE'],
    {
      image: ['IMAGE', {}],
      blur_radius: ['INT', { default: 1, min: 1, max: 31, step: 1 }],
      sigma: ['FLOAT', { default: 1, min: 0.1, max: 10, step: 0.1 }],
    },
    { python_module: 'comfy_extras.nodes_post_processing', search_aliases: null },
  ),
  run: (context) =>
    mapped(context, ({ width, height, channels, data }) => {
      const radius = Math.min(
        numberOf(context, 'blur_radius'),
        Math.max(1, Math.round(numberOf(context, 'sigma') * 1.5)),
      )
      const rows = box(data, height, width, width * 3, 3, radius)
      return { width, height, channels, data: box(rows, width, height, 3, width * 3, radius) }
    }),
}

const GetImageSize: NodeClass = {
  info: nodeInfo(
    'GetImageSize',
    'Get Image Size',
    'image',
    ['INT', 'INT', 'INT'],
    { image: ['IMAGE', {}] },
    {
      output_name: ['width', 'height', 'batch_size'],
      description: 'Returns width and height of the image, and passes it through unchanged.',
      python_module: 'comfy_extras.nodes_images',
    },
  ),
  run(context) {
    const images = imagesOf(context, 'image')
    const { width = 0, height = 0 } = images[0] ?? {}
    context.text(`width: ${width}, height: ${height}\n batch size: ${images.length}`)
    return { outputs: [width, height, images.length].map((value) => ({ kind: 'INT' as const, value })) }
  },
}

export const IMAGE_NODES: readonly NodeClass[] = [
  EmptyImage,
  LoadImage,
  ImageScale,
  ImageInvert,
  ImageBlur,
  GetImageSize,
]
