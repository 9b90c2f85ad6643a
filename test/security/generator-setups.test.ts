import { afterAll, expect, test } from 'vitest'
import { PLANS } from './generator/plans.ts'
import { seedOfRun } from './generator/random.ts'
import { pursue } from './generator/report.ts'
import { openWorld, SETUPS } from './generator/setups.ts'

const seed = seedOfRun()
const lines: string[] = []

afterAll(() => {
  console.info([`COMFY_AUTH_SEED=${seed}`, ...lines].join('\n'))
})

const names = Object.keys(SETUPS) as (keyof typeof SETUPS)[]

test.each(names)('nothing passes that may not: %s', { timeout: 120_000 }, async (name) => {
  const world = await openWorld(SETUPS[name])
  try {
    const { findings, line, total } = await pursue(PLANS[name], seed, world)
    lines.push(`${name}: ${line}`)
    expect(findings, `COMFY_AUTH_SEED=${seed}`).toEqual([])
    // Some of it may: where nothing arrives, nothing was judged
    expect(total.arrived).toBeGreaterThan(0)
  } finally {
    await world.close()
  }
})
