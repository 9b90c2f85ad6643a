import { thisWorker } from '../../../src/queue/lease.ts'
import { openStore } from '../../../src/queue/store.ts'
import { SERVER } from '../new-job.ts'

const store = await openStore(process.argv[2]!)
await store.claim(thisWorker('hold'), { nowMs: Date.now(), server: SERVER })
process.send!('held')
