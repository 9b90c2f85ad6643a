import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { basename, join, relative, resolve } from 'node:path'

/** The folders that a client can reach, absolute. */
export interface Folders {
  readonly base: string
  readonly input: string
  readonly output: string
  readonly temp: string
  readonly user: string
}

/** Makes the folders under `base`. */
export function makeFolders(base: string): Folders {
  const under = (name: string) => {
    const path = join(base, name)
    mkdirSync(path, { recursive: true })
    return path
  }
  const folders = { base, input: under('input'), output: under('output'), temp: under('temp'), user: under('user') }
  // ComfyUI's own checkout has this file, and /internal/files shows it.
  writeFileSync(join(folders.output, '_output_images_will_be_put_here'), '')
  return folders
}

/** Whether a path lies in a folder or is that folder. */
export function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, resolve(path))
  return way === '' || (way !== '..' && !way.startsWith('../') && !way.startsWith('..\\'))
}

/** Takes ` [output]`, ` [input]` or ` [temp]` off a name, as ComfyUI's own widgets write it. */
export function annotated(name: string): { name: string; type: 'input' | 'output' | 'temp' | undefined } {
  for (const type of ['output', 'input', 'temp'] as const) {
    if (name.endsWith(`[${type}]`)) return { name: name.slice(0, -type.length - 3), type }
  }
  return { name, type: undefined }
}

/** The file that LoadImage means by a name, or undefined where there is none. */
export function inputFile(folders: Pick<Folders, 'input' | 'output' | 'temp'>, value: string): string | undefined {
  const { name, type } = annotated(value)
  const folder = folders[type ?? 'input']
  const path = resolve(folder, name)
  return basename(name) !== '' && isWithin(folder, path) && existsSync(path) ? path : undefined
}
