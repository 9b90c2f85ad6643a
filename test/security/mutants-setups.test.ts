import { afterEach, expect, test } from 'vitest'
import { type Any, always, around, isSeen, type Mutant, type Real, restore } from './generator/mutant.ts'
import { PLANS } from './generator/plans.ts'
import { seedOfRun } from './generator/random.ts'
import { SETUPS } from './generator/setups.ts'

type Path = { readonly text: string; readonly segments: readonly string[] }
type Facts = {
  readonly method: string
  readonly target: string
  readonly headers: readonly string[]
  readonly http2: boolean
}
type Forwarded = { readonly forwardedFor?: string; readonly forwardedHost?: string; readonly forwardedProto?: string }
type Row = { readonly method: string; readonly path: string }

const DECIDE = 'proxy/decide'
const first = (list: string | undefined) => list?.split(',').at(0)?.trim()
const isFoldedPath = (pattern: string, path: Path) => path.text.startsWith(pattern.replace(/\/?\*$/, ''))
const lessApi = ({ text, segments }: Path) => ({ text: text.slice(4), segments: segments.slice(1) })

/** The credential of whoever came last stays for whoever comes next. */
function stickyFacts(real: Real) {
  let last: readonly string[] = []
  const requestFacts = (...args: never[]) => {
    const facts = real.requestFacts!(...args) as Facts
    const at = facts.headers.findIndex((name, i) => i % 2 === 0 && /^(?:x-api-key|authorization)$/i.test(name))
    if (at !== -1) {
      last = facts.headers.slice(at, at + 2)
      return facts
    }
    return facts.headers.includes('cookie') ? facts : { ...facts, headers: [...facts.headers, ...last] }
  }
  return { requestFacts }
}

/** Rules that a flag or the protocol brings in, each off in turn, with the set-up in which that matters. */
const MUTANTS: Readonly<Record<string, Mutant & { readonly setup: keyof typeof SETUPS }>> = {
  'HTTP/2 goes round the principal': {
    setup: 'HTTP/2',
    file: `${DECIDE}/decide.ts`,
    weaken: around('decide', (real: Any, facts: Facts, policy: object) =>
      real(facts as never, (facts.http2 ? { ...policy, auth: 'none' } : policy) as never),
    ),
    seenBy: ['paths'],
  },
  'HTTP/2: a stream has the key of the one before it': {
    setup: 'HTTP/2',
    file: 'proxy/wire/facts.ts',
    weaken: stickyFacts,
    seenBy: ['mixes'],
  },
  'HTTP/2: a Host beside the authority is not looked at': {
    setup: 'HTTP/2',
    file: `${DECIDE}/head.ts`,
    weaken: around('readHead', (real: Any, facts: Facts) => {
      const { headers } = facts
      const named = headers.includes(':authority')
      return real({ ...facts, headers: headers.filter((_, i) => !named || headers[i - (i % 2)] !== 'host') } as never)
    }),
    seenBy: ['pseudo'],
  },
  'HTTP/2: of several Cookie fields the first holds': {
    setup: 'HTTP/2',
    file: `${DECIDE}/head.ts`,
    weaken: around('readHead', (real: Any, facts: Facts) => ({
      ...(real(facts as never) as object),
      cookie: facts.headers.find((_, i, all) => i % 2 === 1 && all[i - 1]!.toLowerCase() === 'cookie'),
    })),
    seenBy: ['contradictions'],
  },
  'HTTP/2: a stop is not looked into': {
    setup: 'HTTP/2',
    file: `${DECIDE}/body-rules.ts`,
    weaken: around('checkBody', (_: Any, body: Uint8Array) => Buffer.from(body).toString()),
    seenBy: ['stops', 'mixes'],
  },
  'rule 3: the first hop of X-Forwarded-For is believed': {
    setup: 'behind a proxy',
    file: `${DECIDE}/client.ts`,
    weaken: around('clientAddress', (real: Any, facts: never, head: Forwarded, policy: never) =>
      real(facts, { ...head, forwardedFor: first(head.forwardedFor) } as never, policy),
    ),
    seenBy: ['hops'],
  },
  'rule 3: a hop that is no address is somebody': {
    setup: 'behind a proxy',
    file: `${DECIDE}/client.ts`,
    weaken: around('clientAddress', (real: Any, facts: never, head: Forwarded, policy: never) => {
      const last = head.forwardedFor?.split(',').at(-1)?.trim() ?? ''
      return /^[a-z]/.test(last) ? last : real(facts, head as never, policy)
    }),
    seenBy: ['hops'],
  },
  'rule 3: IPv6 counts by single addresses': {
    setup: 'behind a proxy',
    file: `${DECIDE}/address.ts`,
    weaken: (real) => ({ countedAs: real.formatIp! }),
    seenBy: ['hops'],
  },
  'rule 3: everybody is a trusted proxy': {
    setup: 'behind a proxy that says who it is',
    file: `${DECIDE}/address.ts`,
    weaken: always('trustedProxies', () => true),
    seenBy: ['spoofs'],
  },
  'rule 9: the first X-Forwarded-Host is ours': {
    setup: 'behind a proxy that says who it is',
    file: `${DECIDE}/head.ts`,
    weaken: around('readHead', (real: Any, facts: never) => {
      const head = real(facts) as Forwarded
      return { ...head, forwardedHost: first(head.forwardedHost), forwardedProto: first(head.forwardedProto) }
    }),
    seenBy: ['origins'],
  },
  'rule 9: --public-url is one of several names': {
    setup: 'behind a proxy',
    file: `${DECIDE}/csrf.ts`,
    weaken: around('checkCsrf', (real: Any, asked: { head: { origin?: string; host?: string } }, policy: never) =>
      asked.head.origin?.endsWith(`://${asked.head.host}`) ? undefined : real(asked as never, policy),
    ),
    seenBy: ['origins', 'foreign'],
  },
  'rule 7: minimal is static': {
    setup: '--exempt minimal',
    file: `${DECIDE}/exempt.ts`,
    weaken: around('isOpen', (real: Any, facts: never, path: never, page: never, policy: object) =>
      real(facts, path, page, { ...policy, exempt: 'static' } as never),
    ),
    seenBy: ['headers'],
  },
  'rule 7: --exempt-path opens whatever begins so': {
    setup: '--exempt-path',
    file: `${DECIDE}/routes.ts`,
    weaken: () => ({ matchesPath: isFoldedPath }),
    seenBy: ['exempted'],
  },
  'rule 7: --exempt-path opens the twin too': {
    setup: '--exempt-path',
    file: `${DECIDE}/exempt.ts`,
    weaken: around('isOpen', (real: Any, facts: never, path: Path | undefined, ...rest: never[]) =>
      real(facts, (path?.segments[0] === 'api' ? lessApi(path) : path) as never, ...rest),
    ),
    seenBy: ['exempted'],
  },
  'rule 7: --exempt-path opens every method': {
    setup: '--exempt-path',
    file: `${DECIDE}/exempt.ts`,
    weaken: around('isOpen', (real: Any, facts: object, ...rest: never[]) =>
      real({ ...facts, method: 'GET' } as never, ...rest),
    ),
    seenBy: ['exempted'],
  },
  'rule 7: --exempt-path opens sockets in a folder': {
    setup: '--exempt-path',
    file: `${DECIDE}/exempt.ts`,
    weaken: around('isOpen', (real: Any, facts: object, ...rest: never[]) =>
      real({ ...facts, upgrade: false } as never, ...rest),
    ),
    seenBy: ['sockets'],
  },
  'rule 9: an open socket is open to foreign pages': {
    setup: '--exempt-path',
    file: `${DECIDE}/csrf.ts`,
    weaken: around('checkCsrf', (real: Any, asked: { open: boolean }, policy: never) =>
      asked.open ? undefined : real(asked as never, policy),
    ),
    seenBy: ['sockets'],
  },
  'rule 11: an open socket takes any clientId': {
    setup: '--exempt-path',
    file: 'proxy/state/sockets.ts',
    weaken: around('createSockets', (real: Any, ...args: never[]) => ({
      ...(real(...args) as object),
      owner: () => undefined,
    })),
    seenBy: ['clientIds'],
  },
  'rule 8: --route names whatever begins so': {
    setup: '--route',
    file: `${DECIDE}/routes.ts`,
    weaken: around('findExtraRoute', (_: Any, method: string, path: Path, rows: readonly Row[]) =>
      rows.find((row) => row.method === method && isFoldedPath(row.path, path)),
    ),
    seenBy: ['routed'],
  },
  'rule 8: --route names every method': {
    setup: '--route',
    file: `${DECIDE}/routes.ts`,
    weaken: around('findExtraRoute', (real: Any, _: never, ...rest: never[]) => real('GET' as never, ...rest)),
    seenBy: ['routed'],
  },
  'rule 8: --route names the twin too': {
    setup: '--route',
    file: `${DECIDE}/routes.ts`,
    weaken: around('findExtraRoute', (real: Any, method: never, path: Path, rows: never) =>
      real(method, (path.segments[0] === 'api' ? lessApi(path) : path) as never, rows),
    ),
    seenBy: ['routed'],
  },
  'rule 8: all below /v2 is a table': {
    setup: 'Manager v4',
    file: `${DECIDE}/routes.ts`,
    weaken: around('findRoute', (real: Any, method: string, path: Path) => {
      const found = real(method as never, path as never) as { mark?: string } | undefined
      return found?.mark === 'manager' && method === 'GET' ? { ...found, role: 'viewer' } : found
    }),
    seenBy: ['managed'],
  },
  "rule 8: Manager's folders are lists of names": {
    setup: 'Manager v3',
    file: `${DECIDE}/routes.ts`,
    weaken: around('findRoute', (real: Any, method: never, path: Path) => {
      const found = real(method, path as never) as { mark?: string } | undefined
      return found?.mark === 'manager' && path.segments.length > 2 ? { ...found, role: 'user' } : found
    }),
    seenBy: ['managed'],
  },
  'rule 10: comfy_user is as good as comfy-user': {
    setup: '--comfy-user pass',
    file: `${DECIDE}/request-headers.ts`,
    weaken: around('requestHeaders', (real: Any, facts: Facts, ...rest: never[]) => [
      ...(real(facts as never, ...rest) as string[]),
      ...facts.headers.filter((_, i, all) => all[i - (i % 2)]!.toLowerCase() === 'comfy_user'),
    ]),
    seenBy: ['headers'],
  },
  'rule 13: whom --enable-cors-header names is ours': {
    setup: '--enable-cors-header ORIGIN',
    file: `${DECIDE}/csrf.ts`,
    weaken: around(
      'checkCsrf',
      (real: Any, asked: { head: { origin?: string } }, policy: { corsOrigin?: string | undefined }) =>
        asked.head.origin === policy.corsOrigin ? undefined : real(asked as never, policy as never),
    ),
    seenBy: ['foreign'],
  },
  'rule 13: under --enable-cors-header * all are ours': {
    setup: '--enable-cors-header *',
    file: `${DECIDE}/csrf.ts`,
    weaken: around('checkCsrf', (real: Any, asked: never, policy: { corsOrigin?: string | undefined }) =>
      policy.corsOrigin === '*' ? undefined : real(asked, policy as never),
    ),
    seenBy: ['foreign'],
  },
  'a request brings a fault of ours to light': {
    faulty: true,
    setup: 'a unix socket',
    file: `${DECIDE}/decide.ts`,
    weaken: around('decide', (real: Any, facts: Facts, policy: never) =>
      facts.target.includes('%2e') ? undefined : real(facts as never, policy),
    ),
    seenBy: ['paths'],
  },
}

const seed = seedOfRun()

afterEach(restore)

test.each(Object.keys(MUTANTS))('the judge sees it where %s', { timeout: 60_000 }, async (name) => {
  const mutant = MUTANTS[name]!
  const plan = PLANS[mutant.setup].filter(([family]) => mutant.seenBy.includes(family))
  expect(plan.map(([family]) => family)).toEqual(expect.arrayContaining([...mutant.seenBy]))
  expect(await isSeen(mutant, plan, SETUPS[mutant.setup], seed), `COMFY_AUTH_SEED=${seed}`).toBe(true)
})
