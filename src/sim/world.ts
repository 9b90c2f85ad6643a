import type { NodeTable } from './checks.ts'
import type { Console } from './console.ts'
import type { Execution } from './execution.ts'
import type { Frames } from './frames.ts'
import type { Writable } from './json.ts'
import type { SimDevice, SimFlags } from './options.ts'
import type { Folders } from './paths.ts'
import type { PromptQueue } from './queue.ts'
import type { Users } from './users.ts'

/** What the routes work on: all state of one simulator. */
export interface World {
  readonly flags: SimFlags
  readonly folders: Folders
  readonly webRoot: string
  readonly queue: PromptQueue
  readonly execution: Execution
  readonly frames: Frames
  readonly console: Console
  readonly users: Users
  readonly nodes: NodeTable
  readonly device: SimDevice
  readonly argv: readonly string[]
  readonly features: () => Writable
  readonly nowMs: () => number
}
