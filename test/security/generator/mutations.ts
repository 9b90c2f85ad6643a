import type { Random } from './random.ts'

/** Of another script or form, that somebody may fold into a Latin letter; and forms of UTF-8 that are none. */
const ALIKE: Readonly<Record<string, readonly string[]>> = {
  a: ['%D0%B0', '%EF%BD%81', '%C1%A1', '%E0%81%A1'],
  e: ['%D0%B5', '%EF%BD%85', '%C3%A9', 'e%CC%81'],
  i: ['%C4%B1', '%EF%BD%89', '%D1%96'],
  k: ['%E2%84%AA', '%EF%BD%8B'],
  o: ['%CE%BF', '%D0%BE', '%EF%BD%8F'],
  q: ['%EF%BD%91', '%C1%B1'],
  s: ['%C5%BF', '%EF%BD%93', '%D1%95'],
  u: ['%EF%BD%95', '%C1%B5', '%F0%81%81%B5'],
  w: ['%EF%BD%97', 'vv', '%C9%AF'],
  '/': ['%C0%AF', '%E0%80%AF', '%F0%80%80%AF', '%E2%88%95', '%E2%81%84', '%EF%BC%8F', '%ED%A0%80'],
  '.': ['%C0%AE', '%E0%80%AE', '%EF%BC%8E', '%E2%80%A4'],
  _: ['%EF%BC%BF', '-'],
}

/** At the end of a segment: what Windows and some servers take off again. */
const TAILS = [
  '.',
  '..',
  '%20',
  ' ',
  '%2e',
  '::$DATA',
  ':x',
  '%3A%3A$INDEX_ALLOCATION',
  ';jsessionid=1',
  ';.css',
  '~1',
  '%E2%80%8B',
  '%C2%AD',
  '%EF%BB%BF',
  ',',
  '&x',
  '=',
  '%26',
  '%3d',
  '*',
  '$',
  '!',
  '@',
]

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
  (path, random) => at(path, random, (char) => random.pick(ALIKE[char] ?? ALIKE['/']!)),
  (path, random) => path.replace(/[a-z]/g, (char) => (ALIKE[char] ? random.pick(ALIKE[char]) : char)),
  (path, random) => behindSegment(path, random, random.pick(TAILS)),
  (path, random) => insert(path, random, hex(random.pick([...'/.\\;%?#:']))),
  (path, random) =>
    path
      .split('/')
      .map((segment, i) => (i === 0 ? '' : '/') + segment + (random.chance(0.5) ? ';a=1' : ''))
      .join(''),
  (path, random) =>
    [...path].map((char) => (char !== '/' && random.chance(0.3) ? hex(char, random.chance(0.5)) : char)).join(''),
  (path, random) =>
    `${path}/${random.pick(['.', '..', '%2e', '%2e%2e', '.%00', '..;', '%252e%252e', ' ', '%20', '*'])}`,
  (path, random) => path.replaceAll('/', () => random.pick(['/', '//', '/./', '\\', '%5c', '/%20/'])),
  (path) => `C:${path}`,
  (path) => `/C:${path}`,
  (path) => `/.${path}`,
  (path) => `//127.0.0.1${path}`,
  (path) => path.replace(/^\/(?:api\/)?/, '/api/api/'),
  (path) => path.replace('/', '/%61pi/'),
  (path) => path.replace('/', '/API/'),
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

function behindSegment(path: string, random: Random, text: string): string {
  const ends = [...path.matchAll(/[^/](?=\/|$)/g)].map((match) => match.index + 1)
  const i = random.pick(ends.length > 0 ? ends : [path.length])
  return path.slice(0, i) + text + path.slice(i)
}

/** A path of ComfyUI's, or one that looks like it, taken some steps away. */
export function mutate(path: string, random: Random, steps = random.int(4)): string {
  let mutated = path
  for (let i = 0; i < steps; i++) mutated = random.pick(MUTATIONS)(mutated, random)
  return mutated
}
