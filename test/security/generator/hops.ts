import { bytesOf, type Draft, type Family, type Header, plain, raw } from './case.ts'
import { basic, signed } from './identity.ts'
import type { Random } from './random.ts'

/** The address of a client of the trusted proxy, in the ways in which proxies write it, behind whatever the client said itself. */
function throughProxy(client: string, random: Random): readonly Header[] {
  const v6 = client.includes(':')
  const own = random.pick(
    v6
      ? [client, `[${client}]`, `[${client}]:4711`, client.toUpperCase(), ` ${client} `]
      : [client, `${client}:4711`, `[::ffff:${client}]`, `[::ffff:${client}]:80`, `::ffff:${client}`, ` ${client}\t`],
  )
  const said = random.pick([
    '',
    `10.${random.int(256)}.${random.int(256)}.9, `,
    `10.${random.int(256)}.1.9,10.1.1.${random.int(256)},`,
    `2001:db8:${random.int(9_999)}::1, `,
    'unknown, ',
    '_hidden, ',
    ', ,',
    `127.0.0.1, 10.0.${random.int(256)}.1, `,
    `"10.${random.int(256)}.0.1", `,
  ])
  const chain = `${own}${random.pick(['', ', 127.0.0.1', ', ::ffff:127.0.0.1', ',127.0.0.1:80'])}`
  const name = random.pick(['X-Forwarded-For', 'x-forwarded-for', 'X-FORWARDED-FOR'])
  if (said === '' || random.chance(0.6)) return [[name, said + chain]]
  return [
    [name, said.replace(/,\s*$/, '')],
    [name, chain],
  ]
}

/** Not to be believed, wherever it stands: other names for the same, in other spellings. */
function hearsay(random: Random): readonly Header[] {
  const address = `10.${random.int(256)}.${random.int(256)}.1`
  return random.pick<readonly Header[]>([
    [],
    [['X-Real-IP', address]],
    [['Forwarded', `for=${address}`]],
    [['X_Forwarded_For', address]],
    [['X-Client-IP', address]],
    [['CF-Connecting-IP', address]],
    [['True-Client-IP', address]],
    [['X-Forwarded', `for=${address}`]],
  ])
}

/** Twelve wrong guesses of one client of the trusted proxy, then the right one, each under another history. */
export const hops: Family = (random, world, tag) => {
  const fresh = world.freshAddress().split('.').slice(1)
  const kind = random.int(4)
  const v6 = `2001:db8:${Number(fresh[0]).toString(16)}:${((Number(fresh[1]) << 8) | Number(fresh[2])).toString(16)}`
  const client = () => (kind === 0 ? `${v6}:${random.int(9_999)}::${1 + random.int(999)}` : `10.${fresh.join('.')}`)
  const guess = (secret: string): Draft => {
    const carrier = random.pick<Header>([
      ['Authorization', `Bearer ${secret}`],
      ['X-API-Key', secret],
      ['Authorization', basic(secret)],
    ])
    // What is no address ends the walk at the proxy, whatever it is
    const broken: Header = [
      'X-Forwarded-For',
      `10.0.0.${random.int(256)}, ${random.pick(['unknown', '10.1', 'x'])}${random.int(1e6)}`,
    ]
    const forwarded = kind === 1 ? [broken] : throughProxy(client(), random)
    return { who: 'nobody', method: 'GET', target: '/queue', headers: [...forwarded, ...hearsay(random), carrier] }
  }
  const drafts = Array.from({ length: 12 }, (_, i) => guess(`wrong-${i}-${random.int(1e6)}`))
  drafts.push(guess(world.weak))
  return {
    family: 'hops',
    pieces: drafts.map((draft) => bytesOf(draft, tag('nobody'), world)),
    paced: true,
    methods: drafts.map(({ method }) => method),
    shared: false,
  }
}

/** What only a trusted proxy may say, from whoever is none: it changes nothing and does not go up. */
export const spoofs: Family = (random, world, tag) => {
  const { mark } = world.rules
  const said: readonly Header[] = [
    ['X-Forwarded-For', mark],
    ['X-Forwarded-For', `127.0.0.1, ${mark}`],
    ['X-Forwarded-Host', mark],
    ['X-Forwarded-Proto', mark],
    ['X-Forwarded-Server', mark],
    ['X-Forwarded-Port', mark],
    ['X-Forwarded-Prefix', `/${mark}`],
    ['X-Forwarded-User', mark],
    ['X-Real-IP', mark],
    ['Forwarded', `for=127.0.0.1;host=${mark};proto=https`],
    ['x-forwarded_for', mark],
    ['X_Real_IP', mark],
    ['comfy_user', mark],
  ]
  const headers = Array.from({ length: 1 + random.int(3) }, () => random.pick(said))
  const who = random.pick(['nobody', 'viewer', 'user'] as const)
  const target = random.pick(['/queue', '/internal/logs', '/assets/a.js', '/api/settings', '/free'])
  const draft = signed({ who, method: random.pick(['GET', 'POST']), target, headers }, random, world)
  return plain('spoofs', draft, tag, world, world.freshAddress())
}

/** Foreign pages that try to be ours by what they say of the host and the scheme: from anyone, and in front of what a trusted proxy adds. */
export const origins: Family = (random, world, tag) => {
  const { mark } = world.rules
  const trusted = random.chance(0.5)
  const [ours, theirs] = world.origin.startsWith('https:') ? ['https', 'http'] : ['http', 'https']
  const [origin, said] = random.pick<readonly [string, readonly Header[]]>([
    [`http://${mark}`, [['X-Forwarded-Host', mark]]],
    [
      `https://${mark}`,
      [
        ['X-Forwarded-Host', mark],
        ['X-Forwarded-Proto', 'https'],
      ],
    ],
    [`http://${mark}`, [['X-Forwarded-Host', `${mark}, ${mark}`]]],
    [`https://${mark}`, [['Forwarded', `host=${mark};proto=https`]]],
    [`http://${mark}`, [['X-Original-Host', mark]]],
    [`http://${mark}`, [['X_Forwarded_Host', mark]]],
    [`http://${mark}`, [['X-Host', mark]]],
    [`${theirs}://${world.host}`, [['X-Forwarded-Proto', theirs!]]],
    [`${theirs}://${world.host}`, [['X-Forwarded-Proto', `${theirs}, ${theirs}`]]],
    [`${theirs}://${world.host}`, [['X-Forwarded-Ssl', 'on']]],
    [`${theirs}://${world.host}`, [['Front-End-Https', 'on']]],
    [`${theirs}://${world.host}`, [['X-Url-Scheme', theirs!]]],
  ])
  // Last stands what the proxy itself saw
  const seen: readonly Header[] = [
    ['X-Forwarded-Host', world.host],
    ['X-Forwarded-Proto', ours!],
  ]
  const headers: Header[] = [...said, ...(trusted ? seen : []), ['Cookie', world.cookies.admin]]
  headers.push([random.pick(['Origin', 'Referer']), origin])
  const [method, target] = random.pick<readonly [string, string]>([
    ['GET', '/queue'],
    ['POST', '/free'],
    ['POST', '/prompt'],
    ['GET', '/internal/logs'],
    ['GET', '/easyuse/do'],
  ])
  const bytes = bytesOf(
    { who: 'foreign', method, target, headers, body: method === 'POST' ? '{}' : '' },
    tag('foreign'),
    world,
  )
  return { ...raw('origins', bytes, random, [method]), ...(!trusted && { from: world.freshAddress() }) }
}
