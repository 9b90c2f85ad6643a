import { onTestFinished } from 'vitest'
import { type CliOptions, startCli } from './cli.ts'
import { type Followed, follow } from './follow.ts'

/** A serve of bin/run.js that stands, on a free port. It is killed with the test. */
export interface Serving extends Followed {
  readonly url: string
  readonly pid: number
  /** SIGHUP, and until the keys have been read as they stood when this was called. */
  reload(): Promise<void>
  stop(signal?: NodeJS.Signals): Promise<number | string>
}

const READ_AGAIN = /\b[Kk]eys were read again/g

export async function startServe(upstream: string, args: readonly string[], options: CliOptions): Promise<Serving> {
  const child = startCli(['serve', '--port', '0', '--upstream', upstream, ...args], options)
  onTestFinished(() => void child.kill('SIGKILL'))
  const followed = follow(child)
  const readings = () => followed.output().match(READ_AGAIN)?.length ?? 0
  const greeting = await followed.says(/Keys: .*\n/)
  return {
    ...followed,
    url: /http:\/\/127\.0\.0\.1:\d+(?=\/auth_login)/.exec(greeting)![0],
    pid: child.pid!,
    async reload() {
      // The first reading told may have begun before this call, the second has not.
      for (let round = 0; round < 2; round++) {
        const before = readings()
        child.kill('SIGHUP')
        await followed.until(() => readings() > before)
      }
    },
    stop(signal = 'SIGTERM') {
      child.kill(signal)
      return followed.ended()
    },
  }
}
