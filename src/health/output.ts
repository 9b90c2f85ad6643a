import { randomUUID } from 'node:crypto'
import { promises as fs } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ComfyAuthError } from '../errors.ts'

/**
 * Replaces `path` at once, mode 0644 whatever the umask: node_exporter runs as another user and must read it, and never
 * half of it. The temporary file's name does not end in .prom, or it would be collected too.
 */
export async function writePublic(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
  try {
    const file = await fs.open(temporary, 'wx', 0o644)
    try {
      await file.chmod(0o644)
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await fs.rename(temporary, path)
  } catch (error) {
    await fs.rm(temporary, { force: true }).catch(() => {})
    const code = (error as NodeJS.ErrnoException).code ?? 'error'
    throw new ComfyAuthError('usage', `The file of --output cannot be written (${code}).`, {
      remedy: 'Name a file in a folder that exists and that this user may write.',
      cause: error,
    })
  }
}
