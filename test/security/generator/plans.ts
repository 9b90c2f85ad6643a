import { FAMILIES } from './families.ts'
import { hops, origins, spoofs } from './hops.ts'
import { around } from './paths.ts'
import { EXEMPTED, MANAGED, ROUTED, sockets } from './places.ts'
import type { Plan } from './report.ts'
import type { SETUPS } from './setups.ts'
import { contents, injections, mixes, pseudo, tunnels } from './streams.ts'

/** Families of the usual run, so many cases of each. */
function some(count: number, ...names: readonly string[]): Plan {
  return names.map((name) => [name, FAMILIES[name]!.family, count] as const)
}

const WALK = ['paths', 'targets', 'methods', 'headers', 'smuggles'] as const

/** What is sent to each setup: what its flags are about, and some of everything that they might have loosened. */
export const PLANS: Readonly<Record<keyof typeof SETUPS, Plan>> = {
  'behind a proxy': [
    ['hops', hops, 120],
    ['spoofs', spoofs, 300],
    ['origins', origins, 400],
    ...some(300, 'foreign', 'hosts', 'headers', 'paths'),
    ...some(20, 'tooManyGuesses'),
  ],
  'behind a proxy that says who it is': [
    ['hops', hops, 60],
    ['spoofs', spoofs, 300],
    ['origins', origins, 600],
    ...some(200, 'foreign', 'hosts'),
  ],
  '--exempt minimal': some(250, ...WALK, 'upgrades'),
  '--exempt-path': [
    ['exempted', around(EXEMPTED), 1_500],
    ['sockets', sockets(EXEMPTED), 500],
    ...some(250, ...WALK, 'clientIds', 'upgrades', 'foreign'),
  ],
  '--route': [['routed', around(ROUTED), 1_500], ['sockets', sockets(ROUTED), 300], ...some(250, ...WALK)],
  '--comfy-user pass': some(250, ...WALK, 'userFiles', 'stops'),
  'Manager v4': [['managed', around(MANAGED), 1_000], ...some(150, 'paths', 'foreign')],
  'Manager v3': [['managed', around(MANAGED), 1_000], ...some(150, 'paths', 'foreign')],
  '--enable-cors-header *': some(250, ...WALK, 'foreign', 'guesses'),
  '--enable-cors-header ORIGIN': some(250, ...WALK, 'foreign', 'guesses'),
  '--browser-storage off': some(250, 'paths', 'guesses', 'elsewhere', 'contradictions', 'foreign', 'headers'),
  'a unix socket': some(200, ...WALK, 'stops', 'upgrades', 'pipelines'),
  'HTTP/1.1 within TLS': some(
    100,
    ...WALK,
    'pipelines',
    'chunks',
    'lengths',
    'codings',
    'foreign',
    'upgrades',
    'hosts',
    'guesses',
  ),
  'HTTP/2': [
    ['pseudo', pseudo, 1_000],
    ['injections', injections, 600],
    ['contents', contents, 800],
    ['tunnels', tunnels, 300],
    ['mixes', mixes, 600],
    ...some(2_500, 'paths'),
    ...some(600, 'targets', 'methods', 'stops'),
    ...some(300, 'foreign', 'hosts', 'headers', 'guesses', 'pipelines', 'smuggles', 'userFiles', 'upgrades'),
    ...some(150, 'elsewhere', 'contradictions', 'serviceWorkers', 'failedHandshakes', 'clientIds', 'heads', 'http10'),
    ...some(20, 'takenPrompts', 'tooManyGuesses'),
  ],
}
