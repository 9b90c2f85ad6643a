import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { isAtLeast, ROLES, type Role } from '../../src/keys/roles.ts'
import { type Door, openDoor } from '../support/door.ts'

const ID = '11111111-2222-3333-4444-555555555555'

/** ComfyUI 0.33.0's routes and the least role of each, written down a second time: method, path, twin under /api, role. */
const TABLE: readonly (readonly [string, string, boolean, Role])[] = [
  ['GET', '/', false, 'viewer'],
  ['GET', '/api/', false, 'viewer'],
  ['GET', '/system_stats', true, 'viewer'],
  ['GET', '/features', true, 'viewer'],
  ['GET', '/prompt', true, 'viewer'],
  ['GET', '/queue', true, 'viewer'],
  ['GET', '/history', true, 'viewer'],
  ['GET', `/history/${ID}`, true, 'viewer'],
  ['GET', '/object_info', true, 'viewer'],
  ['GET', '/object_info/KSampler', true, 'viewer'],
  ['GET', '/embeddings', true, 'viewer'],
  ['GET', '/models', true, 'viewer'],
  ['GET', '/models/checkpoints', true, 'viewer'],
  ['GET', '/experiment/models', true, 'viewer'],
  ['GET', '/experiment/models/checkpoints', true, 'viewer'],
  ['GET', '/experiment/models/preview/checkpoints/0/a/b.png', true, 'viewer'],
  ['GET', '/view_metadata/checkpoints?filename=x.safetensors', true, 'viewer'],
  ['GET', '/view?filename=none.png', true, 'viewer'],
  ['GET', '/extensions', true, 'viewer'],
  ['GET', '/i18n', true, 'viewer'],
  ['GET', '/workflow_templates', true, 'viewer'],
  ['GET', '/node_replacements', true, 'viewer'],
  ['GET', '/global_subgraphs', true, 'viewer'],
  ['GET', '/global_subgraphs/x', true, 'viewer'],
  ['GET', '/settings', true, 'viewer'],
  ['GET', '/settings/Comfy.X', true, 'viewer'],
  ['GET', '/users', true, 'viewer'],
  ['GET', '/userdata?dir=workflows', true, 'viewer'],
  ['GET', '/userdata/workflows%2Fa.json', true, 'viewer'],
  ['GET', '/v2/userdata?path=', true, 'viewer'],
  ['GET', '/api/jobs', true, 'viewer'],
  ['GET', `/api/jobs/${ID}`, true, 'viewer'],
  ['GET', '/api/assets', false, 'viewer'],
  ['GET', `/api/assets/${ID}`, false, 'viewer'],
  ['GET', `/api/assets/${ID}/content`, false, 'viewer'],
  ['GET', '/api/assets/tags/refine', false, 'viewer'],
  ['GET', '/api/tags', false, 'viewer'],
  ['GET', '/api/assets/seed/status', false, 'viewer'],
  ['HEAD', '/api/assets/hash/blake3:00', false, 'viewer'],
  ['GET', '/extensions/some-node/readme.md', false, 'viewer'],
  ['POST', '/prompt', true, 'user'],
  ['POST', '/upload/image', true, 'user'],
  ['POST', '/upload/mask', true, 'user'],
  ['POST', '/userdata/a.json', true, 'user'],
  ['DELETE', '/userdata/a.json', true, 'user'],
  ['POST', '/userdata/a.json/move/b.json', true, 'user'],
  ['POST', '/settings', true, 'user'],
  ['POST', '/settings/Comfy.X', true, 'user'],
  // Without an id of one's own these are admin's
  ['POST', '/interrupt', true, 'admin'],
  ['POST', '/queue', true, 'admin'],
  ['POST', `/api/jobs/${ID}/cancel`, true, 'admin'],
  ['POST', '/api/jobs/cancel', true, 'admin'],
  ['POST', '/history', true, 'admin'],
  ['POST', '/free', true, 'admin'],
  ['POST', '/users', true, 'admin'],
  ['POST', '/userdata/user.css', true, 'admin'],
  ['DELETE', '/userdata/user.css', true, 'admin'],
  ['POST', '/userdata/a.css/move/user.css', true, 'admin'],
  ['POST', '/api/assets', false, 'admin'],
  ['POST', '/api/assets/from-hash', false, 'admin'],
  ['PUT', `/api/assets/${ID}`, false, 'admin'],
  ['DELETE', `/api/assets/${ID}`, false, 'admin'],
  ['POST', `/api/assets/${ID}/tags`, false, 'admin'],
  ['DELETE', `/api/assets/${ID}/tags`, false, 'admin'],
  ['POST', '/api/assets/seed', false, 'admin'],
  ['POST', '/api/assets/seed/cancel', false, 'admin'],
  ['POST', '/api/assets/prune', false, 'admin'],
  ['GET', '/internal/logs', false, 'admin'],
  ['GET', '/internal/logs/raw', false, 'admin'],
  ['PATCH', '/internal/logs/subscribe', false, 'admin'],
  ['GET', '/internal/folder_paths', false, 'admin'],
  ['GET', '/internal/files/output', false, 'admin'],
  // Manager, v4 and v3, and what no table names
  ['GET', '/v2/manager/version', true, 'admin'],
  ['POST', '/v2/manager/queue/task', true, 'admin'],
  ['POST', '/v2/manager/reboot', true, 'admin'],
  ['GET', '/v2/customnode/installed', true, 'admin'],
  ['POST', '/v2/customnode/install/git_url', true, 'admin'],
  ['POST', '/v2/snapshot/restore', true, 'admin'],
  ['POST', '/v2/comfyui_manager/comfyui_switch_version', true, 'admin'],
  ['GET', '/manager/reboot', false, 'admin'],
  ['POST', '/customnode/install/pip', false, 'admin'],
  ['GET', '/easyuse/anything', false, 'admin'],
  ['POST', '/easyuse/anything', false, 'admin'],
]

const CASES = TABLE.flatMap(([method, path, twin, least]) => [
  { method, path, least },
  ...(twin ? [{ method, path: `/api${path}`, least }] : []),
])

const withQuery = (path: string, pair: string) => `${path}${path.includes('?') ? '&' : '?'}${pair}`
const basic = (key: string) => `Basic ${Buffer.from(`me:${key}`).toString('base64')}`

/** Each way in which a key travels over HTTP. */
const CARRIERS: Readonly<
  Record<string, (key: string, cookie: string, path: string) => [string, Record<string, string>]>
> = {
  bearer: (key, _, path) => [path, { Authorization: `Bearer ${key}` }],
  'x-api-key': (key, _, path) => [path, { 'X-API-Key': key }],
  api_key: (key, _, path) => [withQuery(path, `api_key=${key}`), {}],
  token: (key, _, path) => [withQuery(path, `token=${key}`), {}],
  basic: (key, _, path) => [path, { Authorization: basic(key) }],
  // Where the table does not know a route, a cookie needs an origin that is ours (rule 9)
  cookie: (_key, cookie, path) => [path, { Cookie: cookie, Origin: `http://127.0.0.1:${door.port}` }],
}

let door: Door
const cookies = {} as Record<Role, string>

beforeAll(async () => {
  door = await openDoor()
  for (const role of ROLES) cookies[role] = await door.logIn(door.keys[role])
})

afterAll(() => door.close())

beforeEach(() => door.sim.clearRequests())

function body(method: string) {
  return method === 'GET' || method === 'HEAD' ? {} : { body: '{}', headers: { 'Content-Type': 'application/json' } }
}

/** Whether ComfyUI saw it: the judge, whatever the answer says. */
async function reaches(method: string, path: string, headers: Record<string, string>, from?: string): Promise<boolean> {
  const before = door.sim.requests.length
  const given = body(method)
  await door.ask(method, path, { ...given, headers: { ...given.headers, ...headers }, ...(from && { from }) })
  return door.sim.requests.length > before
}

describe.each(Object.keys(CARRIERS))('by %s', (carrier) => {
  test.each(ROLES)('a %s reaches what its role may, over every twin, and nothing else', async (role) => {
    const wrong: string[] = []
    for (const { method, path, least } of CASES) {
      const [target, headers] = CARRIERS[carrier]!(door.keys[role], cookies[role], path)
      if ((await reaches(method, target, headers)) !== isAtLeast(role, least)) wrong.push(`${method} ${path}`)
    }
    expect(wrong).toEqual([])
  })

  test('a wrong key reaches nothing', async () => {
    let address = 0
    for (const { method, path } of CASES) {
      address += 1
      const [target, headers] = CARRIERS[carrier]!(`wrong-${address}`, `comfy_auth_${door.port}=wrong-${address}`, path)
      await reaches(method, target, headers, `127.1.${address >> 8}.${address & 255}`)
    }
    expect(door.sim.requests.map(({ target }) => target)).toEqual([])
  })

  test('no credential of ours reaches ComfyUI', async () => {
    const [target, headers] = CARRIERS[carrier]!(door.keys.admin, cookies.admin, '/queue')
    expect((await door.ask('GET', target, { headers })).status).toBe(200)
    const [seen] = door.sim.requests
    const secrets = [door.keys.admin, cookies.admin.split('=')[1]!, basic(door.keys.admin).slice(6)]
    for (const secret of secrets) expect(`${seen!.target} ${seen!.headers.join(' ')}`).not.toContain(secret)
  })
})

test('without a key nothing of the table reaches ComfyUI', async () => {
  for (const { method, path } of CASES) await reaches(method, path, {})
  expect(door.sim.requests.map(({ target }) => target)).toEqual([])
})

describe('an Upgrade', () => {
  const handshake = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
  }

  test.each(['/ws', '/api/ws'])('to %s without a key is 401, and ComfyUI is not dialled', async (path) => {
    expect((await door.ask('GET', path, { headers: handshake })).status).toBe(401)
    expect(door.sim.requests).toEqual([])
  })

  /** Browsers' WebSocket can send no header but this one. */
  const SUBPROTOCOL: (typeof CARRIERS)[string] = (key, _, path) => [
    path,
    { 'Sec-WebSocket-Protocol': `comfy-auth.bearer.${Buffer.from(key).toString('base64url')}` },
  ]
  const carriers = { ...CARRIERS, subprotocol: SUBPROTOCOL }

  test.each(Object.entries(carriers))('opens for a viewer by %s, and for a wrong key does not', async (_, carry) => {
    for (const path of ['/ws', '/api/ws']) {
      door.sim.clearRequests()
      const [target, headers] = carry(door.keys.viewer, cookies.viewer, path)
      expect((await door.ask('GET', target, { headers: { ...handshake, ...headers } })).status).toBe(101)
      const [seen] = door.sim.requests
      expect(door.sim.requests).toHaveLength(1)
      for (const secret of [door.keys.viewer, cookies.viewer.split('=')[1]!, 'bearer', 'Basic'])
        expect(`${seen!.target} ${seen!.headers.join(' ')}`).not.toContain(secret)
      const [wrong, given] = carry('wrong-key-here', `comfy_auth_${door.port}=comfys_${'x'.repeat(43)}`, path)
      expect((await door.ask('GET', wrong, { headers: { ...handshake, ...given } })).status).toBe(401)
      expect(door.sim.requests).toHaveLength(1)
    }
  })

  test.each(Object.entries(carriers))(
    "passes the same roles by %s: a custom node's socket is admin's",
    async (_, carry) => {
      const opened: Role[] = []
      for (const role of ROLES) {
        door.sim.clearRequests()
        const [target, headers] = carry(door.keys[role], cookies[role], '/easyuse/socket')
        await door.ask('GET', target, {
          headers: { ...handshake, Origin: `http://127.0.0.1:${door.port}`, ...headers },
        })
        if (door.sim.requests.length > 0) opened.push(role)
      }
      expect(opened).toEqual(['admin'])
    },
  )

  test('to a path that is no socket passes the role of that path', async () => {
    const headers = { ...handshake, 'X-API-Key': door.keys.viewer }
    expect((await door.ask('GET', '/internal/logs', { headers })).status).toBe(403)
    expect(door.sim.requests).toEqual([])
  })
})
