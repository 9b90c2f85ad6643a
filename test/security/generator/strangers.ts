import { bytesOf, type Family, type Header, plain, raw } from './case.ts'
import { basic } from './identity.ts'

const PLACES: readonly (readonly [string, string])[] = [
  ['GET', '/queue'],
  ['GET', '/view?filename=a.png'],
  ['GET', '/api/userdata/a.json'],
  ['GET', '/internal/logs'],
  ['GET', '/manager/reboot'],
  ['GET', '/easyuse/do'],
  ['POST', '/prompt'],
  ['POST', '/free'],
  ['POST', '/interrupt'],
  ['POST', '/api/settings/a'],
  ['DELETE', '/userdata/a.json'],
  ['GET', '/'],
  ['GET', '/index.html'],
  ['GET', '/ws'],
]

/** A foreign page's request, with what the browser sends along by itself: the cookie, or Basic. */
export const foreign: Family = (random, world, tag) => {
  const [method, target] = random.pick(PLACES)
  const port = world.door.port
  const [scheme, other] = world.origin.startsWith('https:') ? ['https', 'http'] : ['http', 'https']
  const sites = [
    'http://evil.example',
    'https://evil.example',
    'https://app.example',
    `${scheme}://evil.example:${port}`,
    `${scheme}://127.0.0.1:${port + 1}`,
    `${scheme}://127.0.0.1:${port}`,
    `${scheme}://localhost:${port}`,
    `${other}://127.0.0.1:${port}`,
    `${other}://${world.host}`,
    `${scheme}://${world.host}.evil.example`,
    `${scheme}://127.0.0.1.evil.example:${port}`,
    `${scheme}://127.0.0.1:${port}@evil.example`,
    `${scheme}://evil.example/127.0.0.1:${port}`,
    `${scheme}://127.0.0.1:${port}.evil.example`,
    `${scheme}://127.0.0.1`,
    'null',
    'file://',
    `ftp://127.0.0.1:${port}`,
    'chrome-extension://abc',
  ]
  const site = random.pick(sites.filter((text) => text !== world.origin))
  const headers: Header[] = [
    random.chance(0.75) ? ['Cookie', world.cookies.admin] : ['Authorization', basic(world.keys.admin)],
  ]
  const kind = random.int(6)
  if (kind === 0) headers.push(['Origin', site])
  // A browser names the page in its Referer with a path
  else if (kind === 1)
    headers.push(['Referer', site === 'null' || site === 'file://' ? 'http://evil.example/' : `${site}/page`])
  else if (kind === 2)
    headers.push(['Sec-Fetch-Site', random.pick(['cross-site', 'same-site', 'CROSS-SITE', 'x'])], ['Origin', site])
  else if (kind === 3)
    headers.push(
      ['Sec-Fetch-Site', random.pick(['cross-site', 'same-site'])],
      ['Sec-Fetch-Mode', 'no-cors'],
      ['Sec-Fetch-Dest', 'image'],
    )
  else if (kind === 4)
    headers.push(['Origin', 'null'], ['Sec-Fetch-Site', random.pick(['same-origin', 'none', 'cross-site'])])
  else headers.push(['Origin', world.origin], ['Origin', site])
  if (random.chance(0.2)) headers.push(['Sec-Fetch-Mode', 'navigate'], ['Sec-Fetch-Dest', 'document'])
  if (target === '/ws')
    headers.push(
      ['Connection', 'Upgrade'],
      ['Upgrade', 'websocket'],
      ['Sec-WebSocket-Version', '13'],
      ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
    )
  const body = method === 'POST' ? '{}' : ''
  const bytes = bytesOf({ who: 'foreign', method, target, headers, body }, tag('foreign'), world)
  return raw('foreign', bytes, random, target === '/ws' ? [] : [method])
}

const HOSTS = (port: number): readonly (string | undefined)[] => [
  undefined,
  '',
  ' ',
  'evil.example',
  `evil.example:${port}`,
  `127.0.0.1.evil.example:${port}`,
  `localhost.evil.example:${port}`,
  `127.0.0.1:${port}, evil.example`,
  `127.0.0.1:${port}@evil.example`,
  `evil.example@127.0.0.1:${port}`,
  `127.0.0.1:${port}/x`,
  `127.0.0.1:${port}#evil.example`,
  `127.0.0.1:${port}?x`,
  `127.0.0.1\t:${port}`,
  `http://127.0.0.1:${port}`,
  '192.168.0.1',
  '0.0.0.0',
  '[::ffff:127.0.0.1]',
  '[::1',
  '127.0.0.1:',
  '127.0.0.1:x',
  '127.0.0.1:99999',
  '127.1',
  '2130706433',
  '0x7f.1',
  '0177.0.0.1',
  'localhost..',
  '.localhost',
  'loc%61lhost',
  '\xe4.localhost',
]

/** DNS rebinding and Hosts that two readers read differently: refused whatever key stands beside them, on open paths too. */
export const hosts: Family = (random, world, tag) => {
  const host = random.pick(HOSTS(world.door.port))
  const headers: Header[] = [['X-API-Key', world.keys.admin]]
  // HTTP/2 may say it twice, where it says the same
  const again = world.wire === 'http2' ? `${world.host}0` : world.host
  if (random.chance(0.15)) headers.push(['Host', random.pick(['evil.example', again])])
  const doubled = headers.length > 1
  const target = random.pick(['/queue', '/', '/assets/a.js', '/internal/logs', '/ws'])
  const draft = {
    who: 'nothing',
    method: random.pick(['GET', 'POST']),
    target,
    headers,
    host: doubled ? world.host : host,
  } as const
  return raw('hosts', bytesOf(draft, tag('nothing'), world), random)
}

/** A script that would see every request of the page may not be one of ComfyUI's. */
export const serviceWorkers: Family = (random, world, tag) =>
  plain(
    'serviceWorkers',
    {
      who: 'nothing',
      method: 'GET',
      target: random.pick(['/assets/a.js', '/view?filename=a.js', '/extensions/a/b.js', '/userdata/a.js']),
      headers: [
        [random.pick(['Service-Worker', 'service-worker']), 'script'],
        ['X-API-Key', world.keys.admin],
      ],
    },
    tag,
    world,
  )

/** Heads that are too long, too many, or never end; and what stands behind the place where a reader might stop. */
export const heads: Family = (random, world, tag) => {
  const key: Header = ['X-API-Key', world.keys.admin]
  const many = (count: number): Header[] => Array.from({ length: count }, (_, i) => [`X-${i}`, 'a'] as const)
  const [who, target, headers] = random.pick<readonly ['nothing' | 'nobody', string, readonly Header[]]>([
    ['nothing', '/queue', [key, ['X-Long', 'a'.repeat(65_536)]]],
    ['nothing', '/queue', [['X-Long', 'a'.repeat(33_000)], key]],
    ['nothing', `/queue?${'a'.repeat(40_000)}`, [key]],
    ['nothing', '/queue', [key, ...many(3_000), key]],
    ['nothing', '/queue', [key, ...many(1_200), ['X-Api-Key', world.keys.viewer]]],
    ['nobody', `/assets/${'../'.repeat(500)}queue`, []],
    ['nobody', `/queue${'?'.repeat(5_000)}`, []],
    ['nobody', '/queue', many(1_500)],
    ['nobody', `/${'%2e%2e/'.repeat(900)}queue`, []],
  ])
  const whole = bytesOf({ who, method: 'GET', target, headers }, tag(who), world)
  // Half a head is no request, however good its key
  if (random.chance(0.8)) return raw('heads', whole, random)
  const half = bytesOf({ who: 'nothing', method: 'GET', target: '/queue', headers: [key] }, tag('nothing'), world)
  const length = world.wire === 'http2' ? Math.floor(half.length / 4) : half.length - 1 - random.int(3)
  return { ...raw('heads', half.subarray(0, length), random), alone: true }
}
