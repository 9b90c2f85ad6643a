import type { Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { FAMILIES } from './generator/families.ts'
import { type Any, always, around, isSeen, type Mutant, type Real, restore } from './generator/mutant.ts'
import { seedOfRun } from './generator/random.ts'

const isRefused = (value: unknown) =>
  typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'refusal'

const VIEWER = {
  name: 'x',
  keyId: 'x',
  label: 'x',
  role: 'viewer',
  carrier: 'bearer',
  sessionId: undefined,
  ambient: false,
}

/** Sends on what the client sends, as it comes. */
class EagerUpgrade {
  readonly #client: Socket
  readonly #decision: { target: string; headers: string[] }
  readonly #upstream: Socket

  constructor(
    client: Socket,
    _facts: unknown,
    decision: { target: string; headers: string[] },
    services: { upstream: { dial(): Socket } },
  ) {
    this.#client = client
    this.#decision = decision
    this.#upstream = services.upstream.dial()
  }

  start(_key: string, head: Buffer): void {
    const { target, headers } = this.#decision
    const lines = headers.map((text, i) => (i % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join('')
    this.#upstream.write(`GET ${target} HTTP/1.1\r\n${lines}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`)
    this.#upstream.write(head)
    this.#upstream.on('error', () => {}).pipe(this.#client.on('error', () => {}))
    this.#client.pipe(this.#upstream)
  }

  close(): void {
    this.#client.destroy()
  }
}

const DECIDE = 'proxy/decide'
const MUTANTS: Readonly<Record<string, Mutant>> = {
  'rule 1: a `#` passes': {
    file: `${DECIDE}/target.ts`,
    weaken: around('parseTarget', (real: Any, raw: string) => {
      const cut = raw.indexOf('#')
      if (cut === -1) return real(raw as never)
      const target = real(raw.replaceAll('#', '_') as never)
      return isRefused(target) ? target : { ...(target as object), withoutKey: raw }
    }),
    seenBy: ['targets', 'paths'],
  },
  'rule 1: dot segments are resolved before they are looked at': {
    file: `${DECIDE}/target.ts`,
    weaken: around('parseTarget', (real: Any, raw: string) => {
      const target = real(new URL(raw.split('#')[0]!, 'http://x').pathname as never)
      return isRefused(target) ? target : { ...(target as object), withoutKey: raw }
    }),
    seenBy: ['paths'],
  },
  'rule 1: the user files are decoded once': {
    file: `${DECIDE}/encoding.ts`,
    weaken: () => ({ decodeAgain: (text: string) => text }),
    seenBy: ['userFiles'],
  },
  'rule 2: any Host is ours': { file: `${DECIDE}/host.ts`, weaken: always('checkHost', undefined), seenBy: ['hosts'] },
  'rule 3: every client names its own address': {
    file: `${DECIDE}/client.ts`,
    weaken: around(
      'clientAddress',
      (real: Any, ...args: never[]) => (args[1] as unknown as { forwardedFor?: string }).forwardedFor ?? real(...args),
    ),
    seenBy: ['tooManyGuesses'],
  },
  'rule 4: guesses are not counted': {
    file: 'proxy/state/throttle.ts',
    weaken: () => ({
      createThrottle: () => ({ fail() {}, blockedFor: () => undefined, guessesLeft: () => 10, size: 0 }),
    }),
    seenBy: ['tooManyGuesses'],
  },
  'rule 5: the first of two equal headers is taken': {
    file: `${DECIDE}/head.ts`,
    weaken: around('readHead', (real: Any, facts: { headers: string[] }) => {
      const seen = new Set<string>()
      const headers = facts.headers.filter((_, i, all) => {
        const name = all[i - (i % 2)]!.toLowerCase()
        if (i % 2 === 1) return !seen.has(`${name} dropped`)
        const twice = ['authorization', 'x-api-key'].includes(name) && seen.has(name)
        seen.add(twice ? `${name} dropped` : name)
        return !twice
      })
      return real({ ...facts, headers } as never)
    }),
    seenBy: ['contradictions'],
  },
  'rule 5: of two live keys the first holds': {
    file: `${DECIDE}/carriers.ts`,
    weaken: around('readCarriers', (real: Any, ...args: never[]) => {
      const found = real(...args)
      return Array.isArray(found) ? found.slice(0, 1) : found
    }),
    seenBy: ['contradictions'],
  },
  'rule 6: a revoked key still opens': {
    file: 'keys/live.ts',
    weaken: around('openLiveKeys', async (real: Any, ...args: never[]) => {
      const live = (await real(...args)) as Real
      const alive = (key: unknown) => key && { ...key, revoked: false }
      return {
        ...live,
        find: (digest: never) => alive(live.find!(digest)),
        findById: (id: never) => alive(live.findById!(id)),
      }
    }),
    seenBy: ['guesses'],
  },
  'rule 6: whoever brings something is somebody': {
    file: `${DECIDE}/identify.ts`,
    weaken: around('identify', (real: Any, ...args: never[]) => {
      const identified = real(...args) as { principal?: object }
      return identified.principal || (args[2] as unknown as unknown[]).length === 0
        ? identified
        : { principal: VIEWER, refusal: undefined, failures: [] }
    }),
    seenBy: ['guesses'],
  },
  'rule 7: a suffix opens anywhere, as in the guide': {
    file: `${DECIDE}/exempt.ts`,
    weaken: around('isOpen', (real: Any, ...args: never[]) => {
      const [facts, path] = args as unknown as [{ method: string; upgrade: boolean }, { text: string } | undefined]
      return real(...args) || (facts.method === 'GET' && !facts.upgrade && /\.(?:js|css|png)$/i.test(path?.text ?? ''))
    }),
    seenBy: ['paths'],
  },
  'rule 7: every method is open': {
    file: `${DECIDE}/exempt.ts`,
    weaken: around('isOpen', (real: Any, facts: object, ...rest: never[]) =>
      real({ ...facts, method: 'GET' } as never, ...rest),
    ),
    seenBy: ['methods'],
  },
  'rule 8: no role is asked for': {
    file: `${DECIDE}/role.ts`,
    weaken: always('requireRole', undefined),
    seenBy: ['paths'],
  },
  'rule 8: what is not in the table is for anyone with a key': {
    file: `${DECIDE}/role.ts`,
    weaken: around('standpointOf', (real: Any, ...args: never[]) => {
      const standpoint = real(...args) as { known: boolean }
      return standpoint.known ? standpoint : { ...standpoint, role: 'viewer' }
    }),
    seenBy: ['paths'],
  },
  'rule 8: /api is a prefix that is taken off': {
    file: `${DECIDE}/routes.ts`,
    weaken: around('findRoute', (real: Any, method: string, path: { text: string; segments: string[] }) => {
      const found = real(method as never, path as never)
      if (found || path.segments[0] !== 'api') return found
      return real(method as never, { text: path.text.slice(4) || '/', segments: path.segments.slice(1) } as never)
    }),
    seenBy: ['paths'],
  },
  'rule 8: a stop is not looked into': {
    file: `${DECIDE}/body-rules.ts`,
    weaken: around('checkBody', (_: Any, body: Uint8Array) => Buffer.from(body).toString()),
    seenBy: ['stops'],
  },
  "rule 8: every prompt is one's own": {
    file: `${DECIDE}/body-rules.ts`,
    weaken: always('owns', true),
    seenBy: ['stops', 'takenPrompts'],
  },
  'rule 8: packed bodies are read as they are': {
    file: `${DECIDE}/pass-on.ts`,
    weaken: around(
      'passOn',
      (real: Any, passed: { route?: { mark?: string }; head: { contentEncoding?: string } }, policy: never) =>
        passed.head.contentEncoding
          ? real({ ...passed, route: undefined } as never, policy)
          : real(passed as never, policy),
    ),
    seenBy: ['stops'],
  },
  "rule 8: a prompt is whoever's who named its id last": {
    file: 'proxy/wire/ownership.ts',
    weaken: () => ({
      async learnOwner(answer: Buffer, keyId: string, prompts: { record(keyId: string, id: string): void }) {
        const { prompt_id: id } = JSON.parse(answer.toString()) as { prompt_id?: string }
        if (id) prompts.record(keyId, id)
      },
    }),
    seenBy: ['takenPrompts'],
  },
  'rule 9: a foreign page is as good as ours': {
    file: `${DECIDE}/csrf.ts`,
    weaken: always('checkCsrf', undefined),
    seenBy: ['foreign'],
  },
  'rule 10: headers go up as they came': {
    file: `${DECIDE}/request-headers.ts`,
    weaken: () => ({
      requestHeaders: (facts: { headers: string[] }, _: unknown, policy: { upstreamHost: string }) => [
        'Host',
        policy.upstreamHost,
        ...facts.headers.filter(
          (_, i, all) =>
            !/^(?:host|connection|content-length|transfer-encoding|upgrade|expect)$/i.test(all[i - (i % 2)]!),
        ),
      ],
    }),
    seenBy: ['headers', 'paths'],
  },
  "rule 11: a clientId is whoever's who asks": {
    file: 'proxy/state/sockets.ts',
    weaken: around('createSockets', (real: Any, ...args: never[]) => ({
      ...(real(...args) as object),
      owner: () => undefined,
    })),
    seenBy: ['clientIds'],
  },
  'rule 11: a handshake needs no key': {
    file: `${DECIDE}/exempt.ts`,
    weaken: around(
      'isOpen',
      (real: Any, ...args: never[]) => real(...args) || (args[0] as unknown as { upgrade: boolean }).upgrade,
    ),
    seenBy: ['upgrades'],
  },
  'rule 11: what stands behind a head is sent at once': {
    file: 'proxy/wire/upgrade.ts',
    weaken: () => ({ Upgrade: EagerUpgrade }),
    seenBy: ['failedHandshakes', 'upgrades'],
  },
  'rule 12: two framings are one too many for nobody': {
    file: 'proxy/wire/facts.ts',
    weaken: always('headFault', undefined),
    seenBy: ['codings', 'http10'],
  },
  'rule 12: the parser is lenient': {
    file: 'node:http',
    weaken: around('createServer', (real: Any, options: object, ...rest: never[]) =>
      real({ ...options, insecureHTTPParser: true } as never, ...rest),
    ),
    seenBy: ['lengths', 'codings'],
  },
  'rule 13: a service worker is served': {
    file: `${DECIDE}/head.ts`,
    weaken: around('readHead', (real: Any, facts: never) => ({ ...(real(facts) as object), serviceWorker: undefined })),
    seenBy: ['serviceWorkers'],
  },
  'rule 14: a token of the storage is enough': {
    file: `${DECIDE}/identify.ts`,
    weaken: around('identify', (real: Any, ...args: never[]) => {
      const identified = real(...args) as { principal?: object }
      const hasToken = (args[2] as unknown as { secret: string }[]).some(({ secret }) => secret.startsWith('comfyt_'))
      return hasToken ? { ...identified, principal: identified.principal ?? VIEWER, refusal: undefined } : identified
    }),
    seenBy: ['guesses'],
  },
  'rule 15: a head may be as long as it likes': {
    file: 'proxy/wire/server.ts',
    weaken: around('listen', (real: Any, options: { limits: object }) =>
      real({ ...options, limits: { ...options.limits, headBytes: 1 << 20 } } as never),
    ),
    seenBy: ['heads'],
  },
}

const seed = seedOfRun()

afterEach(restore)

test.each(Object.keys(MUTANTS))('the judge sees it where %s', { timeout: 60_000 }, async (name) => {
  const plan = MUTANTS[name]!.seenBy.map(
    (family) => [family, FAMILIES[family]!.family, FAMILIES[family]!.count] as const,
  )
  expect(await isSeen(MUTANTS[name]!, plan, {}, seed), `COMFY_AUTH_SEED=${seed}`).toBe(true)
})
