import { thisWorker } from '../../../src/queue/lease.ts'
import { openStore } from '../../../src/queue/store.ts'
import { SERVER } from '../new-job.ts'

const store = await openStore(process.argv[2]!)
const ids: string[] = []
for (;;) {
  const job = await store.claim(thisWorker('claim'), { nowMs: Date.now(), server: SERVER })
  if (!job) break
  ids.push(job.id)
}
process.send!(ids)
process.once('message', () => {
  store.close()
  process.disconnect()
})
