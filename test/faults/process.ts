import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startCli } from '../support/cli.ts'
import { type Followed, follow } from '../support/follow.ts'

export const KEY = 'a key of the tests of faults, long enough'

/** A serve of the built command line: its process is what these tests look at. */
export interface Served extends Followed {
  readonly port: number
  readonly pid: number
  readonly home: string
  readonly auditLog: string
  /** Open file descriptors, as the kernel counts them. */
  fds(): number
  /** Resident memory, in MiB. */
  rssMb(): number
  /** Resolves once no more than `most` descriptors are open; what is left open fails the test by its time. */
  fdsWithin(most: number): Promise<void>
  kill(signal: NodeJS.Signals): void
  close(): Promise<void>
}

/** Lines of the audit log, read again each time. */
export function auditLines(served: Served): Record<string, unknown>[] {
  const text = readFileSync(served.auditLog, 'utf8')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

/**
 * `upstream`: a URL. `under`: a command that starts it, with its arguments, as `prlimit --nofile=256`. `uid`: whose process
 * and home it is.
 */
export async function serve(
  upstream: string,
  args: readonly string[] = [],
  under: readonly string[] = [],
  uid?: number,
): Promise<Served> {
  const home = mkdtempSync(join(tmpdir(), 'comfy-auth-faults-'))
  const keyFile = join(home, 'keys.txt')
  const auditLog = join(home, 'audit.log')
  writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 })
  const all = ['serve', '--port', '0', '--upstream', upstream, '--api-key-file', keyFile, '--audit-log', auditLog]
  if (uid !== undefined) for (const path of [home, keyFile]) chownSync(path, uid, uid)
  const child = startCli([...all, ...args], { home, under, ...(uid !== undefined && { uid }) })
  const followed = follow(child)
  const greeting = await followed.says(/Keys: .*\n/)
  const pid = child.pid!
  const fds = () => readdirSync(`/proc/${pid}/fd`).length
  return {
    ...followed,
    port: Number(/:(\d+)\/auth_login/.exec(greeting)![1]),
    pid,
    home,
    auditLog,
    fds,
    rssMb: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024,
    async fdsWithin(most) {
      while (fds() > most) await new Promise((resolve) => setTimeout(resolve, 5))
    },
    kill: (signal) => void child.kill(signal),
    async close() {
      child.kill('SIGKILL')
      await followed.ended()
      chmodSync(home, 0o700)
      rmSync(home, { recursive: true, force: true })
    },
  }
}
