import { type Case, type Family, type Header, TAG, type Who } from './case.ts'
import { type Arrived, judge, senderOf } from './oracle.ts'
import { createRandom } from './random.ts'
import { LAST, runCases } from './runner.ts'
import type { World } from './world.ts'

/** One request that ComfyUI saw and should not have seen. */
export interface Finding {
  readonly why: string
  /** The proxy itself says that it failed; else ComfyUI saw what it should not have seen. */
  readonly fault: boolean
  readonly arrived: string
  /** The bytes of the case, as a JavaScript string. */
  readonly sent: string
}

/** What a run has sent, and how much of it ComfyUI saw. */
export interface Tally {
  cases: number
  requests: number
  arrived: number
}

const BATCH = 500
/** As much of a long case is shown. */
const SHOWN = 4_000

/** Sends `count` cases of a family and judges what ComfyUI's own log holds afterwards. Ends at the first batch with a finding. */
export async function hunt(
  family: Family,
  count: number,
  seed: number,
  world: World,
  tally: Tally = { cases: 0, requests: 0, arrived: 0 },
): Promise<Finding[]> {
  const random = createRandom(seed)
  let requests = 0
  for (let done = 0; done < count; done += BATCH) {
    const cases: Case[] = []
    const caseOf: number[] = []
    for (let i = 0; i < Math.min(BATCH, count - done); i++) {
      const tag = (who: Who): Header => {
        caseOf[requests] = i
        return [TAG, `${requests++}.${who}`]
      }
      cases.push(family(random, world, tag))
    }
    world.door.sim.clearRequests()
    await runCases(cases, world)
    tally.cases += cases.length
    tally.arrived += world.door.sim.requests.filter((arrived) => senderOf(arrived).number !== LAST).length
    const findings: Finding[] = []
    for (const arrived of world.door.sim.requests) {
      const why = judge(arrived, world)
      if (why === undefined) continue
      const { number } = senderOf(arrived)
      findings.push({ why, fault: false, arrived: textOf(arrived), sent: bytesOf(cases[caseOf[number] ?? -1]) })
    }
    for (const why of world.faults.splice(0)) {
      findings.push({ why, fault: true, arrived: '', sent: '(one of the batch)' })
    }
    if (findings.length > 0) return findings.slice(0, 5)
  }
  tally.requests += requests
  return []
}

function textOf({ method, target, headers, body, raw }: Arrived): string {
  return raw ?? JSON.stringify({ method, target, headers, body: body.text })
}

function bytesOf(sent: Case | undefined): string {
  if (!sent) return '(no tag: one of the batch)'
  const text = sent.pieces.map((piece) => JSON.stringify(piece.toString('latin1').slice(0, SHOWN))).join(' then ')
  return sent.from === undefined ? text : `${text} from ${sent.from}`
}
