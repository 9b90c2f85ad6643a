import { Command } from '../../cli/command.ts'
import { Args, Flags } from '../../cli/flags.ts'
import { serverFlags } from '../../cli/server-flags.ts'
import { createClient } from '../../comfy/client.ts'
import { cancelPrompt } from '../../comfy/run-prompt.ts'
import { paths } from '../../files/home.ts'
import { resolveServer } from '../../profiles/credential.ts'
import { type Cancelled, type Canceller, cancelJob } from '../../queue/cancel.ts'
import { comfyServer } from '../../queue/comfy-server.ts'
import { findJob, shortId } from '../../queue/describe.ts'
import { openStore } from '../../queue/store.ts'

const SAID: Readonly<Record<Cancelled, string>> = {
  cancelled: 'is cancelled',
  cancelling: 'is being cancelled; `queue work` will see it end',
  done: 'had finished on the server; `queue work` will save its outputs',
}

interface CancelResult {
  readonly id: string
  readonly result: Cancelled
}

export default class QueueCancel extends Command {
  static override summary = 'Cancel a job: in the queue, or on the server where it waits or runs.'
  static override examples = [
    { description: 'By the beginning of its id:', command: '<%= config.bin %> queue cancel 3f2a91c4' },
  ]
  static override args = { id: Args.string({ required: true, description: "the job's id, or its beginning" }) }
  static override flags = {
    lost: Flags.boolean({ description: 'the server it was sent to is gone for good, and is not asked' }),
    ...serverFlags,
    queue: Flags.string({ helpValue: 'FILE', description: 'the queue [default: queue.db in the data folder]' }),
  }

  async run(): Promise<CancelResult> {
    const { args, flags } = await this.parse(QueueCancel)
    const store = await openStore(flags.queue ?? paths().queueDb)
    const closers: (() => Promise<void>)[] = []
    const connect = async (): Promise<Canceller> => {
      const { url, key } = await resolveServer(flags)
      const client = createClient({ url, key })
      closers.push(() => client.close())
      return { url: client.url, look: comfyServer(client).look, cancel: (id) => cancelPrompt(client, id) }
    }
    try {
      const job = await findJob(store, args.id)
      const result = await cancelJob({ store, job, nowMs: Date.now(), connect, lost: flags.lost })
      this.log(`Job ${shortId(job.id)} (${job.label}) ${SAID[result]}.`)
      return { id: job.id, result }
    } finally {
      store.close()
      for (const close of closers) await close()
    }
  }
}
