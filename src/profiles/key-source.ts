import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { readPrivate } from '../files/private.ts'

const MAX_FILE_BYTES = 1024 * 1024
const COMMAND_TIMEOUT_MS = 60_000
/** Far more than a key with comments around it. */
const MAX_COMMAND_BYTES = 64 * 1024

function usage(message: string, remedy: string, cause?: unknown): ComfyAuthError {
  return new ComfyAuthError('usage', message, { remedy, cause })
}

/**
 * The key in the output of a command, in stdin or in a file: the first line that is neither blank nor a `#` comment, as
 * the guide's key files have it. `name` says where it came from; no message repeats the text.
 */
export function keyIn(content: string, name: string): string {
  const key = content
    .replace(/^\ufeff/, '')
    .split(/\r\n|\n|\r/)
    .map((line) => line.trim())
    .find((line) => line !== '' && !line.startsWith('#'))
  if (key === undefined) throw usage(`${name} holds no key.`, 'It should hold the key on a line of its own.')
  if (!/^[\x20-\x7e]{1,4096}$/.test(key)) {
    throw usage(
      `${name} holds something that is no key: a control character, one beyond ASCII, or too much.`,
      'It should hold the key on a line of its own.',
    )
  }
  return key
}

export function keyFromFile(path: string, name = 'The key file'): string {
  const file = readPrivate(path, { name, maxBytes: MAX_FILE_BYTES })
  if (!file) throw usage(`${name} does not exist.`, 'Correct its path; comfy-auth keygen --out FILE makes one.')
  return keyIn(file.text, name)
}

/** Lets a command go: what its shell started may live on, and is neither read nor waited for. */
function letGo(child: ChildProcess): void {
  child.stdout?.destroy()
  child.kill()
  child.unref()
}

/**
 * Runs a shell command and takes the key from its stdout, of which it may write 64 KiB. It may ask on the terminal: stdin
 * and stderr are handed on.
 */
export async function keyFromCommand(command: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<string> {
  const name = 'The key command'
  const child = spawn(command, { shell: true, stdio: ['inherit', 'pipe', 'inherit'] })
  const parts: Buffer[] = []
  let length = 0
  const fault = await new Promise<string | undefined>((resolve, reject) => {
    const end = (why: string): void => {
      clearTimeout(timer)
      letGo(child)
      resolve(why)
    }
    const timer = setTimeout(end, timeoutMs, 'did not end in time')
    child.stdout.on('data', (part: Buffer) => {
      parts.push(part)
      length += part.length
      if (length > MAX_COMMAND_BYTES) end('prints more than a key')
    })
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', (code) => {
      clearTimeout(timer)
      resolve(code === 0 ? undefined : code === null ? 'was killed' : `ended with code ${code}`)
    })
  }).catch((error: unknown) => {
    throw usage(`${name} cannot be run.`, 'Try it in a shell; it should print the key.', error)
  })
  if (fault !== undefined) throw usage(`${name} ${fault}.`, 'Try it in a shell; it should print the key.')
  return keyIn(Buffer.concat(parts).toString('utf8'), `${name}'s output`)
}

export type EnvironmentKey = { readonly key: string; readonly name: string }

/** The environment's key: COMFYUI_API_KEY, COMFYUI_API_KEY_FILE, or systemd's `api_key` credential. */
export function keyFromEnvironment(env: Readonly<Record<string, string | undefined>>): EnvironmentKey | undefined {
  if (env.COMFYUI_API_KEY) return { key: keyIn(env.COMFYUI_API_KEY, 'COMFYUI_API_KEY'), name: 'COMFYUI_API_KEY' }
  if (env.COMFYUI_API_KEY_FILE) {
    return {
      key: keyFromFile(env.COMFYUI_API_KEY_FILE, 'The file in COMFYUI_API_KEY_FILE'),
      name: 'COMFYUI_API_KEY_FILE',
    }
  }
  const credential = env.CREDENTIALS_DIRECTORY ? join(env.CREDENTIALS_DIRECTORY, 'api_key') : undefined
  if (credential !== undefined && existsSync(credential)) {
    return { key: keyFromFile(credential, 'The credential api_key'), name: 'CREDENTIALS_DIRECTORY' }
  }
  return undefined
}
