import { openStore } from '../../../src/queue/store.ts'
import { newJob } from '../new-job.ts'

const [path, count] = process.argv.slice(2)
const store = await openStore(path!)
for (let i = 0; i < Number(count); i += 1) await store.add([newJob()])
store.close()
