import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { errorCode } from './errno.ts'

function isFolder(path: string): boolean {
  try {
    if (statSync(path).isDirectory()) return true
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false
    throw error
  }
  throw Object.assign(new Error('not a folder'), { code: 'EEXIST' })
}

/**
 * Makes a folder and those above it, and says whether it was missing. Throws system errors. Node's own `recursive` tries
 * for ever where a folder is there and takes none, as below /proc.
 */
export function makeDir(path: string, mode = 0o777): boolean {
  if (isFolder(path)) return false
  makeDir(dirname(path), mode)
  try {
    mkdirSync(path, { mode })
    return true
  } catch (error) {
    if (errorCode(error) === 'EEXIST' && isFolder(path)) return false // somebody else was faster
    throw error
  }
}
