import { vi } from 'vitest'
import { hunt } from './hunt.ts'
import type { Plan } from './report.ts'
import type { Setup } from './setups.ts'

/** A module of the proxy with one rule weakened, as it is loaded in place of the true one. */
export interface Mutant {
  readonly file: string
  readonly weaken: (real: Real) => object
  /** Families of which one, at least, must see it. */
  readonly seenBy: readonly string[]
  /** It is to be seen by the fault that it makes; elsewhere a fault of the mutant's own making shows nothing. */
  readonly faulty?: boolean
}

export type Any = (...args: never[]) => unknown
export type Real = Readonly<Record<string, Any>>
/** `name` answers `value`, whatever it is asked. */
export const always = (name: string, value: unknown) => () => ({ [name]: () => value })
/** `name` is called with changed arguments, or its answer is changed. */
export function around(name: string, change: (real: Any, ...args: never[]) => unknown) {
  return (real: Real) => ({ [name]: (...args: never[]) => change(real[name]!, ...args) })
}

/** Of each family, at a time: a tenth of a run, and enough of the small ones. */
const some = (count: number) => Math.max(200, count / 10)

/** Whether the judge sees that the rule is off, by any family of the plan. */
export async function isSeen(
  { file, weaken, faulty = false }: Mutant,
  plan: Plan,
  setup: Setup,
  seed: number,
): Promise<boolean> {
  vi.resetModules()
  vi.doMock(file.includes(':') ? file : `../../../src/${file}`, async (importReal) => {
    const real = await importReal<Real>()
    return { ...real, ...weaken(real) }
  })
  const { openWorld } = await import('./setups.ts')
  const world = await openWorld(setup)
  try {
    // What one tenth does not hold, the next does: a whole run has ten
    for (let tenth = 0; tenth < 10; tenth++) {
      for (const [, family, count] of plan) {
        const findings = await hunt(family, some(count), seed + tenth, world)
        if (findings.some(({ fault }) => fault === faulty)) return true
      }
    }
    return false
  } finally {
    await world.close()
    vi.doUnmock(file.includes(':') ? file : `../../../src/${file}`)
  }
}

/** After a mutant: the true modules are loaded again. */
export function restore(): void {
  vi.doUnmock('node:http')
  vi.resetModules()
}
