import { readdirSync } from 'node:fs'
import type { Writable } from '../json.ts'
import { DIFFUSION_NODES } from './diffusion.ts'
import { IMAGE_NODES } from './image.ts'
import { OUTPUT_NODES } from './output.ts'
import type { NodeClass, NodeContext } from './types.ts'

/** Every node that the simulator runs, by class. */
export const NODES: ReadonlyMap<string, NodeClass> = new Map(
  [...DIFFUSION_NODES, ...IMAGE_NODES, ...OUTPUT_NODES].map((node) => [node.info.name, node]),
)

/** A node's entry in /object_info; LoadImage lists what lies in the input folder now. */
export function infoOf(node: NodeClass, folders: NodeContext['folders']): Writable {
  if (node.info.name !== 'LoadImage') return node.info as unknown as Writable
  const files = readdirSync(folders.input, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .sort()
  return { ...node.info, input: { required: { image: [files, { image_upload: true }] } } } as unknown as Writable
}
