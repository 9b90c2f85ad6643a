import { ROUTE_CASES } from '../../support/comfyui-routes.ts'
import { bytesOf, type Draft, type Family, plain, raw } from './case.ts'
import { lesser, signed } from './identity.ts'
import type { Random } from './random.ts'

const BODY = '{"delete":[],"clear":false,"prompt_id":"x","job_ids":[]}'

const hex = (char: string, upper = true) => {
  const code = char.charCodeAt(0).toString(16).padStart(2, '0')
  return `%${upper ? code.toUpperCase() : code}`
}

const SUFFIXES = [
  '.js',
  '.css',
  '.png',
  '.html',
  '.json',
  '.woff2',
  '/.js',
  '/a.css',
  '%2e%6as',
  '.JS',
  '.js/',
  '.js.',
  '.js%20',
  '.js%00',
]
const BEHIND = [
  '?.js',
  '?a=/assets/a.js',
  '?/health',
  ';.js',
  ';a=.css',
  ';/assets/a.js',
  '#.js',
  '%23.js',
  '%3f.js',
  '%3F/assets/x.css',
  '#/../assets/a.js',
]
const BEFORE = [
  '/assets/..',
  '/assets/%2e%2e',
  '/assets/..%2f',
  '/assets/a.js/..',
  '/assets/a.js/../..',
  '/health/..',
  '/auth_login.html/..',
  '/auth_login.html',
  '/extensions/x/..%2f..',
  '/health',
  '/scripts/%2e%2e/',
  '/docs/..;/',
  '/templates/.',
  '/lib//..',
  '/fonts\\..',
  '/.',
  '/./',
  '/%2e',
  '//',
  '/api/..',
  '/api/assets/..',
  '/x/..',
]
const SLASHES = [
  '//',
  '/./',
  '/x/../',
  '/%2f',
  '%2f',
  '%2F',
  '\\',
  '%5c',
  '%5C',
  '/%2e/',
  '/;/',
  '/%20/',
  '/%09/',
  '/%00/',
  '%252f',
  '%252F',
  '/..%00/',
  '/..;/',
  '%c0%af',
  '%e2%88%95',
  '%ef%bc%8f',
  '/%ff/',
  '/.%2e/',
  '/%E2%80%8B/',
  '/~/',
  '/*/',
]
const BYTES = [
  '%00',
  '%0a',
  '%0d%0a',
  '%09',
  '%20',
  '%7f',
  '%ff',
  '%c3',
  '%zz',
  '%',
  '%u002e',
  '%2',
  '\xff',
  '\xe4',
  '%ef%bb%bf',
  '%e2%80%ae',
  '%c2%a0',
  '+',
  '~',
  "'",
  '@',
  ':',
  '|',
  '{',
  '"',
  '^',
  '`',
]

/** One step from a path to another that somebody may read as the same. */
const MUTATIONS: readonly ((path: string, random: Random) => string)[] = [
  (path, random) => at(path, random, (char) => hex(char, random.chance(0.5))),
  (path, random) => at(path, random, (char) => `%25${hex(char).slice(1)}`),
  (path, random) => at(path, random, (char) => (char === char.toUpperCase() ? char.toLowerCase() : char.toUpperCase())),
  (path) => path.toUpperCase(),
  (path) => path.replace(/[a-z]/g, (char) => hex(char)),
  (path, random) => path + random.pick(SUFFIXES),
  (path, random) => path + random.pick(BEHIND),
  (path, random) => random.pick(BEFORE) + path,
  (path, random) => slash(path, random, random.pick(SLASHES)),
  (path, random) => insert(path, random, random.pick(BYTES)),
  (path) => `${path}/`,
  (path) => `/api${path}`,
  (path) => `/api/api${path}`,
  (path) => (path.startsWith('/api/') ? path.slice(4) : path),
  (path) => path.slice(1),
  (path) => path.replaceAll('/', '%2F'),
  (path) => path.replaceAll('/', '%252F'),
  (path) => path.replaceAll('/', '//'),
  (path) => `/assets/${'../'.repeat(3)}${path.slice(1)}`,
  (path) => `/assets/${'%2e%2e/'.repeat(2)}${path.slice(1)}`,
  (path) => `/assets/${'..%5c'.repeat(2)}${path.slice(1)}`,
  (path, random) => path + '?'.repeat(1 + random.int(3)),
  (path, random) => `${path}?${'a=1&'.repeat(random.int(20))}clientId=x`,
  (path) => `/${encodeURIComponent(path.slice(1))}`,
  (path) => path.replace(/o/g, '%CE%BF'),
  (path) => path.replace(/s/, '%C5%BF'),
  (path) => path.replace(/i/, '%C4%B1'),
]

function at(path: string, random: Random, change: (char: string) => string): string {
  if (path === '') return path
  const i = random.int(path.length)
  return path.slice(0, i) + change(path[i]!) + path.slice(i + 1)
}

function insert(path: string, random: Random, text: string): string {
  const i = random.int(path.length + 1)
  return path.slice(0, i) + text + path.slice(i)
}

function slash(path: string, random: Random, text: string): string {
  const places = [...path.matchAll(/\//g)].map((match) => match.index)
  const i = random.pick(places.length > 0 ? places : [0])
  return path.slice(0, i) + text + path.slice(i + 1)
}

/** A path of ComfyUI's, or one that looks like it, taken some steps away. */
export function mutate(path: string, random: Random, steps = random.int(4)): string {
  let mutated = path
  for (let i = 0; i < steps; i++) mutated = random.pick(MUTATIONS)(mutated, random)
  return mutated
}

/** Routes as they stand and mutated, asked for by those whose role is too small. */
export const paths: Family = (random, world, tag) => {
  const { role, method, target } = random.pick(ROUTE_CASES)
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
