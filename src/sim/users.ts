import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { type Call, header } from './call.ts'
import { dumpJson, type JsonMap, parseJson } from './json.ts'
import { isWithin } from './paths.ts'
import { unquote } from './target.ts'

/** The user whom a request names does not exist: routes answer in their own ways. */
export class UnknownUser extends Error {}

export interface Users {
  readonly multi: boolean
  readonly names: ReadonlyMap<string, string>
  /** A new user's id, or the words of the 400. */
  add(name: string): { readonly id: string } | { readonly error: string }
  /** The root of the request's user. Throws UnknownUser. */
  rootOf(call: Call): string
  /**
   * A file of the request's user, its name decoded once more; undefined where it leaves the folder.
   * Makes the missing parent folders, also for a GET, unless told not to.
   */
  fileOf(call: Call, name: string, makeParent?: boolean): string | undefined
  settings(call: Call): JsonMap
  saveSettings(call: Call, settings: JsonMap): void
}

const SYSTEM = '__'

/** Users under `folder`; `multi` is `--multi-user`. */
export function createUsers(folder: string, multi: boolean): Users {
  const file = join(folder, 'users.json')
  const names = new Map<string, string>()
  if (!multi) names.set('default', 'default')
  else if (existsSync(file))
    for (const [id, name] of Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>))
      names.set(id, name)

  const users: Users = {
    multi,
    names,
    add(raw) {
      if ([...names.values()].includes(raw)) return { error: 'Duplicate username.' }
      const name = raw.trim()
      if (name === '') return { error: 'username not provided' }
      if (name.startsWith(SYSTEM)) return { error: 'System User prefix not allowed' }
      const id = `${name.replace(/[^a-zA-Z0-9\-_]+/g, '-')}_${randomUUID()}`
      if (id.startsWith(SYSTEM)) return { error: 'System User prefix not allowed' }
      names.set(id, name)
      writeFileSync(file, JSON.stringify(Object.fromEntries(names)))
      return { id }
    },
    rootOf(call) {
      const user = multi ? (header(call, 'comfy-user') ?? 'default') : 'default'
      if (user.startsWith(SYSTEM) || !names.has(user)) throw new UnknownUser(user)
      return join(folder, user)
    },
    fileOf(call, name, makeParent = true) {
      const root = users.rootOf(call)
      const path = resolve(root, unquote(name))
      if (path.includes('\0')) throw new Error('embedded null byte')
      if (!isWithin(root, path)) return undefined
      if (makeParent) mkdirSync(dirname(path), { recursive: true })
      return path
    },
    settings(call) {
      const path = users.fileOf(call, 'comfy.settings.json')
      if (path === undefined || !existsSync(path)) return new Map()
      const settings = parseJson(readFileSync(path, 'utf8'))
      return settings instanceof Map ? settings : new Map()
    },
    saveSettings(call, settings) {
      const path = users.fileOf(call, 'comfy.settings.json')
      if (path !== undefined) writeFileSync(path, dumpJson(settings))
    },
  }
  return users
}
