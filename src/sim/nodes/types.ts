import type { Json, JsonMap, Writable } from '../json.ts'
import type { Raster } from '../png.ts'

/** What travels along a link. */
export type Value =
  | { readonly kind: 'IMAGE'; readonly images: readonly Raster[] }
  | { readonly kind: 'MASK'; readonly images: readonly Raster[] }
  | { readonly kind: 'MODEL' | 'CLIP' | 'VAE'; readonly name: string }
  | { readonly kind: 'CONDITIONING'; readonly text: string }
  | {
      readonly kind: 'LATENT'
      readonly width: number
      readonly height: number
      readonly batch: number
      readonly seeds: readonly string[]
      readonly done: number
    }
  | { readonly kind: 'INT'; readonly value: number }
  | { readonly kind: 'STRING'; readonly value: string }

/** Ends a prompt as an interrupt does. */
export class Interrupted extends Error {}

/** An exception within a node, with Python's name for it. */
export class NodeError extends Error {
  readonly type: string
  constructor(type: string, message: string) {
    super(message)
    this.type = type
  }
}

/** What a node may reach while it runs. */
export interface NodeContext {
  readonly folders: { readonly input: string; readonly output: string; readonly temp: string }
  /** Linked inputs resolved, and widget values as validation left them. */
  readonly input: (name: string) => Value | Json
  /** The prompt and `extra_pnginfo`, for the text chunks of saved pictures. */
  readonly prompt: JsonMap
  readonly extraPnginfo: Json | undefined
  readonly stepMs: number
  /** Waits; throws Interrupted as soon as an interrupt comes. */
  readonly sleep: (ms: number) => Promise<void>
  /** Reports a step; the preview is only made where a socket is there to get it. */
  readonly progress: (value: number, max: number, preview?: () => Preview) => void
  /** A line of text under the node, sent to every socket. */
  readonly text: (text: string) => void
  readonly tempPrefix: string
}

/** A preview as it goes over the socket. */
export interface Preview {
  readonly format: 'JPEG' | 'PNG'
  readonly data: Buffer
}

export interface NodeResult {
  readonly outputs: readonly Value[]
  /** What /history and `executed` show. */
  readonly ui?: Writable
}

/** One class of nodes. `info` is its entry in /object_info, from which prompts are validated too. */
export interface NodeClass {
  readonly info: NodeInfo
  readonly run: (context: NodeContext) => NodeResult | Promise<NodeResult>
  /** The inputs that `check` looks at instead of the built-in checks; undefined for none. */
  readonly checked?: string
  /** ComfyUI's VALIDATE_INPUTS: undefined where all is well, else the message. */
  readonly check?: (value: string, folders: NodeContext['folders']) => string | undefined
  /** ComfyUI's IS_CHANGED: part of what the cache compares. */
  readonly changed?: (inputs: ReadonlyMap<string, Json>, folders: NodeContext['folders']) => string
}

/** One input: its type or its choices, and its options. */
export type InputSpec = readonly [string | readonly string[], { readonly [option: string]: Writable }?]

/** /object_info's shape, as far as ComfyUI's own page reads it. */
export interface NodeInfo {
  readonly input: {
    readonly required: Record<string, InputSpec>
    readonly optional?: Record<string, InputSpec>
    readonly hidden?: Record<string, Writable>
  }
  readonly input_order: Record<string, readonly string[]>
  readonly is_input_list: boolean
  readonly output: readonly string[]
  readonly output_is_list: readonly boolean[]
  readonly output_name: readonly string[]
  readonly name: string
  readonly display_name: string
  readonly description: string
  readonly python_module: string
  readonly category: string
  readonly output_node: boolean
  readonly has_intermediate_output: boolean
  readonly search_aliases: readonly string[] | null
  readonly [key: string]: unknown
}
