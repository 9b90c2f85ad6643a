import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder that holds our package.json: found upwards from here, so that src/, dist/ and a bundle share it. */
export const PACKAGE_ROOT = findUpwards(dirname(fileURLToPath(import.meta.url)))

/** Absolute path of a file that comes with the package, such as `web/login.html`. */
export function packageFile(relative: string): string {
  return join(PACKAGE_ROOT, relative)
}

export function readPackageText(relative: string): string {
  return readFileSync(packageFile(relative), 'utf8')
}

function findUpwards(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder
  const parent = dirname(folder)
  return parent === folder ? folder : findUpwards(parent)
}
