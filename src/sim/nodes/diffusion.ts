import { encodeJpeg } from '../jpeg.ts'
import { pyStr } from '../json.ts'
import { paint } from '../picture.ts'
import { numberOf } from './image.ts'
import { nodeInfo } from './info.ts'
import { type NodeClass, type NodeContext, NodeError, type Value } from './types.ts'

/** The one checkpoint on the simulator's disk: the one that the frontend's default workflow names. */
export const CHECKPOINT = 'v1-5-pruned-emaonly-fp16.safetensors'

const SAMPLERS = [
  'euler',
  'euler_ancestral',
  'heun',
  'dpm_2',
  'lms',
  'dpmpp_2s_ancestral',
  'dpmpp_sde',
  'dpmpp_2m',
  'dpmpp_2m_sde',
  'ddim',
  'uni_pc',
]
const SCHEDULERS = ['simple', 'sgm_uniform', 'karras', 'exponential', 'ddim_uniform', 'beta', 'normal']
const MAX_SEED = 18_446_744_073_709_551_615n
const PREVIEW_SIDE = 192

function linked<K extends Value['kind']>(context: NodeContext, name: string, kind: K): Extract<Value, { kind: K }> {
  const value = context.input(name) as Value | null
  if (value?.kind !== kind) throw new NodeError('TypeError', `${name} is no ${kind}`)
  return value as Extract<Value, { kind: K }>
}

const CheckpointLoaderSimple: NodeClass = {
  info: nodeInfo(
    'CheckpointLoaderSimple',
    'Load Checkpoint',
    'model/loaders',
    ['MODEL', 'CLIP', 'VAE'],
    { ckpt_name: [[CHECKPOINT], { tooltip: 'The name of the checkpoint (model) to load.' }] },
    {
      description: 'Loads a diffusion model checkpoint, diffusion models are used to denoise latents.',
      search_aliases: ['load model', 'checkpoint', 'ckpt', 'model'],
    },
  ),
  run(context) {
    const name = pyStr(context.input('ckpt_name') as never)
    return { outputs: (['MODEL', 'CLIP', 'VAE'] as const).map((kind) => ({ kind, name })) }
  },
}

const CLIPTextEncode: NodeClass = {
  info: nodeInfo(
    'CLIPTextEncode',
    'CLIP Text Encode (Prompt)',
    'model/conditioning',
    ['CONDITIONING'],
    {
      text: ['STRING', { multiline: true, dynamicPrompts: true, tooltip: 'The text to be encoded.' }],
      clip: ['CLIP', { tooltip: 'The CLIP model used for encoding the text.' }],
    },
    { description: 'Encodes a text prompt using a CLIP model.', search_aliases: ['text', 'prompt', 'text prompt'] },
  ),
  run(context) {
    linked(context, 'clip', 'CLIP')
    const text = context.input('text')
    return {
      outputs: [
        { kind: 'CONDITIONING', text: typeof text === 'string' ? text : linked(context, 'text', 'STRING').value },
      ],
    }
  },
}

const EmptyLatentImage: NodeClass = {
  info: nodeInfo(
    'EmptyLatentImage',
    'Empty Latent Image',
    'model/latent',
    ['LATENT'],
    {
      width: [
        'INT',
        { default: 512, min: 16, max: 16_384, step: 8, tooltip: 'The width of the latent images in pixels.' },
      ],
      height: [
        'INT',
        { default: 512, min: 16, max: 16_384, step: 8, tooltip: 'The height of the latent images in pixels.' },
      ],
      batch_size: ['INT', { default: 1, min: 1, max: 4096, tooltip: 'The number of latent images in the batch.' }],
    },
    {
      description: 'Create a new batch of empty latent images to be denoised via sampling.',
      search_aliases: ['empty latent', 'new latent'],
    },
  ),
  run: (context) => ({
    outputs: [
      {
        kind: 'LATENT',
        width: numberOf(context, 'width') & ~7,
        height: numberOf(context, 'height') & ~7,
        batch: numberOf(context, 'batch_size'),
        seeds: [],
        done: 0,
      },
    ],
  }),
}

const KSampler: NodeClass = {
  info: nodeInfo(
    'KSampler',
    'KSampler',
    'model/sampling',
    ['LATENT'],
    {
      model: ['MODEL', { tooltip: 'The model used for denoising the input latent.' }],
      seed: [
        'INT',
        {
          default: 0,
          min: 0,
          max: MAX_SEED,
          control_after_generate: true,
          tooltip: 'The random seed used for creating the noise.',
        },
      ],
      steps: [
        'INT',
        { default: 20, min: 1, max: 10_000, tooltip: 'The number of steps used in the denoising process.' },
      ],
      cfg: [
        'FLOAT',
        {
          default: 8,
          min: 0,
          max: 100,
          step: 0.1,
          round: 0.01,
          tooltip: 'How closely the picture follows the prompt.',
        },
      ],
      sampler_name: [SAMPLERS, { tooltip: 'The algorithm used when sampling.' }],
      scheduler: [SCHEDULERS, { tooltip: 'The scheduler controls how noise is gradually removed to form the image.' }],
      positive: ['CONDITIONING', { tooltip: 'What should be in the image.' }],
      negative: ['CONDITIONING', { tooltip: 'What should not be in the image.' }],
      latent_image: ['LATENT', { tooltip: 'The latent image to denoise.' }],
      denoise: ['FLOAT', { default: 1, min: 0, max: 1, step: 0.01, tooltip: 'The amount of denoising applied.' }],
    },
    {
      description: 'Uses the provided model, positive and negative conditioning to denoise the latent image.',
      search_aliases: ['sampler', 'sample', 'generate', 'denoise'],
    },
  ),
  async run(context) {
    linked(context, 'model', 'MODEL')
    const { text } = linked(context, 'positive', 'CONDITIONING')
    linked(context, 'negative', 'CONDITIONING')
    const latent = linked(context, 'latent_image', 'LATENT')
    const seed = pyStr(context.input('seed') as never)
    const steps = numberOf(context, 'steps')
    const shrink = Math.min(1, PREVIEW_SIDE / Math.max(latent.width, latent.height))
    const [width, height] = [
      Math.max(8, Math.round(latent.width * shrink)),
      Math.max(8, Math.round(latent.height * shrink)),
    ]
    for (let step = 1; step <= steps; step++) {
      await context.sleep(context.stepMs)
      context.progress(step, steps, () => ({
        format: 'JPEG',
        data: encodeJpeg(paint(text, seed, width, height, step / steps), 75),
      }))
    }
    const seeds = Array.from({ length: latent.batch }, (_, index) =>
      index === 0 ? `${text}\0${seed}` : `${text}\0${seed}.${index}`,
    )
    return { outputs: [{ ...latent, seeds, done: 1 }] }
  },
}

const VAEDecode: NodeClass = {
  info: nodeInfo(
    'VAEDecode',
    'VAE Decode',
    'model/latent',
    ['IMAGE'],
    {
      samples: ['LATENT', { tooltip: 'The latent to be decoded.' }],
      vae: ['VAE', { tooltip: 'The VAE model used for decoding the latent.' }],
    },
    {
      description: 'Decodes latent images back into pixel space images.',
      search_aliases: ['decode', 'latent to image'],
    },
  ),
  run(context) {
    linked(context, 'vae', 'VAE')
    const { width, height, batch, seeds, done } = linked(context, 'samples', 'LATENT')
    const images = Array.from({ length: batch }, (_, index) => {
      const [prompt = '', seed = '0'] = (seeds[index] ?? '').split('\0')
      return paint(prompt, seed, width, height, done)
    })
    return { outputs: [{ kind: 'IMAGE', images }] }
  },
}

const PrimitiveString: NodeClass = {
  info: nodeInfo(
    'PrimitiveString',
    'Text',
    'utilities/primitive',
    ['STRING'],
    { value: ['STRING', { multiline: false }] },
    { python_module: 'comfy_extras.nodes_primitive' },
  ),
  run: (context) => ({ outputs: [{ kind: 'STRING', value: pyStr(context.input('value') as never) }] }),
}

export const DIFFUSION_NODES: readonly NodeClass[] = [
  CheckpointLoaderSimple,
  CLIPTextEncode,
  EmptyLatentImage,
  KSampler,
  VAEDecode,
  PrimitiveString,
]
