import type { Role } from '../../../src/keys/roles.ts'
import { ROUTE_CASES } from '../../support/comfyui-routes.ts'
import { bytesOf, type Draft, type Family, plain, raw } from './case.ts'
import { lesser, signed } from './identity.ts'
import { mutate } from './mutations.ts'

const BODY = '{"delete":[],"clear":false,"prompt_id":"x","job_ids":[]}'

export interface Place {
  /** The least that may. */
  readonly role: Role
  readonly method: string
  readonly target: string
}

/** Places as they stand and mutated, asked for by those whose role is too small. */
export function around(places: readonly Place[]): Family {
  return (random, world, tag) => {
    const { role, method, target } = random.pick(places)
    const draft: Draft = {
      who: lesser(role, random),
      method,
      target: mutate(target, random) || '/',
      ...(method !== 'GET' &&
        method !== 'HEAD' &&
        random.chance(0.8) && { body: BODY, headers: [['Content-Type', 'application/json']] }),
    }
    return plain('paths', signed(draft, random, world), tag, world)
  }
}

export const paths: Family = around(ROUTE_CASES)

const FORMS = (path: string, host: string) => [
  `http://${host}${path}`,
  `http://${host}/assets/a.js/..${path}`,
  `HTTP://evil.example${path}`,
  `ws://${host}${path}`,
  `//${host}${path}`,
  `http:${path}`,
  `http:/${path}`,
  `http://${host}\\${path}`,
  '*',
  host,
  `*${path}`,
  `?${path}`,
  `#${path}`,
  `.${path}`,
  `/assets/a.js ${path}`,
  `/assets/a.js\t${path}`,
  `/assets/a.js?\x00${path}`,
  `${path}#`,
  `/assets/a.js#${path}`,
  `/assets/a#${path}.js`,
  `/assets${path}#.js`,
  `${path}#/assets/a.js`,
  ` ${path}`,
]

/** Request-targets that are no path, or hold what no request line may. */
export const targets: Family = (random, world, tag) => {
  const { role, method, target } = random.pick(ROUTE_CASES)
  const who = lesser(role, random)
  const form = random.pick(FORMS(mutate(target, random, random.int(2)), world.host))
  return raw('targets', bytesOf(signed({ who, method, target: form }, random, world), tag(who), world), random)
}

const METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'CONNECT',
  'PROPFIND',
  'MKCOL',
  'MOVE',
  'COPY',
  'LOCK',
  'SEARCH',
  'M-SEARCH',
  'PURGE',
  'QUERY',
  'get',
  'Post',
  'GETT',
  'G\tET',
  'GET\x00',
  'POST/',
  'DEBUG',
  'LINK',
  'REPORT',
  'PRI',
  '',
]
const OVERRIDES = ['X-HTTP-Method-Override', 'X-Method-Override', 'X-HTTP-Method', '_method']

/** Methods that do not exist, in other cases, or overridden by a header or the query. */
export const methods: Family = (random, world, tag) => {
  const { target, method: real } = random.pick(ROUTE_CASES.filter(({ role }) => role === 'admin' || role === 'user'))
  const who = random.pick(['nobody', 'nobody', 'viewer'] as const)
  const method = random.pick(METHODS)
  const name = random.pick(OVERRIDES)
  // Open for reading alone
  const path = mutate(
    random.chance(0.2) ? random.pick(['/assets/a.js', '/health', '/favicon.ico']) : target,
    random,
    random.int(2),
  )
  const draft: Draft = {
    who,
    method,
    target: random.chance(0.2) ? `${path}${path.includes('?') ? '&' : '?'}_method=${real}` : path,
    headers: random.chance(0.5) ? [[name, real]] : [],
    body: random.chance(0.5) ? BODY : '',
  }
  return raw('methods', bytesOf(signed(draft, random, world), tag(who), world), random)
}

/** Paths around a base path: outside it, in it by another spelling, and out of it by dots. */
export const basePaths: Family = (random, world, tag) => {
  const { role, method, target } = random.pick(ROUTE_CASES)
  const { base } = world
  const prefix = random.pick([
    '',
    base,
    base.toUpperCase(),
    `/%63${base.slice(2)}`,
    `${base}/..`,
    `/.${base}`,
    `/${base}`,
    `${base}/${base}`,
    `${base}%2f`,
    `${base}x`,
    `/x/..${base}`,
    `${base}/`,
    `${base}?`,
    `${base};a`,
    `/assets${base}`,
  ])
  const draft = signed(
    { who: lesser(role, random), method, target: `${prefix}${mutate(target, random, random.int(2))}` || '/' },
    random,
    world,
  )
  return raw('basePaths', bytesOf(draft, tag(draft.who), { ...world, base: '' }), random, [method])
}
