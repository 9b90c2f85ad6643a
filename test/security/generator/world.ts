import { once } from 'node:events'
import { WebSocket } from 'ws'
import { createKey, revokeKey } from '../../../src/keys/lifecycle.ts'
import { ROLES, type Role } from '../../../src/keys/roles.ts'
import type { Door } from '../../support/door.ts'
import { type Rules, USUAL } from './rules.ts'

/** How the requests are sent: HTTP/1.1, the same within TLS, or HTTP/2. */
export type Wire = 'http1' | 'tls1' | 'http2'

/** What the generator knows of the door it knocks at. */
export interface World {
  readonly door: Door
  /** --base-path: stands before every path that is sent. */
  readonly base: string
  readonly wire: Wire
  readonly rules: Rules
  /** Of every request that names none. */
  readonly host: string
  /** Of our own pages. */
  readonly origin: string
  readonly keys: Readonly<Record<Role, string>>
  /** `name=value` of a live session. */
  readonly cookies: Readonly<Record<Role, string>>
  /** Storage tokens of those sessions, good beside their own cookie alone; empty under --browser-storage off. */
  readonly tokens: Readonly<Record<Role, string>>
  /** A free-form admin key, WEAK_KEY. */
  readonly weak: string
  readonly deadKey: string
  readonly deadCookie: string
  /** The prompts that the user's key started; the admin's, and one that came to ComfyUI by another way. */
  readonly own: readonly string[]
  readonly others: readonly string[]
  /** Held by an admin's open socket. */
  readonly clientId: string
  /** An address that nobody has guessed from. */
  freshAddress(): string
  /** What the proxy says of faults of its own: taken out by whoever reports it. */
  readonly faults: string[]
  /** Every secret, raw and in the encodings in which it was sent. */
  readonly secrets: readonly string[]
  close(): Promise<void>
}

const PROMPT = JSON.stringify({
  prompt: {
    1: { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color: 0 } },
    2: { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
  },
})

async function startBesides({ sim }: Door): Promise<string> {
  const response = await fetch(`${sim.url}/prompt`, { method: 'POST', body: PROMPT })
  return ((await response.json()) as { prompt_id: string }).prompt_id
}

/** A free-form key, short enough to be guessed, that the door is opened with. */
export const WEAK_KEY = 'correct horse battery'

export interface Furnishing {
  readonly base?: string
  readonly wire?: Wire
  readonly rules?: Partial<Rules>
  readonly publicUrl?: string | undefined
  readonly faults?: string[]
}

/** Sessions, prompts, a dead key and an open socket behind a door that was opened with WEAK_KEY. */
export async function furnish(door: Door, furnishing: Furnishing = {}): Promise<World> {
  const { base = '', wire = 'http1', rules, publicUrl, faults = [] } = furnishing
  const here = `127.0.0.1:${door.port}`
  const secure = wire !== 'http1'
  const weak = WEAK_KEY
  const { keyring, keys } = door
  const ask: Door['ask'] = (method, path, given) => door.ask(method, base + path, given)
  const logIn = async (key: string) => {
    const { headers, body } = await ask('POST', '/auth_login.html', {
      headers: { 'Content-Type': 'application/x-www-form-urlencoded', Accept: 'application/json' },
      body: `api_key=${key}`,
    })
    const { token = '' } = JSON.parse(body) as { token?: string }
    return { cookie: headers['set-cookie']![0]!.split(';')[0]!, token }
  }
  const dead = await createKey({ label: 'the dead', role: 'admin', keyring })
  await keys.live.reload()
  const { cookie: deadCookie } = await logIn(dead.key)
  const cookies = {} as Record<Role, string>
  const tokens = {} as Record<Role, string>
  for (const role of ROLES) {
    const { cookie, token } = await logIn(keys[role])
    cookies[role] = cookie
    tokens[role] = token
  }
  await revokeKey(keyring, 'the dead')
  await keys.live.reload()

  const start = async (key: string) => {
    const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' }
    return (JSON.parse((await ask('POST', '/prompt', { headers, body: PROMPT })).body) as { prompt_id: string })
      .prompt_id
  }
  const clientId = 'held-by-an-admin'
  const socket = new WebSocket(`${secure ? 'wss' : 'ws'}://${here}${base}/ws?clientId=${clientId}`, {
    headers: { 'X-API-Key': keys.admin },
    rejectUnauthorized: false,
  })
  await once(socket, 'open')
  let address = 0
  const all = [
    ...ROLES.map((role) => keys[role]),
    ...ROLES.map((role) => cookies[role].split('=')[1]!),
    ...ROLES.map((role) => tokens[role]).filter((token) => token !== ''),
    dead.key,
    weak,
  ]
  return {
    door,
    base,
    wire,
    rules: { ...USUAL, ...rules },
    host: publicUrl === undefined ? here : new URL(publicUrl).host,
    origin: publicUrl ?? `${secure ? 'https' : 'http'}://${here}`,
    keys: { admin: keys.admin, user: keys.user, viewer: keys.viewer },
    cookies,
    tokens,
    weak,
    deadKey: dead.key,
    deadCookie,
    own: [await start(keys.user), await start(keys.user)],
    others: [await start(keys.admin), await startBesides(door)],
    clientId,
    freshAddress() {
      address += 1
      return `127.${1 + (address >> 16)}.${(address >> 8) & 255}.${address & 255}`
    },
    faults,
    close: async () => socket.terminate(),
    secrets: all.flatMap((secret) => [
      secret,
      Buffer.from(secret).toString('base64url'),
      Buffer.from(`me:${secret}`).toString('base64').slice(4, -4),
    ]),
  }
}
