import { join } from 'node:path'
import { ComfyAuthError, type ErrorKind } from '../../src/errors.ts'
import type { NewJob } from '../../src/queue/job.ts'
import type { Server } from '../../src/queue/server.ts'
import { openStore, type Store } from '../../src/queue/store.ts'
import type { WorkEvent, WorkOptions } from '../../src/queue/worker.ts'
import { temporaryFolder } from '../support/cli.ts'
import { closing } from '../support/closers.ts'
import { SERVER } from './new-job.ts'
import { worker } from './store-suite.ts'

export const error = (kind: ErrorKind, message: string = kind) =>
  new ComfyAuthError(kind, message, { remedy: 'Do something.' })

export async function queueOf(...jobs: NewJob[]): Promise<Store> {
  const store = closing(await openStore(join(temporaryFolder(), 'queue.db')))
  await store.add(jobs)
  return store
}

/** A server that takes everything and finishes it at once, but for what a test says. */
export function server(parts: Partial<Server> = {}): Server & { readonly sent: string[]; readonly looked: string[] } {
  const sent: string[] = []
  const looked: string[] = []
  const { send, look, ...rest } = parts
  return {
    url: SERVER,
    sent,
    looked,
    prepare: async () => {},
    forget: () => {},
    send: async (job) => {
      sent.push(job.id)
      return send ? send(job) : { kind: 'accepted' }
    },
    look: async (id) => {
      looked.push(id)
      return look ? look(id) : { state: 'absent' }
    },
    follow: async (_job, { onRunning }) => {
      onRunning()
      return { state: 'done' }
    },
    collect: async (job) => [`${job.output}/a.png`],
    ...rest,
  }
}

export function options(
  store: Store,
  target: Server,
  parts: Partial<WorkOptions> = {},
): WorkOptions & { events: WorkEvent[] } {
  const events: WorkEvent[] = []
  return {
    store,
    server: target,
    worker: worker('w'),
    once: true,
    onUnknown: 'hold',
    signal: new AbortController().signal,
    onEvent: (event) => events.push(event),
    nowMs: () => 10_000,
    newId: () => 'second-id',
    sleep: async () => {},
    events,
    ...parts,
  }
}
