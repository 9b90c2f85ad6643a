import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { onTestFinished } from 'vitest'

const STEPS = ['openSync', 'writeSync', 'fsyncSync', 'closeSync', 'linkSync', 'unlinkSync', 'renameSync'] as const
export type Step = (typeof STEPS)[number]

type Call = (...args: never[]) => unknown

/** Puts `watch` before every system call that writing a file takes, until the test ends; what it throws, the call throws. */
export function interceptFs(watch: (step: Step, args: readonly unknown[]) => void): void {
  const table = fs as unknown as Record<Step, Call>
  const originals = STEPS.map((step) => [step, table[step]] as const)
  for (const [step, original] of originals) {
    table[step] = (...args) => {
      watch(step, args)
      return original(...args)
    }
  }
  syncBuiltinESMExports()
  onTestFinished(() => {
    for (const [step, original] of originals) table[step] = original
    syncBuiltinESMExports()
  })
}

/** An error as the system gives it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made up`), { code })
}
