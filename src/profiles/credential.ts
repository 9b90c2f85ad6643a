import { ComfyAuthError } from '../errors.ts'
import { keyFromCommand, keyFromEnvironment, keyFromFile } from './key-source.ts'
import { openProfiles, type Profile, type ProfileStore } from './profiles.ts'

/** The flags of every client command; each may have come from `COMFY_AUTH_<FLAG>`. */
export interface ServerFlags {
  readonly url?: string | undefined
  readonly profile?: string | undefined
  readonly 'key-file'?: string | undefined
}

/** Where a value came from, as whoami shows it. */
export interface Source {
  readonly kind: 'flag' | 'environment' | 'profile' | 'default' | 'none'
  /** The flag, the variable or the profile by name. */
  readonly name: string
}

export interface ResolvedServer {
  readonly url: string
  /** Absent where there is none: the server may need none. */
  readonly key?: string
  /** The profile that was used, by name. */
  readonly profile?: string
  readonly from: { readonly url: Source; readonly key: Source }
}

/** `comfy-auth serve` on this machine. */
const DEFAULT_URL = 'http://127.0.0.1:8189'

const NO_KEY: Source = { kind: 'none', name: 'none' }

type Environment = Readonly<Record<string, string | undefined>>

/** Flag or its variable: a flag's value that the variable holds too is the variable's. */
function sourceOf(flag: 'url' | 'profile' | 'key-file', value: string, env: Environment): Source {
  const variable = `COMFY_AUTH_${flag.toUpperCase().replaceAll('-', '_')}`
  return env[variable] === value ? { kind: 'environment', name: variable } : { kind: 'flag', name: `--${flag}` }
}

function sameServer(a: string, b: string): boolean {
  const [left, right] = [a, b].map((url) => URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(url) ? url : `http://${url}`))
  const path = (url: URL): string => url.pathname.replace(/\/+$/, '')
  return !!left && !!right && left.origin === right.origin && path(left) === path(right)
}

type Key = { readonly key?: string; readonly from: Source }

async function keyOf(profile: Profile, name: string): Promise<Key> {
  if (profile.key !== undefined) return { key: profile.key, from: { kind: 'profile', name } }
  if (profile.keyCommand === undefined) return { from: NO_KEY }
  return { key: await keyFromCommand(profile.keyCommand), from: { kind: 'profile', name: `${name}, its key command` } }
}

/** The key of a URL that no profile brought: flag, environment, else a profile that was stored for this very server. */
async function keyForUrl(
  url: string,
  flags: ServerFlags,
  env: Environment,
  store: ProfileStore,
): Promise<Key & { profile?: string }> {
  const file = flags['key-file']
  if (file) return { key: keyFromFile(file), from: sourceOf('key-file', file, env) }
  const fromEnvironment = keyFromEnvironment(env)
  if (fromEnvironment) return { key: fromEnvironment.key, from: { kind: 'environment', name: fromEnvironment.name } }
  const names = store.names().filter((name) => sameServer(store.get(name)!.url, url))
  const current = store.current()
  const name = names.find((candidate) => candidate === current) ?? names[0]
  return name === undefined ? { from: NO_KEY } : { ...(await keyOf(store.get(name)!, name)), profile: name }
}

/**
 * Which server, with which key. Flag, environment, profile, default, in this order; a profile brings its own URL and key,
 * and the environment's key goes only with a URL from flag, environment or default: never to a server that it was not meant for.
 */
export async function resolveServer(
  flags: ServerFlags,
  env: Environment = process.env,
  store: ProfileStore = openProfiles(),
): Promise<ResolvedServer> {
  const urlSource = flags.url ? sourceOf('url', flags.url, env) : undefined
  const profileSource = flags.profile ? sourceOf('profile', flags.profile, env) : undefined
  if (urlSource && profileSource && urlSource.kind === profileSource.kind) {
    throw new ComfyAuthError('usage', `${urlSource.name} and ${profileSource.name} both name a server.`, {
      remedy: 'Give one of the two.',
    })
  }
  const profileWins = profileSource && (!urlSource || profileSource.kind === 'flag')
  const name = profileWins ? flags.profile : urlSource ? undefined : store.current()
  if (name !== undefined) {
    const profile = store.get(name)
    if (!profile) {
      const names = store.names()
      throw new ComfyAuthError('usage', 'There is no profile of that name.', {
        remedy: names.length > 0 ? `There are: ${names.join(', ')}.` : 'Make one with comfy-auth login URL.',
      })
    }
    const url: Source = {
      kind: profileSource?.kind ?? 'profile',
      name: profileSource ? `${profileSource.name}, profile ${name}` : name,
    }
    const file = flags['key-file']
    if (file && sourceOf('key-file', file, env).kind === 'flag') {
      return {
        url: profile.url,
        key: keyFromFile(file),
        profile: name,
        from: { url, key: { kind: 'flag', name: '--key-file' } },
      }
    }
    const { key, from } = await keyOf(profile, name)
    return { url: profile.url, ...(key === undefined ? {} : { key }), profile: name, from: { url, key: from } }
  }
  const url = flags.url || DEFAULT_URL
  const { key, from, profile } = await keyForUrl(url, flags, env, store)
  return {
    url,
    ...(key === undefined ? {} : { key }),
    ...(profile === undefined ? {} : { profile }),
    from: { url: urlSource ?? { kind: 'default', name: 'default' }, key: from },
  }
}
