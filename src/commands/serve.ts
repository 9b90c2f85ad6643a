import { existsSync } from 'node:fs'
import { Command } from '../cli/command.ts'
import { duration, Flags, keyring, megabytes, size } from '../cli/flags.ts'
import { ComfyAuthError } from '../errors.ts'
import { paths } from '../files/home.ts'
import { readKeyring } from '../keys/keyring.ts'
import { createKey } from '../keys/lifecycle.ts'
import { type LiveKeys, openLiveKeys } from '../keys/live.ts'
import { keySources } from '../keys/sources.ts'
import { tlsOptions } from '../proxy/options.ts'
import { createProxy, type Proxy as RunningProxy, type UpstreamReport } from '../proxy/proxy.ts'
import { isPublicUpstream, reachableUrls } from '../proxy/reach.ts'

interface ServeResult {
  readonly event: 'stopped'
}

const DEFAULT_UPSTREAM = 'http://127.0.0.1:8188'

export default class Serve extends Command {
  static override summary = 'Put the lock before a ComfyUI server.'
  static override description =
    `Runs the authenticating proxy until SIGINT or SIGTERM. Whoever comes needs a key: as a Bearer token, X-API-Key,
?api_key=, Basic password, or by the login page. Keys are those of the keyring, of --api-key-file, --api-key and the
environment (COMFYUI_API_KEY, COMFYUI_API_KEY_FILE) together; files are read again when they change and on SIGHUP.`
  static override examples = [
    { description: 'Before the ComfyUI on this machine:', command: '<%= config.bin %> serve' },
    {
      description: 'For the network, with the keys of a file:',
      command: '<%= config.bin %> serve --listen 0.0.0.0 --api-key-file api_key.txt',
    },
    {
      description: 'For the LAN over TLS, with a certificate that it makes and whose fingerprint it shows:',
      command: '<%= config.bin %> serve --listen 0.0.0.0 --tls-self-signed',
    },
    {
      description: 'Behind nginx, which has the certificate:',
      command: '<%= config.bin %> serve --public-url https://gpu.example.com --trusted-proxy 127.0.0.1',
    },
    {
      description: "With a custom node's routes for every user, by both names that the page may use:",
      command: "<%= config.bin %> serve --route 'user:GET /easyuse/*' --route 'user:GET /api/easyuse/*'",
    },
  ]
  static override takesPassthrough = true
  override readonly outlivesOutput = true // a log that is full must not open or end the lock
  static override flags = {
    upstream: Flags.string({
      helpValue: 'URL',
      multiple: true,
      description: `the ComfyUI to guard; unix:/PATH works [default: ${DEFAULT_UPSTREAM}]`,
    }),
    demo: Flags.boolean({
      exclusive: ['upstream'],
      description: 'guard a simulated ComfyUI of its own, to try it without one',
    }),
    'web-root': Flags.string({
      dependsOn: ['demo'],
      helpValue: 'DIR',
      description: "with --demo: ComfyUI's own page, the static folder of comfyui-frontend-package",
    }),
    listen: Flags.string({ helpValue: 'ADDR', default: '127.0.0.1', description: 'addresses to listen on, by comma' }),
    port: Flags.integer({ helpValue: 'N', default: 8189, description: 'port to listen on' }),
    'api-key': Flags.string({ helpValue: 'KEY', description: 'one more key; shows in the process list' }),
    'api-key-file': Flags.string({ helpValue: 'FILE', multiple: true, description: 'keys, one a line' }),
    keyring: keyring(),
    'no-auth': Flags.boolean({
      exclusive: ['api-key', 'api-key-file', 'keyring'],
      description: 'no lock at all: everyone may do everything',
    }),
    'allow-insecure-bind': Flags.boolean({
      dependsOn: ['no-auth'],
      description: 'let --no-auth listen on the network',
    }),
    'tls-certfile': Flags.string({
      helpValue: 'FILE',
      description: 'serve TLS with this certificate and its chain, in PEM',
    }),
    'tls-keyfile': Flags.string({
      helpValue: 'FILE',
      description: 'its private key, in PEM; both are read again on change',
    }),
    'tls-self-signed': Flags.boolean({
      exclusive: ['tls-certfile', 'tls-keyfile'],
      description: 'serve TLS with a certificate made here and kept',
    }),
    hsts: Flags.boolean({ description: 'tell browsers to come by TLS alone from now on, for a year' }),
    'tls-redirect-port': Flags.integer({
      helpValue: 'N',
      min: 0,
      max: 65_535,
      description: 'a plain-HTTP port that sends browsers on to TLS',
    }),
    'upstream-ca': Flags.string({
      helpValue: 'FILE',
      description: 'PEM: who vouches for an https:// upstream; its own certificate does too',
    }),
    'max-upload-size': megabytes({ description: "refuse longer bodies with 413 [default: ComfyUI's own limit]" }),
    'public-url': Flags.string({ helpValue: 'URL', description: 'how browsers reach it behind another proxy' }),
    'base-path': Flags.string({
      helpValue: '/PATH',
      description: 'live below this path of the host, ComfyUI and all: /comfy',
    }),
    'allow-host': Flags.string({ helpValue: 'NAME', multiple: true, description: 'a host name that it goes by' }),
    'trusted-proxy': Flags.string({
      helpValue: 'ADDR|CIDR',
      multiple: true,
      description: 'a proxy before it whose X-Forwarded-* headers are believed',
    }),
    exempt: Flags.option({ options: ['static', 'minimal'] as const })({
      default: 'static',
      description: 'open without a key: login and health, and with static the files of the page',
    }),
    'exempt-path': Flags.string({
      helpValue: 'PATH|PREFIX/*',
      multiple: true,
      description: 'open this to everyone too',
    }),
    route: Flags.string({
      helpValue: 'ROLE:METHOD PATH',
      multiple: true,
      description: "the least role for a custom node's route, else an admin's",
    }),
    'enable-cors-header': Flags.string({ helpValue: 'ORIGIN', description: "let pages of ORIGIN call it; alone: '*'" }),
    'comfy-user': Flags.option({ options: ['strip', 'pass'] as const })({
      default: 'strip',
      description: 'the comfy-user header: pass it for a ComfyUI with --multi-user',
    }),
    'browser-storage': Flags.option({ options: ['on', 'off'] as const })({
      default: 'on',
      description: "hand the page's scripts a token of the session",
    }),
    'logout-link': Flags.option({ options: ['on', 'off'] as const })({
      default: 'on',
      description: "show a small way out in ComfyUI's page",
    }),
    drain: duration({ default: 30_000, description: 'how long what runs may go on after SIGTERM [default: 30s]' }),
    'idle-timeout': duration({ default: 300_000, description: 'silence that ends a request under way [default: 5m]' }),
    'audit-log': Flags.string({
      helpValue: 'FILE|-',
      description: 'logins, refusals, revocations, writes: JSON lines',
    }),
    'access-log': Flags.string({ helpValue: 'FILE|-', description: 'every request, reads too; may be the same file' }),
    'audit-max-size': size({ description: 'start either log anew above this' }),
    'max-connections': Flags.integer({ helpValue: 'N', min: 1, description: 'connections in all [default: 20000]' }),
    'max-connections-per-address': Flags.integer({
      helpValue: 'N',
      min: 1,
      description: 'from one address, loopback and trusted proxies aside [default: 512]',
    }),
    'socket-buffer': size({ description: 'what may wait for one slow WebSocket client [default: 96MiB]' }),
    'socket-buffer-total': size({ description: 'what may wait for all of them [default: 512MiB]' }),
  }

  async run(): Promise<ServeResult> {
    const { flags } = await this.parse(Serve)
    if (this.passthrough.length > 0) {
      throw new ComfyAuthError('usage', '`serve -- COMMAND`, which starts ComfyUI itself, is not there yet.', {
        remedy: 'Start ComfyUI on its own and name it with --upstream, or leave both at their defaults.',
      })
    }
    const { signal } = this
    let proxy: RunningProxy | undefined
    let askedEarly = false
    process.on('SIGHUP', () => {
      if (proxy) void proxy.reload()
      else askedEarly = true
    })
    const [named = DEFAULT_UPSTREAM, ...more] = flags.upstream ?? []
    if (more.length > 0) {
      throw new ComfyAuthError('usage', 'One serve guards one ComfyUI: --upstream was given more than once.', {
        remedy: 'Run one serve for each, with a --port of its own.',
      })
    }
    const keys = flags['no-auth'] ? undefined : await this.#openKeys(flags)
    let sim: { readonly url: string; close(): Promise<void> } | undefined
    try {
      if (flags.demo) sim = await (await import('../demo/demo.ts')).startSim({ webRoot: flags['web-root'] })
      const upstream = sim?.url ?? named
      proxy = await createProxy({
        upstream,
        listen: flags.listen,
        port: flags.port,
        keys,
        allowInsecureBind: flags['allow-insecure-bind'],
        publicUrl: flags['public-url'],
        basePath: flags['base-path'],
        allowHosts: flags['allow-host'] ?? [],
        trustedProxies: flags['trusted-proxy'] ?? [],
        exempt: flags.exempt,
        exemptPaths: flags['exempt-path'] ?? [],
        routes: flags.route ?? [],
        corsHeader: flags['enable-cors-header'],
        comfyUser: flags['comfy-user'],
        browserStorage: flags['browser-storage'],
        wayOut: flags['logout-link'] === 'on',
        drainMs: flags.drain,
        idleMs: flags['idle-timeout'],
        serveDb: paths().serveDb,
        auditLog: flags['audit-log'],
        auditMaxBytes: flags['audit-max-size'],
        accessLog: flags['access-log'],
        tls: tlsOptions(
          flags['tls-certfile'],
          flags['tls-keyfile'],
          flags['tls-self-signed'] ? paths().tlsSelfSigned : undefined,
        ),
        hsts: flags.hsts,
        tlsRedirectPort: flags['tls-redirect-port'],
        upstreamCa: flags['upstream-ca'],
        maxUploadBytes: flags['max-upload-size'],
        maxConnections: flags['max-connections'],
        maxConnectionsPerAddress: flags['max-connections-per-address'],
        socketBufferBytes: flags['socket-buffer'],
        socketTotalBytes: flags['socket-buffer-total'],
        log: (line) => this.note(line),
      })
      if (askedEarly) await proxy.reload()
      await this.#greet(proxy, upstream, keys, flags)
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
      this.note(`Stopping: what runs has ${flags.drain / 1_000} s to finish. Once more ends it at once.`)
    } finally {
      await proxy?.close()
      await sim?.close()
      keys?.close()
    }
    return { event: 'stopped' }
  }

  /** JSON of a server that runs is a stream of lines. */
  override logJson(json: unknown): void {
    process.stdout.write(`${JSON.stringify(json)}\n`)
  }

  async #openKeys(flags: KeyFlags): Promise<LiveKeys> {
    if (this.argv.some((word) => word === '--api-key' || word.startsWith('--api-key='))) {
      this.caution('--api-key shows the key to every user of this machine in the process list. Use --api-key-file.')
    }
    const ring = flags.keyring ?? paths().keyring
    if (flags.keyring !== undefined && !existsSync(ring)) {
      this.caution('There is no file where --keyring points: it is read as a keyring without keys, and watched.')
    }
    const sources = keySources({ keyring: ring, keyFiles: flags['api-key-file'], key: flags['api-key'] }, process.env)
    const open = () =>
      openLiveKeys(sources, {
        warn: (text) => this.caution(text),
        reloaded: (count, whole) => {
          this.note(
            whole
              ? `Keys were read again: ${count} open the door.`
              : `Not all keys were read again: ${count} open the door.`,
          )
        },
      })
    const keys = await open()
    if (keys.count > 0) return keys
    keys.close()
    const dead = readKeyring(ring).keys.length > 0
    if (!process.stdin.isTTY || !process.stdout.isTTY) {
      const what = dead ? 'Every key has expired or was revoked' : 'There is no key yet'
      throw new ComfyAuthError('usage', `${what}, so nobody could come in.`, {
        remedy: 'Make one with `comfy-auth keygen`, or name a file of keys with --api-key-file.',
      })
    }
    const created = await createKey({ label: 'first', keyring: ring })
    this.log(
      `Made ${dead ? 'a new' : 'the first'} key, an ${created.role}'s. It is shown this once:\n\n  ${created.key}\n`,
    )
    return await open()
  }

  async #greet(proxy: RunningProxy, upstream: string, keys: LiveKeys | undefined, flags: GreetFlags): Promise<void> {
    const report = await proxy.probe()
    const urls = reachableUrls(proxy.url, flags['allow-host'] ?? [])
    const [url, ...network] = urls
    const base = new URL(url).pathname.replace(/\/$/, '')
    const login = `${url}/auth_login.html`
    const open = [
      `${base}/health`,
      'the login page',
      ...(flags.exempt === 'static' ? ["the page's static files"] : []),
      ...(flags['exempt-path'] ?? []).map((path) => base + path),
    ]
    this.log(`comfy-auth guards ComfyUI at ${upstream} (${inWords(report)}).`)
    if (keys) {
      this.log(`Log in:  ${login}`)
      for (const other of network) this.log(`         ${other}/auth_login.html`)
      this.log(`Scripts: ${url} with "Authorization: Bearer KEY"`)
      this.log(`Keys:    ${keys.count}. Open without one: ${open.join(', ')}.`)
    } else this.log(`Open to everyone who reaches ${urls.join(' or ')}.`)
    if (proxy.fingerprint !== undefined) {
      this.log(
        `TLS:     self-signed; browsers ask once. Its SHA-256 fingerprint, to compare:\n         ${proxy.fingerprint}`,
      )
    }
    if (this.jsonEnabled()) {
      this.logJson({
        schema: 1,
        event: 'listening',
        url,
        urls,
        login,
        fingerprint: proxy.fingerprint ?? null,
        upstream: report,
        keys: keys?.count ?? null,
        open,
      })
    }
    await this.#warn(report, upstream, keys, flags)
  }

  async #warn(report: UpstreamReport, upstream: string, keys: LiveKeys | undefined, flags: GreetFlags): Promise<void> {
    if (!keys) this.caution('--no-auth: everyone who reaches this address runs what they like on this machine.')
    for (const path of flags['exempt-path'] ?? []) this.caution(`--exempt-path: ${path} is open to everyone.`)
    if (report.state === 'stranger') {
      this.caution('What answers at --upstream is no ComfyUI, as its /system_stats shows. Check the address.')
    }
    if (report.state === 'comfyui' && report.exposed) {
      this.caution(
        'ComfyUI itself listens on the network: who reaches its port goes round this lock. Start it without --listen.',
      )
    } else if (await isPublicUpstream(upstream)) {
      const open = upstream.startsWith('https:') ? '' : ', and what passes between the two can be read on the way'
      this.caution(`--upstream is a public address: who reaches it goes round this lock${open}.`)
    }
  }
}

interface KeyFlags {
  readonly 'api-key'?: string | undefined
  readonly 'api-key-file'?: readonly string[] | undefined
  readonly keyring?: string | undefined
}

interface GreetFlags {
  readonly exempt: 'static' | 'minimal'
  readonly 'exempt-path'?: readonly string[] | undefined
  readonly 'allow-host'?: readonly string[] | undefined
}

function inWords(report: UpstreamReport): string {
  switch (report.state) {
    case 'comfyui':
      return `it answers, version ${report.version ?? 'unknown'}`
    case 'stranger':
      return 'something else answers there'
    case 'down':
      return `it does not answer yet, ${report.reason}; waiting for it`
  }
}
