import { readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/**
 * Who holds a job while it works on it. A lease ends by itself `LEASE_MS` after its last renewal, and at once when
 * `isAlive` knows that its holder has died.
 */
export interface Worker {
  readonly id: string
  isAlive(workerId: string): boolean
}

/** How long a worker that is silent keeps its jobs. It renews them four times as often. */
export const LEASE_MS = 60_000

/** Process ids mean something within one pid namespace only: two containers may share the queue's file and the host's name. */
function whereIdsHold(): string {
  try {
    return `${hostname()}/${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return hostname() // no Linux
  }
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' // it runs, as somebody else
  }
}

/**
 * This process as a worker. `nonce` tells two workers of one process apart. Another process counts as dead only where
 * that is certain: a holder on another machine, or one whose pid was given away again, is waited for.
 */
export function thisWorker(nonce: string): Worker {
  const here = whereIdsHold()
  return {
    id: `${process.pid}.${nonce}@${here}`,
    isAlive(workerId) {
      const [, pid, place] = /^(\d+)\.[^@]*@(.*)$/.exec(workerId) ?? []
      return place !== here || runs(Number(pid))
    },
  }
}
