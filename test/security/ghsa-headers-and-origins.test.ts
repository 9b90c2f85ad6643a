import { expect, test } from 'vitest'
import { ask, bearer, cookie, forwarded, KEYS, type PolicyOverrides, SESSIONS } from '../support/policy.ts'

function sentNames(headers: readonly string[], policy: PolicyOverrides = {}): string[] {
  const sent = forwarded({ target: '/queue', headers: ['X-API-Key', KEYS.user, ...headers] }, policy)
  return sent.headers.filter((_, i) => i % 2 === 0)
}

test('oauth2-proxy CVE-2025-64484: an underscore for a hyphen smuggles no trusted header', () => {
  const trusting = { isTrustedProxy: () => true, comfyUser: 'pass' } as const
  for (const name of [
    'X_Forwarded_For',
    'X-Forwarded_For',
    'x_forwarded_proto',
    'X_Real_IP',
    'Comfy_User',
    'X_API_Key',
  ]) {
    expect(sentNames([name, 'x']), name).toEqual(['Host'])
    expect(sentNames([name, 'x'], trusting), name).toEqual(['Host'])
  }
})

test('Traefik CVE-2024-45410: Connection takes away nothing that we set, and hides no carrier', () => {
  expect(sentNames(['Connection', 'Host, X-API-Key, X-Forwarded-For', 'X-Forwarded-For', '1.2.3.4'])).toEqual(['Host'])
  const headers = { Connection: 'Origin, Cookie', Origin: 'https://evil.example', ...cookie(SESSIONS.admin.cookie) }
  expect(ask({ method: 'POST', target: '/free', headers })).toMatchObject({ refusal: { reason: 'foreign-origin' } })
})

test("Caddy CVE-2026-30851: a client's own identity header never reaches the upstream", () => {
  expect(sentNames(['comfy-user', 'admin_1'])).toEqual(['Host'])
  expect(sentNames(['X-Forwarded-User', 'admin', 'X-Real-IP', '127.0.0.1'])).toEqual(['Host'])
})

test('JupyterHub CVE-2026-40864: no-cors and an opaque origin are never safe', () => {
  const post = (headers: Record<string, string>) =>
    ask({ method: 'POST', target: '/free', headers: { ...headers, ...cookie(SESSIONS.admin.cookie) } })
  expect(post({ 'Sec-Fetch-Mode': 'no-cors' })).toMatchObject({ refusal: { reason: 'foreign-origin' } })
  expect(post({ 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Site': 'same-site' })).toMatchObject({
    refusal: { status: 403 },
  })
  expect(post({ Origin: 'null' })).toMatchObject({ refusal: { reason: 'foreign-origin' } })
})

test('code-server CVE-2023-26114: a foreign page opens no socket with the cookie', () => {
  for (const origin of [
    'https://evil.example',
    'http://127.0.0.1:3000',
    'http://127.0.0.1:8189.evil.example',
    'null',
  ]) {
    const headers = { Origin: origin, ...cookie(SESSIONS.admin.cookie) }
    expect(ask({ target: '/ws', upgrade: true, headers }), origin).toMatchObject({
      refusal: { reason: 'foreign-origin' },
    })
  }
})

test('ComfyUI-Manager #2818: a GET that acts is not reached by an image on another port', () => {
  for (const target of ['/manager/reboot', '/api/manager/reboot', '/v2/manager/reboot', '/customnode/install']) {
    const headers = cookie(SESSIONS.admin.cookie)
    expect(ask({ target, headers }), target).toMatchObject({ refusal: { reason: 'foreign-origin' } })
    const foreign = { ...headers, Referer: 'http://127.0.0.1:3000/' }
    expect(ask({ target, headers: foreign }), target).toMatchObject({ refusal: { reason: 'foreign-origin' } })
  }
})

test('jupyter-server-proxy CVE-2024-28179: a socket passes every rule that a request passes', () => {
  const socket = { target: '/ws', upgrade: true }
  expect(ask(socket)).toMatchObject({ refusal: { status: 401 } })
  expect(ask({ ...socket, headers: bearer('wrong-key') })).toMatchObject({ refusal: { status: 401 } })
  expect(ask({ ...socket, headers: { Host: 'evil.example', ...bearer(KEYS.admin) } })).toMatchObject({
    refusal: { status: 421 },
  })
  expect(ask({ target: '/custom/ws', upgrade: true, headers: bearer(KEYS.user) })).toMatchObject({
    refusal: { status: 403 },
  })
})

test('Jupyter CVE-2026-40934: a cookie dies with its key, not only with its own time', () => {
  const headers = cookie(SESSIONS.user.cookie)
  expect(ask({ target: '/queue', headers }, { findKeyById: () => undefined })).toMatchObject({
    refusal: { status: 401, reason: 'dead-credential' },
  })
})
