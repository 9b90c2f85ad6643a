import { randomInt } from 'node:crypto'
import { ComfyAuthError } from '../errors.ts'
import { isNumber, type JsonNumber, numberFrom } from './json.ts'
import { type InputPlace, type Workflow, withInput } from './workflow.ts'

export interface VariationOptions {
  /** Digits, or `random`; absent: the file's own, counted on from there. */
  readonly seed?: string | undefined
  /** How many prompts. Default 1. */
  readonly count?: number | undefined
  /** For `random`: a whole number below the limit. */
  readonly random?: ((limit: number) => number) | undefined
}

export interface Variation {
  readonly workflow: Workflow
  /** What was put into the seed inputs; undefined where they stand as in the file. */
  readonly seed: string | undefined
}

/** The inputs that samplers and noise nodes draw from. */
const SEEDS = ['seed', 'noise_seed']

const MAX_SEED = 2n ** 64n - 1n

/** Every node that has a seed takes 32 bits; some take no more. */
const RANDOM_LIMIT = 2 ** 32

function seedPlaces(workflow: Workflow): { place: InputPlace; present: JsonNumber }[] {
  return [...workflow.nodes.values()].flatMap((node) =>
    SEEDS.flatMap((input) => {
      const present = node.inputs.get(input)
      return isNumber(present) ? [{ place: { node, input }, present }] : []
    }),
  )
}

function whole(digits: string): bigint | undefined {
  return /^\d{1,20}$/.test(digits) && BigInt(digits) <= MAX_SEED ? BigInt(digits) : undefined
}

/**
 * The prompts of `--seed` and `--count`. A given seed goes into every `seed` and `noise_seed` that holds a number, and
 * rises by one from prompt to prompt; equal prompts would only be answered from ComfyUI's cache.
 */
export function variations(workflow: Workflow, { seed, count = 1, random = randomInt }: VariationOptions): Variation[] {
  const places = seedPlaces(workflow)
  const first = seed === undefined || seed === 'random' ? undefined : whole(seed)
  if (seed !== undefined && seed !== 'random' && first === undefined) {
    throw new ComfyAuthError('usage', 'A seed is a whole number from 0 to 18446744073709551615, or random.', {
      remedy: 'Give --seed 42, or --seed random.',
    })
  }
  if (seed !== undefined && places.length === 0) {
    throw new ComfyAuthError('usage', 'No node of the workflow has a seed or noise_seed with a number in it.', {
      remedy: 'Leave --seed out, or set the input by name: --set NODE.INPUT=VALUE.',
    })
  }
  return Array.from({ length: count }, (_, index) => {
    const drawn = seed === 'random' ? BigInt(random(RANDOM_LIMIT)) : undefined
    if (seed === undefined && index === 0) return { workflow, seed: undefined }
    let varied = workflow
    let shown: bigint | undefined
    for (const { place, present } of places) {
      const base = drawn ?? (first ?? whole(present.source) ?? 0n) + BigInt(index)
      const value = base % (MAX_SEED + 1n)
      shown ??= value
      varied = withInput(varied, place, numberFrom(String(value))!)
    }
    return { workflow: varied, seed: shown === undefined ? undefined : String(shown) }
  })
}
