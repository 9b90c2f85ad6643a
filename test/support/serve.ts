import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import { type CliOptions, startCli } from './cli.ts'

/** A serve of bin/run.js that stands, on a free port. It is killed with the test. */
export interface Serving {
  readonly url: string
  readonly pid: number
  /** All that it has said. */
  output(): string
  /** The output once it fits. */
  says(pattern: RegExp): Promise<string>
  /** SIGHUP, and until the keys have been read as they stood when this was called. */
  reload(): Promise<void>
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

const READ_AGAIN = /\b[Kk]eys were read again/g

export async function startServe(upstream: string, args: readonly string[], options: CliOptions): Promise<Serving> {
  const child = startCli(['serve', '--port', '0', '--upstream', upstream, ...args], options)
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  let ended = false
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const one of waiting) one()
    waiting.clear()
  }
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      wake()
    })
  }
  const closed = once(child, 'close').then(([code]) => {
    ended = true
    wake()
    return code as number | null
  })
  const until = async (met: () => boolean) => {
    while (!met()) {
      if (ended) throw new Error(`serve ended: ${output}`)
      await new Promise<void>((resolve) => waiting.add(resolve))
    }
    return output
  }
  const readings = () => output.match(READ_AGAIN)?.length ?? 0
  await until(() => /Keys: .*\n/.test(output))
  return {
    url: /http:\/\/127\.0\.0\.1:\d+(?=\/auth_login)/.exec(output)![0],
    pid: child.pid!,
    output: () => output,
    says: (pattern) => until(() => pattern.test(output)),
    async reload() {
      // The first reading told may have begun before this call, the second has not.
      for (let round = 0; round < 2; round++) {
        const before = readings()
        child.kill('SIGHUP')
        await until(() => readings() > before)
      }
    },
    stop(signal = 'SIGTERM') {
      child.kill(signal)
      return closed
    },
  }
}
