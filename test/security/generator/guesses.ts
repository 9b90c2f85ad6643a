import { bytesOf, type Draft, type Family, type Header, plain, raw } from './case.ts'
import { basic, signed, subprotocol, withPair } from './identity.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

const PLACES = [
  '/queue',
  '/api/queue',
  '/history',
  '/view?filename=a.png',
  '/internal/logs',
  '/',
  '/object_info',
  '/api/jobs',
  '/userdata?dir=x',
  '/ws',
]

/** A secret that opens nothing, made from one that does. */
function spoilt(random: Random, world: World): string {
  const key = random.pick(Object.values(world.keys))
  const i = 6 + random.int(key.length - 6)
  const other = key[i] === 'x' ? 'y' : 'x'
  return random.pick([
    key.slice(0, -1),
    `${key}0`,
    key.slice(0, i) + other + key.slice(i + 1),
    key.toUpperCase(),
    key.slice(6),
    `${key},${key}`,
    `"${key}"`,
    Buffer.from(key).toString('base64'),
    Buffer.from(key).toString('hex'),
    `${key}\xa0`,
    `${world.weak}!`,
    world.weak.slice(1),
    world.weak.toUpperCase(),
    'undefined',
    'null',
    'true',
    '*',
    '{}',
    "' OR 1=1 --",
    `comfy_${'0'.repeat(49)}`,
    `comfys_${'0'.repeat(43)}`,
    `comfyt_${'0'.repeat(43)}`,
    world.deadKey,
    world.deadCookie.split('=')[1]!,
    ...Object.values(world.tokens),
    ...Object.values(world.cookies).map((cookie) => cookie.split('=')[1]!),
    `guess-${random.int(1e9)}`,
    '__proto__',
    'constructor',
  ])
}

const cookieName = (world: World) => world.cookies.admin.split('=')[0]!

/** Wrong secrets on every carrier, each guess from an address of its own. */
export const guesses: Family = (random, world, tag) => {
  const bad = spoilt(random, world)
  const name = cookieName(world)
  const encoded = encodeURIComponent(bad.replaceAll('\xa0', ' '))
  // A session's own secret is good as its cookie
  const inCookie =
    bad.startsWith('comfys_') && bad !== `comfys_${'0'.repeat(43)}` && bad !== world.deadCookie.split('=')[1]
  const [pair, headers] = random.pick<readonly [string, readonly Header[]]>([
    ['', [['Authorization', `Bearer ${bad}`]]],
    ['', [['Authorization', bad]]],
    ['', [['Authorization', `Token ${bad}`]]],
    ['', [['Authorization', basic(bad)]]],
    ['', [['Authorization', basic('', bad)]]],
    ['', [['X-API-Key', bad]]],
    [`api_key=${encoded}`, []],
    [`token=${encoded}`, []],
    [`api%5fkey=${encoded}`, []],
    ['', [['Sec-WebSocket-Protocol', subprotocol(bad)]]],
    ['', [['Cookie', inCookie ? `${name}=${bad}0` : `${name}=${bad}`]]],
    ['', [['Cookie', `a=b;${name}="${bad}"`]]],
    [`token=${encoded}`, [['X-API-Key', `${bad}~2`]]],
    [
      '',
      [
        ['Authorization', `Bearer ${bad}`],
        ['Cookie', `${name}=comfys_${'1'.repeat(43)}`],
      ],
    ],
  ])
  const target = random.pick(PLACES)
  const draft: Draft = {
    who: 'nobody',
    method: random.pick(['GET', 'GET', 'HEAD', 'POST']),
    target: pair ? withPair(target, pair) : target,
    headers,
  }
  return plain('guesses', draft, tag, world, world.freshAddress())
}

/** Ways to bring a live key that are no carriers. */
const ELSEWHERE = (key: string, cookie: string): readonly (readonly [string, readonly Header[]])[] => [
  [`apikey=${key}`, []],
  [`API_KEY=${key}`, []],
  [`key=${key}`, []],
  [`access_token=${key}`, []],
  [`api_key[]=${key}`, []],
  [`x=1;api_key=${key}`, []],
  [`clientId=api_key=${key}`, []],
  ['', [['Proxy-Authorization', `Bearer ${key}`]]],
  ['', [['X-Api_Key', key]]],
  ['', [['X_API_KEY', key]]],
  ['', [['Api-Key', key]]],
  ['', [['X-Auth-Token', key]]],
  ['', [['Authorization', key]]],
  ['', [['Authorization', `Bearer${key}`]]],
  ['', [['Authorization', `Bearer\t${key}`]]],
  ['', [['Authorization', `Digest username="me", response="${key}"`]]],
  ['', [['Authorization', basic('', key)]]],
  ['', [['Authorization', `Basic ${Buffer.from(key).toString('base64')}`]]],
  ['', [['X-Authorization', `Bearer ${key}`]]],
  ['', [['Cookie', `api_key=${key}`]]],
  ['', [['Cookie', `comfyui_api_key=${key}`]]],
  ['', [['Cookie', cookie.startsWith('__Host-') ? cookie.slice('__Host-'.length) : `__Host-${cookie}`]]],
  ['', [['Cookie', cookie.toUpperCase()]]],
  ['', [['Cookie', cookie.replace('=', '_=')]]],
  ['', [['Cookie2', cookie]]],
  ['', [['X-Cookie', cookie]]],
  ['', [['Referer', `/?api_key=${key}`]]],
  ['', [['X-Forwarded-User', 'admin']]],
  [
    '',
    [
      ['X-Remote-User', 'admin'],
      ['X-Auth-Request-User', 'admin'],
      ['X-Forwarded-For', '127.0.0.1'],
    ],
  ],
]

export const elsewhere: Family = (random, world, tag) => {
  const [pair, headers] = random.pick(
    ELSEWHERE(random.pick(Object.values(world.keys)), random.pick(Object.values(world.cookies))),
  )
  const target = random.pick(PLACES)
  return plain(
    'elsewhere',
    { who: 'nobody', method: 'GET', target: pair ? withPair(target, pair) : target, headers },
    tag,
    world,
    world.freshAddress(),
  )
}

/** A key with itself or another of its kind beside it: a contradiction that no key opens. */
export const contradictions: Family = (random, world, tag) => {
  const { viewer, user, admin } = world.keys
  // HTTP/2 may send a cookie a field
  const cookieFields = (other: Header): readonly Header[] =>
    world.wire === 'http2'
      ? [
          ['X-API-Key', admin],
          ['X-Api-Key', ''],
        ]
      : [['Cookie', world.cookies.admin], other]
  const [target, headers] = random.pick<readonly [string, readonly Header[]]>([
    [
      '/queue',
      [
        ['Authorization', `Bearer ${admin}`],
        ['authorization', `Bearer ${admin}`],
      ],
    ],
    [
      '/queue',
      [
        ['Authorization', `Bearer ${admin}`],
        ['Authorization', `Bearer ${viewer}`],
      ],
    ],
    [
      '/queue',
      [
        ['X-API-Key', admin],
        ['X-Api-Key', admin],
      ],
    ],
    [
      '/queue',
      [
        ['X-API-Key', admin],
        ['X-API-Key', ''],
      ],
    ],
    ['/queue', cookieFields(['Cookie', 'a=b'])],
    // A storage token of another session than the cookie's, where there are such tokens
    [
      '/queue',
      [
        ['Cookie', world.cookies.admin],
        ['Authorization', `Bearer ${world.tokens.viewer || world.keys.viewer}`],
      ],
    ],
    [
      '/queue',
      [
        ['Authorization', `Bearer ${admin}`],
        ['X-API-Key', viewer],
      ],
    ],
    [
      '/queue',
      [
        ['Authorization', basic(viewer)],
        ['X-API-Key', admin],
      ],
    ],
    [
      '/queue',
      [
        ['Cookie', world.cookies.viewer],
        ['X-API-Key', admin],
      ],
    ],
    [`/queue?api_key=${admin}&token=${user}`, []],
    [`/queue?api_key=${admin}&api_key=${admin}`, []],
    [`/queue?api_key=${admin}&api%5Fkey=${viewer}`, []],
    [`/queue?token=${viewer}`, [['Authorization', `Bearer ${user}`]]],
    ['/queue', [['Sec-WebSocket-Protocol', `${subprotocol(admin)}, ${subprotocol(viewer)}`]]],
    ['/queue', [['Cookie', `${world.cookies.admin}; ${world.cookies.viewer}`]]],
    [
      '/queue',
      [
        ['Cookie', `${world.cookies.user}; ${world.cookies.admin}`],
        ['Origin', world.origin],
      ],
    ],
  ])
  return raw(
    'contradictions',
    bytesOf({ who: 'nothing', method: random.pick(['GET', 'HEAD']), target, headers }, tag('nothing'), world),
    random,
  )
}

/** Twelve wrong guesses, then the right one: from this address it comes too late. */
export const tooManyGuesses: Family = (random, world, tag) => {
  const carry = (secret: string): Draft =>
    random.pick<Draft>([
      { who: 'nobody', method: 'GET', target: '/queue', headers: [['Authorization', `Bearer ${secret}`]] },
      { who: 'nobody', method: 'GET', target: '/queue', headers: [['X-API-Key', secret]] },
      { who: 'nobody', method: 'GET', target: `/queue?token=${secret}` },
      { who: 'nobody', method: 'GET', target: '/history', headers: [['Authorization', basic(secret)]] },
    ])
  // Another address in each of its headers makes no other client of it
  const guess = (secret: string): Draft => {
    const draft = carry(secret)
    const spoof: Header[] = ['X-Forwarded-For', 'X-Real-IP', 'Forwarded'].map((name) => [
      name,
      `${name === 'Forwarded' ? 'for=' : ''}10.${random.int(256)}.${random.int(256)}.1`,
    ])
    return { ...draft, headers: [...(draft.headers ?? []), ...spoof] }
  }
  const drafts = Array.from({ length: 12 }, (_, i) => guess(`wrong-${i}-${random.int(1e6)}`))
  drafts.push(guess(world.weak))
  return {
    family: 'tooManyGuesses',
    pieces: drafts.map((draft) => bytesOf(draft, tag('nobody'), world)),
    paced: true,
    methods: drafts.map(({ method }) => method),
    shared: false,
    from: world.freshAddress(),
  }
}

const TRICKS = (random: Random): readonly Header[] => {
  const path = random.pick(['/assets/a.js', '/health', '/auth_login.html', '/'])
  return [
    ['X-Original-URL', path],
    ['X-Rewrite-URL', path],
    ['X-Forwarded-Uri', path],
    ['X-Forwarded-Prefix', '/assets'],
    ['X-Forwarded-For', '127.0.0.1'],
    ['X-Forwarded-Host', 'evil.example'],
    ['X_Forwarded_For', '127.0.0.1'],
    ['Forwarded', 'for=127.0.0.1;host=evil.example'],
    ['X-Real-IP', '127.0.0.1'],
    ['X-Client-IP', '127.0.0.1'],
    ['Comfy-User', 'default'],
    ['comfy_user', 'default'],
    ['Connection', 'Host, Authorization, X-API-Key, Cookie, X-Drop'],
    ['Connection', 'close, X-Drop'],
    ['Connection', 'keep-alive'],
    ['Keep-Alive', 'timeout=5'],
    ['TE', 'trailers'],
    ['Trailer', 'Authorization'],
    ['Expect', '100-continue'],
    ['Max-Forwards', '0'],
    ['Upgrade', 'h2c'],
    ['HTTP2-Settings', 'AAMAAABkAAQAoAAAAAIAAAAA'],
    ['Range', 'bytes=0-1'],
    ['Purpose', 'prefetch'],
    ['Via', '1.1 x'],
    ['Access-Control-Request-Method', 'GET'],
    ['Accept', 'text/html'],
    ['Sec-Fetch-Site', 'same-origin'],
  ]
}

/** Headers by which some proxies take another path or another caller, on open, allowed and forbidden requests. */
export const headers: Family = (random, world, tag) => {
  const who = random.pick(['nobody', 'nobody', 'viewer', 'user', 'admin'] as const)
  const target = random.pick([
    '/assets/a.js',
    '/queue',
    '/internal/logs',
    '/free',
    '/ws',
    '/',
    '/userdata/a.json',
    '/api/users',
  ])
  const tricks = TRICKS(random)
  const chosen = Array.from({ length: 1 + random.int(3) }, () => random.pick(tricks))
  const draft = signed(
    {
      who,
      method: random.pick(['GET', 'GET', 'POST', 'OPTIONS']),
      target,
      headers: [...chosen, ['X-Drop', '1'], ['Connection', 'X-Drop']],
    },
    random,
    world,
  )
  return raw('headers', bytesOf(draft, tag(who), world), random)
}
