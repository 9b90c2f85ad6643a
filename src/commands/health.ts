import { green, red, yellow } from '../cli/colour.ts'
import { Command } from '../cli/command.ts'
import { duration, Flags, parseDuration } from '../cli/flags.ts'
import { parseServerUrl } from '../comfy/server-url.ts'
import { ComfyAuthError } from '../errors.ts'
import { thisMachine } from '../gpu/probe.ts'
import { type CollectOptions, collect, isLocal } from '../health/collect.ts'
import { writePublic } from '../health/output.ts'
import { FORMATS, type Format, render } from '../health/render.ts'
import { type HealthReport, type Judged, reportOf } from '../health/report.ts'
import type { ServerTarget } from '../health/server.ts'
import { STATE_CODES, type State } from '../health/state.ts'
import { readThresholds, type Threshold } from '../health/thresholds.ts'

const MAX_TIMEOUT_MS = 3_600_000

export default class Health extends Command {
  static override summary = 'Check the GPUs of this machine and the ComfyUI server, for people, cron and monitoring.'
  static override description =
    `Exit codes are those of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; wrong usage is 3 too.
Without flags it asks the server of the current profile, and looks at this machine's GPUs where that server is on it.`
  static override examples = [
    { description: 'How are the server and the GPUs?', command: '<%= config.bin %> health' },
    { description: 'This machine alone, no server:', command: '<%= config.bin %> health --local' },
    {
      description: 'For cron: silent while there is room, loud when not:',
      command: '<%= config.bin %> health --min-free-vram 4GiB --max-pending 20 > health.log || cat health.log',
    },
    {
      description: 'For Nagios and Icinga:',
      command: '<%= config.bin %> health --format nagios -w gpu_temperature=80 -c gpu_temperature=90',
    },
    {
      description: "For Prometheus' node_exporter:",
      command: '<%= config.bin %> health --format prometheus --output comfy_auth.prom',
    },
  ]
  static override exitCodes = {
    internal: 3,
    usage: 3,
    refused: 3,
    failed: 3,
    unreachable: 3,
    unauthorised: 3,
    timeout: 3,
  }
  static override exitCodeHelp = [
    ['0', 'OK'],
    ['1', 'WARNING'],
    ['2', 'CRITICAL'],
    ['3', 'UNKNOWN: not to be found out, or used wrongly'],
    ['130', 'interrupted'],
  ] as const
  static override flags = {
    url: Flags.string({ multiple: true, helpValue: 'URL', description: 'a server to ask; may be repeated' }),
    profile: Flags.string({ multiple: true, helpValue: 'NAME', description: 'a stored server; may be repeated' }),
    'key-file': Flags.string({ helpValue: 'FILE', description: 'read the key for --url from FILE' }),
    local: Flags.boolean({
      allowNo: true,
      description: "this machine's GPUs: --local alone asks no server, --no-local no GPU tool",
    }),
    warn: Flags.string({
      char: 'w',
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'CHECK=RANGE',
      description: 'WARNING where CHECK leaves RANGE',
    }),
    crit: Flags.string({
      char: 'c',
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'CHECK=RANGE',
      description: 'CRITICAL where CHECK leaves RANGE',
    }),
    'min-free-vram': Flags.string({ helpValue: 'SIZE|PERCENT', description: 'CRITICAL below it: 4GiB, 20%' }),
    'max-pending': Flags.integer({ min: 0, helpValue: 'N', description: 'CRITICAL where more prompts wait' }),
    format: Flags.option({ options: FORMATS })({ description: 'how to say it [default: text]' }),
    output: Flags.string({ helpValue: 'FILE', description: 'write it to FILE, replaced at once, mode 0644' }),
    timeout: duration({
      char: 't',
      description: 'for each server and for the GPU tools [default: 10s]',
      parse: async (input) => parseDuration(/^\d+$/.test(input) ? `${input}s` : input), // plugins take bare seconds
    }),
    watch: duration({ description: 'again and again, with this pause; --json prints a line each time' }),
    verbose: Flags.boolean({ char: 'v', description: 'more: processes in text, every check in nagios' }),
  }

  async run(): Promise<HealthReport> {
    const { flags } = await this.parse(Health)
    const timeoutMs = flags.timeout ?? 10_000
    const format = this.#format(flags.format)
    checkFlags({ timeoutMs, watchMs: flags.watch, format, output: flags.output })
    const servers = await serversOf(flags, this.argv.includes('--local'))
    const thresholds = readThresholds({
      warn: flags.warn ?? [],
      crit: flags.crit ?? [],
      minFreeVram: flags['min-free-vram'],
      maxPending: flags['max-pending'],
      hasServers: servers.length > 0,
    })
    const withGpus = flags.local ?? servers.some(({ url }) => isLocal(url))
    const options = { servers, machine: withGpus ? thisMachine() : undefined, timeoutMs }
    const say = (judged: Judged): Promise<void> => {
      const streamed = flags.watch !== undefined
      const text = render(judged, { format, verbose: flags.verbose === true, streamed, nowMs: Date.now(), paint })
      return this.#write(text, flags.output, format === 'json' && this.jsonEnabled() && !streamed)
    }
    for (;;) {
      const judged = await check(options, thresholds)
      await say(judged)
      if (flags.watch === undefined) return this.#end(judged)
      await new Promise((resolve) => setTimeout(resolve, flags.watch))
    }
  }

  #format(format: Format | undefined): Format {
    if (!this.jsonEnabled()) return format ?? 'text'
    if (format === undefined || format === 'json') return 'json'
    throw usage('--json and --format ask for two formats.', 'Give one of the two.')
  }

  async #write(text: string, output: string | undefined, printedByBase: boolean): Promise<void> {
    if (output !== undefined && output !== '-') await writePublic(output, text)
    else if (!printedByBase) process.stdout.write(text)
  }

  /** What still hangs (the lookup of a name, say) would hold the process long after its answer. */
  #end({ report, overran }: Judged): HealthReport {
    this.exitCode = STATE_CODES[report.status]
    if (overran) setTimeout(() => process.exit(this.exitCode), 100).unref()
    return report
  }
}

async function check(options: CollectOptions, thresholds: readonly Threshold[]): Promise<Judged> {
  return reportOf(await collect(options), thresholds)
}

interface Asked {
  readonly url?: string[] | undefined
  readonly profile?: string[] | undefined
  readonly 'key-file'?: string | undefined
}

/**
 * The servers named; with none named the current one, and none at all for a bare `--local`. What the command line says
 * stands above the environment: a `--profile` or a `--local` of its own sets aside COMFY_AUTH_URL.
 */
async function serversOf(flags: Asked, saysLocal: boolean): Promise<ServerTarget[]> {
  const lists = { url: flags.url ?? [], profile: flags.profile ?? [] }
  const isTyped = (name: 'url' | 'profile'): boolean => lists[name].length > 0 && !isFromEnvironment(name, lists[name])
  const onlyTyped = isTyped('url') || isTyped('profile') || saysLocal
  const urls = onlyTyped && !isTyped('url') ? [] : lists.url
  const profiles = onlyTyped && !isTyped('profile') ? [] : lists.profile
  if (urls.length + profiles.length === 0 && saysLocal) return []
  const { resolveServer } = await import('../profiles/credential.ts') // the stored profiles cost time, and --local needs none
  const keyFile = flags['key-file'] === undefined ? {} : { 'key-file': flags['key-file'] }
  const named = [...urls.map((url) => ({ url })), ...profiles.map((profile) => ({ profile }))]
  const resolved = await Promise.all(
    (named.length > 0 ? named : [{}]).map((one) => resolveServer({ ...one, ...keyFile })),
  )
  return resolved.map(({ url, key }) => ({ url: parseServerUrl(url), key }))
}

function isFromEnvironment(name: 'url' | 'profile', values: readonly string[]): boolean {
  const variable = process.env[`COMFY_AUTH_${name.toUpperCase()}`]?.split(/\s+/).filter(Boolean) ?? []
  return variable.join(' ') === values.join(' ')
}

function checkFlags(flags: {
  readonly timeoutMs: number
  readonly watchMs: number | undefined
  readonly format: Format
  readonly output: string | undefined
}): void {
  if (flags.timeoutMs < 100 || flags.timeoutMs > MAX_TIMEOUT_MS) {
    throw usage('--timeout is too short or too long.', 'Give between 100ms and 1h.')
  }
  if (flags.watchMs !== undefined && (flags.watchMs < 1_000 || flags.watchMs > 24 * MAX_TIMEOUT_MS)) {
    throw usage('--watch is too short or too long.', 'Give between 1s and 24h.')
  }
  const file = flags.output !== undefined && flags.output !== '-' ? flags.output : undefined
  if (flags.format === 'prometheus' && file !== undefined && !file.endsWith('.prom')) {
    throw usage('The file of --output does not end in .prom.', 'node_exporter reads *.prom only: name it so.')
  }
}

function paint(state: State, text: string): string {
  if (state === 'ok') return green(text)
  return state === 'critical' ? red(text) : yellow(text)
}

function usage(message: string, remedy: string): ComfyAuthError {
  return new ComfyAuthError('usage', message, { remedy })
}
