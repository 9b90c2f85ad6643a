import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { green, red, yellow } from '../../cli/colour.ts'
import { Command, SCHEMA } from '../../cli/command.ts'
import { Flags } from '../../cli/flags.ts'
import { createProgress } from '../../cli/progress.ts'
import { serverFlags } from '../../cli/server-flags.ts'
import { createClient } from '../../comfy/client.ts'
import { paths } from '../../files/home.ts'
import { resolveServer } from '../../profiles/credential.ts'
import { comfyServer } from '../../queue/comfy-server.ts'
import { describeJob, type JobDescription, shortId } from '../../queue/describe.ts'
import type { Job, JobState, JobStatus } from '../../queue/job.ts'
import { thisWorker } from '../../queue/lease.ts'
import { openStore, type Store } from '../../queue/store.ts'
import { type WorkEvent, type WorkResult, work } from '../../queue/worker.ts'

interface Summary {
  /** Those that came to an end, or to a stop, in this run. */
  readonly jobs: readonly JobDescription[]
  /** Kept back for the next run, since their folder cannot be written. */
  readonly held: readonly string[]
}

const PAINT: Partial<Record<JobState, (text: string) => string>> = {
  done: green,
  failed: red,
  refused: red,
  unknown: yellow,
  cancelled: yellow,
}

const SILENT = { update: () => {}, done: () => {} }

/** States that are worth a line; the others are progress. */
function isResult({ state }: JobStatus): boolean {
  return PAINT[state] !== undefined
}

/** The gravest of what happened, as the exit codes' table has it. */
function exitCodeOf({ failed, unknown, refused, held }: WorkResult): number {
  if (failed.length > 0 || unknown.length > 0) return 4
  if (refused.length > 0) return 3
  return held.length > 0 ? 2 : 0
}

async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal }).catch(() => {})
}

export default class QueueWork extends Command {
  static override summary = 'Deliver the queue to the server, one job at a time, and save the outputs.'
  static override description =
    `Waits for more until Ctrl-C; with --once it ends when nothing can be sent any more, as cron wants it. Several may run at once, on one queue and for several servers.
A job is never lost and never sent twice: after a crash the server is asked what became of it. Where it cannot tell, the job is \`unknown\`: --on-unknown hold keeps it for you, retry sends it again under a new id, fail gives it up.
Ends with 4 where a job failed or is unknown, with 3 where one was refused, with 2 where an output folder cannot be written.`
  static override examples = [
    { description: 'From cron:', command: '<%= config.bin %> queue work --once' },
    { description: 'For another server, until Ctrl-C:', command: '<%= config.bin %> queue work --profile studio' },
  ]
  static override flags = {
    once: Flags.boolean({ description: 'end when nothing can be sent any more' }),
    'on-unknown': Flags.option({ options: ['hold', 'retry', 'fail'] as const, default: 'hold' as const })({
      description: 'what becomes of a job whose fate the server cannot tell',
    }),
    ...serverFlags,
    queue: Flags.string({ helpValue: 'FILE', description: 'the queue [default: queue.db in the data folder]' }),
  }

  /** Without an end there is no one document: --json prints a line for each job that ends. */
  #streams = false

  override jsonEnabled(): boolean {
    return !this.#streams && super.jsonEnabled()
  }

  async run(): Promise<Summary> {
    const { flags } = await this.parse(QueueWork)
    const json = super.jsonEnabled()
    this.#streams = json && !flags.once
    const { url, key } = await resolveServer(flags)
    const client = createClient({ url, key })
    const store = await openStore(flags.queue ?? paths().queueDb)
    // In a log or in cron's mail the results are enough.
    const progress = json || process.stderr.isTTY ? createProgress({ json }) : SILENT
    const { signal } = this
    const jobs: JobDescription[] = []

    const ended = async (job: Job): Promise<void> => {
      const now = await store.get(job.id)
      if (!now) return
      jobs.push(describeJob(now))
      progress.done()
      if (this.#streams) process.stdout.write(`${JSON.stringify({ schema: SCHEMA, ...describeJob(now) })}\n`)
      else this.#print(describeJob(now))
    }
    let printed = Promise.resolve()
    const onEvent = (event: WorkEvent): void => {
      if (event.type === 'state' && isResult(event.status)) printed = printed.then(() => ended(event.job))
      else if (event.type === 'state' || event.type === 'progress') progress.update(progressOf(event))
      else {
        progress.done()
        if (event.type === 'warning') this.caution(`${nameOf(event.job)} ${event.message}`)
        else if (event.type === 'held')
          this.caution(`${nameOf(event.job)} is kept back. ${event.error.message} ${event.error.remedy}`)
        else this.caution(`${event.error.message} Trying again in ${event.retryMs / 1_000} s.`)
      }
    }
    try {
      const result = await work({
        store,
        server: comfyServer(client),
        worker: thisWorker(randomUUID()),
        once: flags.once,
        onUnknown: flags['on-unknown'],
        signal,
        onEvent,
        nowMs: Date.now,
        newId: randomUUID,
        sleep,
      })
      await printed
      if (signal.aborted && !this.#streams) throw signal.reason
      this.exitCode = signal.aborted ? 130 : exitCodeOf(result)
      if (flags.once && !json) this.#tellOfRest(jobs.length, await elsewhere(store, client.url))
      return { jobs, held: result.held }
    } finally {
      await printed
      progress.done()
      store.close()
      await client.close()
    }
  }

  #tellOfRest(ended: number, others: ReadonlyMap<string, number>): void {
    for (const [server, count] of others) {
      const jobs = count === 1 ? '1 job that was sent there waits' : `${count} jobs that were sent there wait`
      this.note(
        `${jobs} for ${server}: \`queue work --url\` with it; if it is gone for good, \`queue retry ID --lost\`.`,
      )
    }
    if (ended === 0 && others.size === 0) this.note('There is nothing to send.')
  }

  #print(job: JobDescription): void {
    const paint = PAINT[job.state] ?? String
    const why = job.retriedAs ? `${job.reason} Tried again as ${shortId(job.retriedAs)}.` : job.reason
    this.log(`${shortId(job.id)}  ${paint(job.state.padEnd(9))}  ${job.label}${why ? `: ${why}` : ''}`)
    for (const path of job.outputs) this.log(`  ${path}`)
  }
}

/** Jobs whose fate another server alone can tell, counted by server. */
async function elsewhere(store: Store, url: string): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>()
  for (const { status } of await store.list({ states: ['sending', 'submitted', 'running'] })) {
    if (!('server' in status) || status.server === undefined || status.server === url) continue
    counts.set(status.server, (counts.get(status.server) ?? 0) + 1)
  }
  return counts
}

function nameOf(job: Job): string {
  return `Job ${shortId(job.id)} (${job.label})`
}

function progressOf(event: WorkEvent & { type: 'state' | 'progress' }): {
  label: string
  fraction?: number
  detail?: string
} {
  const name = nameOf(event.job)
  if (event.type === 'state') return { label: `${name}: ${event.status.state}` }
  const { label, fraction, detail } = event
  return {
    label: `${name}: ${label}`,
    ...(fraction === undefined ? {} : { fraction }),
    ...(detail === undefined ? {} : { detail }),
  }
}
