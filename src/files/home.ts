import { lstatSync, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { errorCode, errorText } from './errno.ts'
import { makeDir } from './make-dir.ts'
import { restrictToOwner } from './windows-acl.ts'

const NAME = 'comfy-auth'

/** What decides where our files are; tests hand in their own. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: NodeJS.Platform
  readonly home: string
}

function here(): Surroundings {
  return { env: process.env, platform: process.platform, home: homedir() }
}

/** An absolute path from the environment; XDG calls relative ones invalid, to be ignored. */
function folder(value: string | undefined): string | undefined {
  return value !== undefined && isAbsolute(value) ? value : undefined
}

function under(kind: 'config' | 'data', { env, platform, home }: Surroundings): string {
  if (env.COMFY_AUTH_HOME) return env.COMFY_AUTH_HOME
  if (platform === 'win32') {
    const base = kind === 'config' ? env.APPDATA : env.LOCALAPPDATA
    return join(base || join(home, 'AppData', kind === 'config' ? 'Roaming' : 'Local'), NAME)
  }
  const xdg = folder(kind === 'config' ? env.XDG_CONFIG_HOME : env.XDG_DATA_HOME)
  if (xdg) return join(xdg, NAME)
  if (platform === 'darwin') return join(home, 'Library', 'Application Support', NAME)
  return join(home, ...(kind === 'config' ? ['.config'] : ['.local', 'share']), NAME)
}

/** What a person may read and back up: keyring and profiles. */
export function configDir(around = here()): string {
  return under('config', around)
}

/** What we keep for ourselves: databases and the certificate of our own making. */
export function dataDir(around = here()): string {
  return under('data', around)
}

/** Every file we keep, each 0600, in folders of 0700. */
export interface Paths {
  /** Records of keys: digests, labels, roles, dates. JSON. */
  readonly keyring: string
  /** Taken by whoever changes the keyring; holds nothing. SQLite. */
  readonly keyringLock: string
  /** Server URLs and the client commands' credentials. JSON. */
  readonly profiles: string
  /** Sessions, prompt owners, idempotency, when a key was last used. SQLite. */
  readonly serveDb: string
  /** The durable local queue of jobs. SQLite. */
  readonly queueDb: string
  /** The certificate of --tls-self-signed and its key. PEM. */
  readonly tlsSelfSigned: string
}

export function paths(around = here()): Paths {
  const config = configDir(around)
  const data = dataDir(around)
  return {
    keyring: join(config, 'keyring.json'),
    keyringLock: join(config, 'keyring.lock'),
    profiles: join(config, 'profiles.json'),
    serveDb: join(data, 'serve.db'),
    queueDb: join(data, 'queue.db'),
    tlsSelfSigned: join(data, 'tls-self-signed.pem'),
  }
}

/** What tells a file from others, by whatever path it is named: its place, and its inode where it is there. */
function marks(path: string): string[] {
  const found: string[] = []
  const full = resolve(path)
  try {
    found.push(join(realpathSync(dirname(full)), basename(full)))
    const { dev, ino } = lstatSync(full, { bigint: true })
    found.push(`${dev}:${ino}`)
  } catch {} // the file, or its folder, is not there yet
  return found.length > 0 ? found : [full]
}

/** Whether two paths name one file, which need not be there yet. */
export function isSameFile(one: string, other: string): boolean {
  const known = new Set(marks(one))
  return marks(other).some((mark) => known.has(mark))
}

/** Whether a file is one that we keep, or one of `more`, or what SQLite keeps beside such a one. */
export function isOurs(path: string, more: readonly string[]): boolean {
  const mine = [...Object.values(paths()), ...more].flatMap((each) => [
    each,
    ...['-wal', '-shm', '-journal'].map((end) => each + end),
  ])
  const known = new Set(mine.flatMap(marks))
  return marks(path).some((mark) => known.has(mark))
}

/**
 * Makes a folder, and those above it, mode 0700. One that exists is left as it is: it may be anybody's, as where
 * COMFY_AUTH_HOME names it. On Windows a new one is closed to all but its owner.
 */
export function ensureDir(dir: string): void {
  try {
    if (makeDir(resolve(dir), 0o700)) restrictToOwner(dir)
  } catch (error) {
    throw new ComfyAuthError('usage', `A folder for our files cannot be made: ${errorText(error)}.`, {
      remedy:
        errorCode(error) === 'EEXIST' || errorCode(error) === 'ENOTDIR'
          ? 'A file stands where the folder should be: move it away, or set COMFY_AUTH_HOME to another folder.'
          : 'Set COMFY_AUTH_HOME to a folder that you can write.',
      cause: error,
    })
  }
}
