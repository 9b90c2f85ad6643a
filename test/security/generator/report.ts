import type { Family } from './case.ts'
import { type Finding, hunt, type Tally } from './hunt.ts'
import type { World } from './world.ts'

/** Cases of a family, and how many of them a run sends. */
export type Plan = readonly (readonly [name: string, family: Family, count: number])[]

export interface Report {
  readonly findings: readonly Finding[]
  /** A line for people: how much was sent, and how much of it ComfyUI saw. */
  readonly line: string
  readonly total: Tally
}

/** Hunts with all families of a plan; ends at the first that finds something. */
export async function pursue(plan: Plan, seed: number, world: World): Promise<Report> {
  const total: Tally = { cases: 0, requests: 0, arrived: 0 }
  const parts: string[] = []
  for (const [name, family, count] of plan) {
    const tally: Tally = { cases: 0, requests: 0, arrived: 0 }
    const findings = await hunt(family, count, seed, world, tally)
    total.cases += tally.cases
    total.requests += tally.requests
    total.arrived += tally.arrived
    parts.push(`${name} ${tally.cases}`)
    if (findings.length > 0) return { findings, line: parts.join(', '), total }
  }
  const { cases, requests, arrived } = total
  return { findings: [], line: `${cases} cases, ${requests} requests, ${arrived} arrived: ${parts.join(', ')}`, total }
}
