import { ComfyAuthError } from '../errors.ts'
import type { ComfyClient, ShortAnswer } from './client.ts'
import { notComfy, statusError } from './client-errors.ts'
import { readAnswer } from './json.ts'
import { readSystemStats } from './system-stats.ts'

export interface ServerCheck {
  /** comfy-auth: our proxy asks for the key; other: something else does; none: anybody is let in. */
  readonly lock: 'comfy-auth' | 'other' | 'none'
  /** Our `/health` answers, with or without a lock. */
  readonly ours: boolean
  /** `down`: the lock answers, and the ComfyUI behind it does not. */
  readonly comfyui: 'up' | 'down'
  /** Of ComfyUI, where it says so. */
  readonly version: string | undefined
}

/** ComfyUI's version from /system_stats; undefined where none is told; throws where this is no ComfyUI's answer. */
function versionIn(client: ComfyClient, body: string): string | undefined {
  let stats: unknown
  try {
    stats = readAnswer(body)
  } catch {}
  const known = readSystemStats(stats)
  if (!known) throw notComfy(client, 'its /system_stats names no device')
  return known.version
}

/** Why /system_stats is not answered 200. A server that is at a loss even there is not a ComfyUI that can be used. */
function noStats(client: ComfyClient, answer: ShortAnswer): ComfyAuthError {
  const error = statusError(client, answer)
  return error.kind === 'failed' ? notComfy(client, `it answers ${answer.status} to /system_stats`) : error
}

/** Throws unless a ComfyUI answers that takes this client's key: before anything is sent that may not be sent elsewhere. */
export async function requireComfy(client: ComfyClient, signal?: AbortSignal): Promise<void> {
  const answer = await client.ask('GET', '/system_stats', { signal })
  if (answer.status !== 200) throw noStats(client, answer)
  versionIn(client, answer.body)
}

/** Whether a request without any key is let in. */
export async function isOpen(client: ComfyClient): Promise<boolean> {
  return (await client.ask('GET', '/system_stats', { withoutKey: true })).status === 200
}

/**
 * Is there a server, is it a ComfyUI, and does it take this client's key? Three different errors: `unreachable` for the
 * first two, `unauthorised` for the last. A lock whose ComfyUI is down has looked at the key before it says so.
 */
export async function checkServer(client: ComfyClient): Promise<ServerCheck> {
  const ours = (await client.health()) !== undefined
  const answer = await client.ask('GET', '/system_stats')
  const { status, body } = answer
  const open = client.key === undefined ? status === 200 : await isOpen(client)
  const lock = open ? 'none' : ours ? 'comfy-auth' : 'other'
  if (status === 200) return { lock, ours, comfyui: 'up', version: versionIn(client, body) }
  if (ours && (status === 502 || status === 503 || status === 504)) {
    return { lock: client.key === undefined ? 'none' : 'comfy-auth', ours, comfyui: 'down', version: undefined }
  }
  throw noStats(client, answer)
}

/**
 * The role of the client's key, found by asking for what a lesser one is refused. Harmless: the first is a read, the
 * second an upload without a file, which ComfyUI answers 400.
 */
export async function probeRole(client: ComfyClient): Promise<'admin' | 'user' | 'viewer'> {
  const admin = await client.ask('GET', '/internal/folder_paths')
  if (admin.status === 401)
    throw new ComfyAuthError('unauthorised', `${client.url} does not accept the key.`, {
      remedy: 'Store another with comfy-auth login.',
    })
  if (admin.status !== 403) return 'admin'
  const user = await client.ask('POST', '/upload/image', {
    body: '{}',
    headers: { 'content-type': 'application/json' },
  })
  return user.status === 403 ? 'viewer' : 'user'
}
