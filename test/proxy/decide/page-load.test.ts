import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Role } from '../../../src/keys/roles.ts'
import { ask, cookie, SESSIONS } from '../../support/policy.ts'

interface PageRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

/** What Chromium asks for while the frontend 1.49.6 loads, cut down to two of a kind. */
const recorded = JSON.parse(
  readFileSync(new URL('../../fixtures/comfyui-0.33.0/page-requests.json', import.meta.url), 'utf8'),
) as Record<'requests' | 'reload_requests' | 'extra_with_manager', readonly PageRequest[]>

const OURS = 'http://127.0.0.1:8189'
const all = [...recorded.requests, ...recorded.reload_requests, ...recorded.extra_with_manager]

/** What of the page's load a session of this role does not get. */
function refused(role: Role, headersOf: (request: PageRequest) => Record<string, string>): string[] {
  const lines = all.flatMap((request) => {
    const headers = { ...headersOf(request), ...cookie(SESSIONS[role].cookie) }
    const decision = ask({ method: request.method, target: request.path, headers })
    return decision.kind === 'refuse' ? [`${decision.refusal.reason}: ${request.method} ${request.path}`] : []
  })
  return [...new Set(lines)]
}

const asSent = ({ headers }: PageRequest) => ({
  'sec-fetch-site': 'same-origin', // not kept of the one that Manager adds
  ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.replace('<origin>', OURS)])),
})

/** Without TLS a browser beyond localhost sends no Sec-Fetch-*, and an Origin with writes alone. */
const asSentOnALan = ({ method }: PageRequest): Record<string, string> => ({
  Referer: `${OURS}/`,
  ...(method === 'GET' ? {} : { Origin: OURS }),
})

const CONSOLE = ['role: GET /internal/folder_paths', 'role: GET /api/v2/customnode/installed']
const FIRST_LOAD = [
  'role: POST /api/settings/Comfy.InstalledVersion',
  'role: POST /api/settings/Comfy.TutorialCompleted',
]

test.each([
  ['viewer', [...FIRST_LOAD, ...CONSOLE]],
  ['user', CONSOLE],
  ['admin', []],
] as const)('the page for the role %s is refused nothing but what it lives without', (role, expected) => {
  expect(all.length).toBeGreaterThan(60)
  expect(refused(role, asSent).sort()).toEqual([...expected].sort())
  expect(refused(role, asSentOnALan).sort()).toEqual([...expected].sort())
})
