import { existsSync, statSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { ensureDir, paths } from '../files/home.ts'
import { withLock } from '../files/lock.ts'
import { readPrivate } from '../files/private.ts'

/** A server and how its key is had. `key` and `keyCommand` are never both there; without either the server needs none. */
export interface Profile {
  readonly url: string
  readonly key?: string
  /** A shell command that prints the key, as password managers have one. */
  readonly keyCommand?: string
  /** ISO 8601. */
  readonly savedAt: string
}

export interface ProfileStore {
  readonly path: string
  /** The one that is used where nothing else is named. */
  current(): string | undefined
  names(): string[]
  get(name: string): Profile | undefined
  /** Stores it and makes it the current one. */
  save(name: string, profile: Profile): Promise<void>
  /** Makes it the current one. */
  use(name: string): Promise<void>
  /** Takes it away; another becomes current only by `use`. */
  remove(name: string): Promise<void>
}

interface Stored {
  version: number
  current: string | null
  profiles: Record<string, Profile>
}

const VERSION = 1

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

function usage(message: string, remedy: string, cause?: unknown): ComfyAuthError {
  return new ComfyAuthError('usage', message, { remedy, cause })
}

/** Names reach shells and tables: letters, digits, `.`, `_` and `-`, at most 64. */
export function checkProfileName(name: string): void {
  if (NAME.test(name)) return
  throw usage('That is no name for a profile.', 'Use letters, digits, dots, dashes and underscores, 64 at most.')
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What stands in the file, field by field: it is edited by hand too. */
function validated(value: unknown): Stored {
  const mend = (field: string, what: string): ComfyAuthError =>
    usage(`profiles.json: ${field} ${what}.`, 'Mend it by hand, or delete the file and log in again.')
  if (!isFields(value)) throw mend('the whole', 'is not an object')
  const { version = VERSION, current = null, profiles = {} } = value
  if (typeof version !== 'number') throw mend('version', 'is not a number')
  if (version > VERSION) {
    throw usage(
      `profiles.json was written by a newer comfy-auth (version ${version}).`,
      'Update comfy-auth, or set COMFY_AUTH_HOME to another folder.',
    )
  }
  if (current !== null && typeof current !== 'string') throw mend('current', 'is not a name')
  if (!isFields(profiles)) throw mend('profiles', 'is not an object')
  const checked: [string, Profile][] = Object.entries(profiles).map(([name, profile], index) => {
    const at = NAME.test(name) ? `profiles.${name}` : `profiles[${index}]`
    if (!NAME.test(name)) throw mend(at, 'has a name that is none')
    if (!isFields(profile)) throw mend(at, 'is not an object')
    const { url, key, keyCommand, savedAt } = profile
    if (typeof url !== 'string') throw mend(`${at}.url`, 'is missing or not text')
    if (key !== undefined && typeof key !== 'string') throw mend(`${at}.key`, 'is not text')
    if (keyCommand !== undefined && typeof keyCommand !== 'string') throw mend(`${at}.keyCommand`, 'is not text')
    const credential = key !== undefined ? { key } : keyCommand !== undefined ? { keyCommand } : {}
    return [name, { url, ...credential, savedAt: typeof savedAt === 'string' ? savedAt : '' }]
  })
  return { version, current, profiles: Object.fromEntries(checked) }
}

/** More than any number of servers needs. */
const MAX_BYTES = 4 * 1024 * 1024

/**
 * The profiles in conf's file, 0600 in a folder of 0700. Reading makes nothing, and is ours: conf takes a damaged file for
 * an empty one. Each change reads anew and writes the whole under a lock (profiles.lock), so that logins side
 * by side keep every profile.
 */
export function openProfiles(path = paths().profiles): ProfileStore {
  function read(): Stored {
    const file = readPrivate(path, { name: 'profiles.json', maxBytes: MAX_BYTES })
    if (!file || file.text.trim() === '') return validated({})
    try {
      return validated(JSON.parse(file.text))
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      throw usage('profiles.json is not JSON.', 'Mend it by hand, or delete it and log in again.', error)
    }
  }
  async function change(edit: (stored: Stored) => void): Promise<void> {
    ensureDir(dirname(path)) // before conf, which would make it 0755
    // only here: conf's file writer puts handlers of its own on SIGINT, which raise it once more
    const { default: Conf } = await import('conf')
    const extension = extname(path)
    const lock = join(dirname(path), `${basename(path, extension)}.lock`)
    await withLock(lock, () => rewrite(Conf, edit, extension), { name: 'profiles.json' })
  }
  function rewrite(Conf: typeof import('conf').default, edit: (stored: Stored) => void, extension: string): void {
    const stored = read()
    edit(stored)
    try {
      const conf = new Conf<Record<string, unknown>>({
        cwd: dirname(path),
        configName: basename(path, extension),
        fileExtension: extension.slice(1),
        configFileMode: 0o600,
        accessPropertiesByDotNotation: false,
      })
      conf.store = { ...stored }
    } catch (error) {
      throw usage(
        'profiles.json cannot be written.',
        'Look at the modes of the file and its folder, and at the space left.',
        error,
      )
    }
  }
  function known(stored: Stored, name: string): Profile {
    const profile = Object.hasOwn(stored.profiles, name) ? stored.profiles[name] : undefined
    if (profile) return profile
    const names = Object.keys(stored.profiles)
    throw usage(
      'There is no profile of that name.',
      names.length > 0 ? `There are: ${names.join(', ')}.` : 'Make one with comfy-auth login URL.',
    )
  }

  return {
    path,
    current: () => {
      const { current, profiles } = read()
      return current !== null && Object.hasOwn(profiles, current) ? current : undefined
    },
    names: () => Object.keys(read().profiles),
    get: (name) => {
      const { profiles } = read()
      return Object.hasOwn(profiles, name) ? profiles[name] : undefined
    },
    save: async (name, profile) => {
      checkProfileName(name)
      await change((stored) => {
        stored.profiles = { ...stored.profiles, [name]: profile }
        stored.current = name
      })
    },
    use: (name) =>
      change((stored) => {
        known(stored, name)
        stored.current = name
      }),
    remove: (name) =>
      change((stored) => {
        known(stored, name)
        stored.profiles = Object.fromEntries(Object.entries(stored.profiles).filter(([other]) => other !== name))
        if (stored.current === name) stored.current = null
      }),
  }
}

/** Whether others may read the file: it holds keys. */
export function isExposed(path: string): boolean {
  return process.platform !== 'win32' && existsSync(path) && (statSync(path).mode & 0o077) !== 0
}
