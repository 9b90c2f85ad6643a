import { afterEach } from 'vitest'

/** Called after the test, the last first. */
export const closers: (() => unknown)[] = []

// Not onTestFinished, which comes later than the look at what was said: what closes may speak too.
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** To be closed after the test. */
export function closing<T extends { close(): unknown }>(opened: T): T {
  closers.push(() => opened.close())
  return opened
}
