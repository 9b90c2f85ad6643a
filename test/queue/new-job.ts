import { randomUUID } from 'node:crypto'
import type { NewJob } from '../../src/queue/job.ts'

export const SERVER = 'http://127.0.0.1:8189'

export function newJob(fields: Partial<NewJob> = {}): NewJob {
  return {
    id: randomUUID(),
    workflow: '{"1":{"class_type":"KSampler","inputs":{"seed":18446744073709551615,"cfg":8.0}}}',
    label: 'a.json',
    output: '/tmp/out',
    priority: 0,
    addedMs: 1_000,
    ...fields,
  }
}
