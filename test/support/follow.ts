import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'

/** A process, heard as it speaks. */
export interface Followed {
  /** All that it has said so far, on stdout and stderr. */
  output(): string
  /** The output once this holds. */
  until(met: () => boolean): Promise<string>
  /** The output once it fits. */
  says(pattern: RegExp): Promise<string>
  /** Resolves with its exit code, or the signal's name. */
  ended(): Promise<number | string>
}

export function follow(child: ChildProcessWithoutNullStreams): Followed {
  let output = ''
  let end: number | string | undefined
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
  const closed = once(child, 'close').then(([code, signal]) => {
    end = (code as number | null) ?? (signal as string)
    wake()
    return end
  })
  const until = async (met: () => boolean) => {
    while (!met()) {
      if (end !== undefined) throw new Error(`it ended with ${end}: ${output}`)
      await new Promise<void>((resolve) => waiting.add(resolve))
    }
    return output
  }
  return { output: () => output, until, says: (pattern) => until(() => pattern.test(output)), ended: () => closed }
}
