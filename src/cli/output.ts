import { setImmediate as turn } from 'node:timers/promises'
import { errorCode, errorText } from '../files/errno.ts'

/** What a shell sees of a program that SIGPIPE ended: 128 + 13. */
export const BROKEN_PIPE = 141

/** Why stdout took nothing more; undefined where its reader went away, which is nobody's fault. */
export function lossText(error: unknown): string | undefined {
  return errorCode(error) === 'EPIPE' ? undefined : `stdout cannot be written: ${errorText(error)}.`
}

export interface OutputWatch {
  /** Resolves when all that was printed has been taken or turned away, and `lost` was called for what was not. */
  flushed(): Promise<void>
  /** An error of stdout or stderr that was seen; oclif's own listener throws it once more. */
  knows(error: unknown): boolean
  close(): void
}

/** Calls `lost` for the first thing that stdout does not take. What stderr does not take there is nowhere to tell of. */
export function watchOutput(lost: (error: unknown) => void): OutputWatch {
  const seen: unknown[] = []
  const onStdout = (error: unknown) => {
    if (seen.push(error) === 1) lost(error)
  }
  const onStderr = () => {}
  process.stdout.on('error', onStdout)
  process.stderr.on('error', onStderr)
  return {
    async flushed() {
      if (process.stdout.writableLength > 0) await new Promise((done) => process.stdout.write('', done))
      await turn() // a stream tells of its errors a little later
    },
    knows: (error) => seen.includes(error),
    close() {
      process.stdout.off('error', onStdout)
      process.stderr.off('error', onStderr)
    },
  }
}
