import { Command } from '../../cli/command.ts'
import { Args, Flags } from '../../cli/flags.ts'
import { minuteText } from '../../cli/key-text.ts'
import { paths } from '../../files/home.ts'
import { describeJob, findJob, type JobDescription } from '../../queue/describe.ts'
import { openStore } from '../../queue/store.ts'

interface ShowResult extends JobDescription {
  /** JSON as text, so that a reader does not round its numbers. */
  readonly workflow: string
}

function rows(job: JobDescription): [string, string | null][] {
  return [
    ['id', job.id],
    ['label', job.label],
    ['state', job.cancelRequested && job.state !== 'cancelled' ? `${job.state}, to be cancelled` : job.state],
    ['why', job.reason?.replaceAll('\n', `\n${' '.repeat(12)}`) ?? null],
    ['priority', String(job.priority)],
    ['added', minuteText(job.added) ?? null],
    ['not before', minuteText(job.notBefore) ?? null],
    ['changed', minuteText(job.changed) ?? null],
    ['server', job.server],
    ['folder', job.output],
    ...job.outputs.map((path): [string, string] => ['output', path]),
    ['retry of', job.retryOf],
    ['retried as', job.retriedAs],
  ]
}

export default class QueueShow extends Command {
  static override summary = 'Show one job: its state, why it is in it, and its outputs.'
  static override examples = [
    { description: 'By the beginning of its id:', command: '<%= config.bin %> queue show 3f2a91c4' },
    {
      description: 'The workflow as it is sent:',
      command: '<%= config.bin %> queue show 3f2a91c4 --workflow > again.json',
    },
  ]
  static override args = { id: Args.string({ required: true, description: "the job's id, or its beginning" }) }
  static override flags = {
    workflow: Flags.boolean({ description: 'print its workflow, and nothing else' }),
    queue: Flags.string({ helpValue: 'FILE', description: 'the queue [default: queue.db in the data folder]' }),
  }

  async run(): Promise<ShowResult> {
    const { args, flags } = await this.parse(QueueShow)
    const store = await openStore(flags.queue ?? paths().queueDb)
    try {
      const found = await findJob(store, args.id)
      const job = describeJob(found)
      if (flags.workflow) this.log(found.workflow)
      else {
        for (const [name, value] of rows(job)) if (value !== null) this.log(`${name.padEnd(12)}${value}`)
      }
      return { ...job, workflow: found.workflow }
    } finally {
      store.close()
    }
  }
}
