import { randomUUID } from 'node:crypto'
import { Command } from '../../cli/command.ts'
import { Args, Flags } from '../../cli/flags.ts'
import { paths } from '../../files/home.ts'
import { findJob, shortId } from '../../queue/describe.ts'
import { retryJob } from '../../queue/retry.ts'
import { openStore } from '../../queue/store.ts'

interface RetryResult {
  readonly id: string
  readonly retryOf: string
}

export default class QueueRetry extends Command {
  static override summary = 'Queue a second attempt of a job that failed, was refused or cancelled, or is unknown.'
  static override description = `The second attempt is a job of its own with an id of its own, which is printed.
A job that is unknown may have run: to retry it is your word that it may run twice.`
  static override examples = [
    { description: 'By the beginning of its id:', command: '<%= config.bin %> queue retry 3f2a91c4' },
  ]
  static override args = { id: Args.string({ required: true, description: "the job's id, or its beginning" }) }
  static override flags = {
    lost: Flags.boolean({ description: 'the server it was sent to is gone for good: it may run twice' }),
    queue: Flags.string({ helpValue: 'FILE', description: 'the queue [default: queue.db in the data folder]' }),
  }

  async run(): Promise<RetryResult> {
    const { args, flags } = await this.parse(QueueRetry)
    const store = await openStore(flags.queue ?? paths().queueDb)
    try {
      const job = await findJob(store, args.id)
      const id = randomUUID()
      await retryJob(store, job, { id, nowMs: Date.now(), lost: flags.lost })
      if (!this.jsonEnabled()) this.note(`Job ${shortId(job.id)} (${job.label}) is queued again as:`)
      this.log(id)
      return { id, retryOf: job.id }
    } finally {
      store.close()
    }
  }
}
