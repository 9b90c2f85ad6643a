import { basename } from 'node:path'
import type { ComfyClient } from './client.ts'
import { plain } from './plain.ts'
import type { RunEvent } from './track.ts'
import { nameForUpload, uploadFile } from './upload.ts'
import { type InputPlace, setInput, splitSetting, type Workflow, withInput } from './workflow.ts'

export interface Settings {
  /** `NODE.INPUT=VALUE`, in the order of argv. */
  readonly set: readonly string[]
  /** `NODE.INPUT=FILE`. */
  readonly image: readonly string[]
}

/** The workflow with its `--set`s, and the files that `--image` wants in which input. Throws `usage`, and sends nothing. */
export function applySettings(
  workflow: Workflow,
  { set, image }: Settings,
): { workflow: Workflow; files: { place: InputPlace; path: string }[] } {
  const numbered = (flag: string, all: readonly string[], index: number): string =>
    all.length > 1 ? `${flag} number ${index + 1}` : flag
  const changed = set.reduce(
    (present, setting, index) => setInput(present, setting, numbered('--set', set, index)),
    workflow,
  )
  const files = image.map((setting, index) => {
    const { place, value } = splitSetting(changed, setting, numbered('--image', image, index))
    return { place, path: value }
  })
  return { workflow: changed, files }
}

/**
 * Puts each file's name into its input. With a client it is uploaded first, once however often it is named; without one (a
 * dry run) the name is what would be asked for.
 */
export async function placeFiles(
  workflow: Workflow,
  files: readonly { readonly place: InputPlace; readonly path: string }[],
  options: {
    readonly client?: ComfyClient | undefined
    readonly signal?: AbortSignal | undefined
    readonly onEvent?: ((event: RunEvent) => void) | undefined
  },
): Promise<Workflow> {
  const { client, signal, onEvent } = options
  const names = new Map<string, string>()
  let placed = workflow
  for (const { place, path } of files) {
    const file = plain(basename(path), { limit: 60 })
    const name =
      names.get(path) ??
      (client
        ? await uploadFile({
            client,
            path,
            signal,
            onBytes: (sent, total) => onEvent?.({ type: 'uploading', file, fraction: sent / total }),
          })
        : await nameForUpload(path))
    names.set(path, name)
    placed = withInput(placed, place, name)
  }
  return placed
}
