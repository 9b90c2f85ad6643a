import { Command } from '../../cli/command.ts'
import { Flags } from '../../cli/flags.ts'
import { minuteText } from '../../cli/key-text.ts'
import { renderTable } from '../../cli/table.ts'
import { paths } from '../../files/home.ts'
import { describeJob, type JobDescription, shortId } from '../../queue/describe.ts'
import { JOB_STATES, type JobState } from '../../queue/job.ts'
import { openStore } from '../../queue/store.ts'

interface ListResult {
  readonly jobs: readonly JobDescription[]
  readonly counts: Readonly<Record<JobState, number>>
}

/** What a line of the table has room for. */
function detail(job: JobDescription, nowMs: number): string {
  if (job.retriedAs) return `tried again as ${shortId(job.retriedAs)}`
  if (job.state === 'done') return job.outputs.length === 1 ? '1 output' : `${job.outputs.length} outputs`
  if (job.state === 'queued' && job.notBefore && Date.parse(job.notBefore) > nowMs)
    return `not before ${minuteText(job.notBefore)}`
  if (job.state !== 'cancelled' && job.cancelRequested) return 'to be cancelled'
  const [line = ''] = (job.reason ?? '').split('\n')
  return line.length > 60 ? `${line.slice(0, 57)}...` : line
}

export default class QueueList extends Command {
  static override summary = 'List the jobs of the queue, oldest first.'
  static override examples = [
    { description: 'The last jobs:', command: '<%= config.bin %> queue list' },
    {
      description: 'What waits, and what nobody can tell the fate of:',
      command: '<%= config.bin %> queue list --state queued --state unknown',
    },
    { description: 'All, for a script:', command: '<%= config.bin %> queue list --limit 0 --json' },
  ]
  static override flags = {
    state: Flags.option({ options: JOB_STATES, multiple: true, multipleNonGreedy: true })({
      description: 'only jobs in this state',
    }),
    limit: Flags.integer({ default: 50, min: 0, helpValue: 'N', description: 'the last N jobs; 0 is all' }),
    queue: Flags.string({ helpValue: 'FILE', description: 'the queue [default: queue.db in the data folder]' }),
  }

  async run(): Promise<ListResult> {
    const { flags } = await this.parse(QueueList)
    const store = await openStore(flags.queue ?? paths().queueDb)
    try {
      const states = flags.state ?? []
      const found = await store.list({
        ...(states.length > 0 ? { states } : {}),
        ...(flags.limit > 0 ? { limit: flags.limit } : {}),
      })
      const counts = await store.counts()
      const jobs = found.map(describeJob)
      const nowMs = Date.now()
      const rows = jobs.map((job) => [
        shortId(job.id),
        job.state,
        String(job.priority),
        minuteText(job.added) ?? '',
        job.label,
        detail(job, nowMs),
      ])
      const columns = ['ID', 'STATE', { header: 'PRIORITY', align: 'right' }, 'ADDED', 'LABEL', 'DETAIL'] as const
      if (jobs.length > 0) this.log(renderTable(columns, rows))
      if (!this.jsonEnabled()) this.#sum(counts)
      return { jobs, counts }
    } finally {
      store.close()
    }
  }

  #sum(counts: ListResult['counts']): void {
    const present = JOB_STATES.filter((state) => counts[state] > 0).map((state) => `${counts[state]} ${state}`)
    this.note(
      present.length > 0
        ? `In all: ${present.join(', ')}.`
        : 'The queue is empty. Add a job: comfy-auth queue add WORKFLOW',
    )
    if (counts.unknown > 0)
      this.note('What is unknown is never sent again by itself: queue show ID tells why, queue retry ID sends it.')
  }
}
