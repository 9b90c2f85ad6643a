import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from '../../../src/comfy/client.ts'
import { comfyServer } from '../../../src/queue/comfy-server.ts'
import { thisWorker } from '../../../src/queue/lease.ts'
import { openStore } from '../../../src/queue/store.ts'
import { work } from '../../../src/queue/worker.ts'

const [path, url, killAt] = process.argv.slice(2)
let steps = 0

/** Counts before and after every call, and dies by SIGKILL at the chosen count: between any two acts of the worker. */
function counted<T extends object>(target: T): T {
  const step = (): void => {
    steps += 1
    if (steps === Number(killAt)) process.kill(process.pid, 'SIGKILL')
  }
  return new Proxy(target, {
    get: (_target, name) => {
      const member = target[name as keyof T]
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => {
        step()
        const result: unknown = Reflect.apply(member, target, args)
        if (!(result instanceof Promise)) return result
        return result.finally(step)
      }
    },
  })
}

const client = createClient({ url: url! })
const store = counted(await openStore(path!))
await work({
  store,
  server: counted(comfyServer(client, { pollMs: 20 })),
  worker: thisWorker('work'),
  once: true,
  onUnknown: 'hold',
  signal: new AbortController().signal,
  onEvent: () => {},
  nowMs: Date.now,
  newId: randomUUID,
  sleep: () => pause(5),
})
await client.close()
process.send!(steps)
process.disconnect()
