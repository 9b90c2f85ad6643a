import { stops, takenPrompts, userFiles } from './bodies.ts'
import type { Family } from './case.ts'
import { chunks, codings, http10, lengths, pipelines, requestLines } from './framing.ts'
import { contradictions, elsewhere, guesses, headers, tooManyGuesses } from './guesses.ts'
import { methods, paths, targets } from './paths.ts'
import { smuggles } from './smuggles.ts'
import { foreign, heads, hosts, serviceWorkers } from './strangers.ts'
import { clientIds, failedHandshakes, upgrades } from './upgrades.ts'

/** Every kind of confusion, and how many of it a run sends. */
export const FAMILIES: Readonly<Record<string, { readonly family: Family; readonly count: number }>> = {
  paths: { family: paths, count: 9_000 },
  targets: { family: targets, count: 700 },
  methods: { family: methods, count: 900 },
  guesses: { family: guesses, count: 2_000 },
  elsewhere: { family: elsewhere, count: 500 },
  contradictions: { family: contradictions, count: 300 },
  tooManyGuesses: { family: tooManyGuesses, count: 20 },
  headers: { family: headers, count: 700 },
  lengths: { family: lengths, count: 600 },
  codings: { family: codings, count: 600 },
  chunks: { family: chunks, count: 600 },
  pipelines: { family: pipelines, count: 500 },
  smuggles: { family: smuggles, count: 1_200 },
  requestLines: { family: requestLines, count: 700 },
  http10: { family: http10, count: 300 },
  stops: { family: stops, count: 1_500 },
  userFiles: { family: userFiles, count: 400 },
  takenPrompts: { family: takenPrompts, count: 60 },
  upgrades: { family: upgrades, count: 700 },
  failedHandshakes: { family: failedHandshakes, count: 200 },
  clientIds: { family: clientIds, count: 200 },
  foreign: { family: foreign, count: 900 },
  hosts: { family: hosts, count: 500 },
  serviceWorkers: { family: serviceWorkers, count: 100 },
  heads: { family: heads, count: 200 },
}
