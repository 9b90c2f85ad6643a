import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { regularFile } from './files.ts'
import { dumpJson, type Writable } from './json.ts'
import { CHECKPOINT } from './nodes/diffusion.ts'
import { infoOf } from './nodes/table.ts'
import { isWithin } from './paths.ts'
import { empty, json, jsonText } from './reply.ts'
import type { Route } from './router.ts'
import type { World } from './world.ts'

const MODEL_SUFFIXES = ['.bin', '.ckpt', '.pkl', '.pt', '.pt2', '.pth', '.safetensors', '.sft']

/** ComfyUI's model folders, in its order; most have one place of their own name. */
const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  checkpoints: ['models/checkpoints', 'output/checkpoints'],
  configs: ['models/configs'],
  loras: ['models/loras', 'output/loras'],
  vae: ['models/vae', 'output/vae'],
  text_encoders: ['models/text_encoders', 'models/clip', 'output/clip'],
  diffusion_models: ['models/unet', 'models/diffusion_models', 'output/diffusion_models'],
  ...Object.fromEntries(
    ['clip_vision', 'style_models', 'embeddings', 'diffusers', 'vae_approx'].map((name) => [name, [`models/${name}`]]),
  ),
  controlnet: ['models/controlnet', 'models/t2i_adapter'],
  ...Object.fromEntries(
    ['gligen', 'upscale_models', 'latent_upscale_models'].map((name) => [name, [`models/${name}`]]),
  ),
  custom_nodes: ['custom_nodes'],
  datasets: ['datasets'],
  ...Object.fromEntries(
    ['hypernetworks', 'photomaker', 'classifiers', 'model_patches', 'audio_encoders', 'background_removal'].map(
      (name) => [name, [`models/${name}`]],
    ),
  ),
  ...Object.fromEntries(
    ['frame_interpolation', 'geometry_estimation', 'optical_flow', 'detection'].map((name) => [
      name,
      [`models/${name}`],
    ]),
  ),
}

const suffixesOf = (name: string) =>
  name === 'datasets' ? [] : name === 'diffusers' ? ['folder'] : name === 'classifiers' ? [''] : MODEL_SUFFIXES
const filesOf = (folder: string) => (folder === 'checkpoints' ? [CHECKPOINT] : [])

const BLUEPRINT = '00b2c530bb3a4d4488eb3af9f14fcf117299d65f359514f2cc3db84541402f76'
const BLUEPRINTS: Readonly<Record<string, { source: string; name: string; info: { node_pack: string } }>> = {
  [BLUEPRINT]: { source: 'templates', name: 'Invert', info: { node_pack: 'comfyui' } },
}

/** The blueprint's graph: a subgraph of one ImageInvert, as the page expects it. */
const BLUEPRINT_DATA = JSON.stringify({
  revision: 0,
  last_node_id: 1,
  last_link_id: 0,
  nodes: [
    {
      id: 1,
      type: BLUEPRINT,
      pos: [0, 0],
      size: [200, 60],
      flags: {},
      order: 0,
      mode: 0,
      inputs: [],
      outputs: [],
      properties: {},
    },
  ],
  links: [],
  version: 0.4,
  definitions: {
    subgraphs: [
      { id: BLUEPRINT, version: 1, name: 'Invert', nodes: [], links: [], groups: [], inputs: [], outputs: [] },
    ],
  },
})

const REPLACEMENTS = {
  ResizeImagesByLongerEdge: [
    {
      new_node_id: 'ImageScaleToMaxDimension',
      old_node_id: 'ResizeImagesByLongerEdge',
      old_widget_ids: ['longer_edge'],
      input_mapping: [
        { new_id: 'image', old_id: 'images' },
        { new_id: 'largest_size', old_id: 'longer_edge' },
        { new_id: 'upscale_method', set_value: 'lanczos' },
      ],
      output_mapping: [{ new_idx: 0, old_idx: 0 }],
    },
  ],
}

const PACKAGES = [
  ['comfyui-frontend-package', '1.49.6'],
  ['comfyui-workflow-templates', '0.11.44'],
  ['comfyui-embedded-docs', '0.5.10'],
].map(([name = '', version = '']) => ({ name, installed: version, required: version }))

const RAM_TOTAL = 25_276_510_208
const RAM_FREE = 22_816_387_072

function stats({ device, argv }: World): Writable {
  const { name, type, index, vramTotal, vramFree } = device
  return {
    system: {
      os: 'linux',
      ram_total: RAM_TOTAL,
      ram_free: RAM_FREE,
      comfyui_version: '0.33.0',
      required_frontend_version: '1.49.6',
      installed_templates_version: '0.11.44',
      required_templates_version: '0.11.44',
      comfy_package_versions: PACKAGES,
      python_version: '3.12.1 (main, May  9 2026, 07:36:11) [GCC 12.2.0]',
      pytorch_version: '2.9.1+cu128',
      embedded_python: false,
      deploy_environment: 'local-git',
      argv,
    },
    devices: [
      {
        name,
        type,
        index,
        vram_total: vramTotal,
        vram_free: vramFree,
        torch_vram_total: vramTotal,
        torch_vram_free: vramFree,
      },
    ],
  }
}

/** Every script below extensions/, as a path of the page. */
function scripts(root: string, below = 'extensions'): string[] {
  try {
    return readdirSync(join(root, below), { withFileTypes: true }).flatMap((entry) => {
      const path = `${below}/${entry.name}`
      return entry.isDirectory() ? scripts(root, path) : entry.name.endsWith('.js') ? [`/${path}`] : []
    })
  } catch {
    return []
  }
}

/** What the server says of itself: versions, models, nodes, and the lists that the page asks for. */
export function infoRoutes(world: World): Route[] {
  const place = (folder: string) => join(world.folders.base, folder)
  const systemStats = Buffer.from(dumpJson(stats(world)))
  return [
    { method: 'GET', path: '/system_stats', handler: () => jsonText(systemStats) },
    { method: 'GET', path: '/features', handler: () => json(world.features()) },
    { method: 'GET', path: '/embeddings', handler: () => json([]) },
    { method: 'GET', path: '/models', handler: () => json(Object.keys(FOLDERS)) },
    {
      method: 'GET',
      path: '/models/{folder}',
      handler: (_, [folder = '']) => (Object.hasOwn(FOLDERS, folder) ? json(filesOf(folder)) : empty(404)),
    },
    { method: 'GET', path: '/extensions', handler: () => json(scripts(world.webRoot)) },
    { method: 'GET', path: '/i18n', handler: () => json({}) },
    { method: 'GET', path: '/workflow_templates', handler: () => json({}) },
    { method: 'GET', path: '/node_replacements', handler: () => json(REPLACEMENTS) },
    { method: 'GET', path: '/global_subgraphs', handler: () => json(BLUEPRINTS) },
    {
      method: 'GET',
      path: '/global_subgraphs/{id}',
      handler: (_, [id = '']) =>
        json(Object.hasOwn(BLUEPRINTS, id) ? { ...(BLUEPRINTS[id] as Writable & object), data: BLUEPRINT_DATA } : null),
    },
    {
      method: 'GET',
      path: '/object_info',
      handler: () => json(new Map([...world.nodes].map(([name, node]) => [name, infoOf(node, world.folders)]))),
    },
    {
      method: 'GET',
      path: '/object_info/{class}',
      handler: (_, [name = '']) => {
        const node = world.nodes.get(name)
        return json(node ? { [name]: infoOf(node, world.folders) } : {})
      },
    },
    {
      method: 'GET',
      path: '/experiment/models',
      handler: () =>
        json(
          Object.entries(FOLDERS)
            .filter(([name]) => name !== 'configs' && name !== 'custom_nodes')
            .map(([name, folders]) => ({ name, folders: folders.map(place), extensions: suffixesOf(name) })),
        ),
    },
    {
      method: 'GET',
      path: '/experiment/models/{folder}',
      handler: (_, [folder = '']) => {
        if (!Object.hasOwn(FOLDERS, folder)) return empty(404)
        return json(
          filesOf(folder).map((name) => ({
            name,
            pathIndex: 0,
            modified: 1_795_500_000,
            created: 1_795_500_000,
            size: 2_132_696_762,
          })),
        )
      },
    },
    {
      method: 'GET',
      path: '/experiment/models/preview/{folder}/{index}/{filename:.*}',
      handler: (_, [folder = '', index = '', filename = '']) => {
        const root = FOLDERS[folder]?.[Number(index)]
        if (root === undefined) return empty(404)
        return isWithin(place(root), join(place(root), filename)) ? empty(404) : empty(403)
      },
    },
    {
      method: 'GET',
      path: '/view_metadata/{folder}',
      handler: ({ target }, [folder = '']) => {
        const name = target.query.get('filename')
        return folder === 'checkpoints' && name === CHECKPOINT
          ? json({ format: 'pt', 'modelspec.title': 'Simulated landscapes' })
          : empty(404)
      },
    },
    {
      method: 'GET',
      path: '/internal/folder_paths',
      twin: false,
      handler: () =>
        json(Object.fromEntries(Object.entries(FOLDERS).map(([name, folders]) => [name, folders.map(place)]))),
    },
    {
      method: 'GET',
      path: '/internal/files/{kind}',
      twin: false,
      handler: (_, [kind = '']) => {
        if (kind !== 'output' && kind !== 'input' && kind !== 'temp')
          return json({ error: 'Invalid directory type' }, 400)
        const folder = world.folders[kind]
        const files = readdirSync(folder)
          .filter((name) => !name.startsWith('.'))
          .map((name) => ({ name, stat: regularFile(join(folder, name)) }))
          .filter(({ stat }) => stat !== undefined)
          .sort((a, b) => Number((b.stat?.mtimeNs ?? 0n) - (a.stat?.mtimeNs ?? 0n)))
        return json(files.map(({ name }) => `${name} [${kind}]`))
      },
    },
  ]
}
