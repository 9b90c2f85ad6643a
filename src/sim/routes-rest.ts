import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { bodyJson, type Call, header } from './call.ts'
import { fileReply, regularFile, typeOf } from './files.ts'
import { type Json, pyStr, truthy } from './json.ts'
import { isWithin } from './paths.ts'
import { empty, json, missingFile, type Reply, raised, text } from './reply.ts'
import type { Handler, Route } from './router.ts'
import type { World } from './world.ts'

/** The console: /internal/logs. Only bare: the copy under /api does not exist. */
export function logRoutes({ console }: World): Route[] {
  const subscribe: Handler = async (call) => {
    const body = await bodyJson(call)
    const get = (name: string): Json => {
      const value = body instanceof Map ? body.get(name) : undefined
      if (value === undefined) throw new TypeError(name)
      return value
    }
    console.subscribe(pyStr(get('clientId')), truthy(get('enabled')))
    return empty()
  }
  return [
    {
      method: 'GET',
      path: '/internal/logs',
      twin: false,
      handler: () => json(console.entries.map(({ t, m }) => `${t} - ${m}`).join('')),
    },
    {
      method: 'GET',
      path: '/internal/logs/raw',
      twin: false,
      handler: () => json({ entries: console.entries, size: { cols: 80, rows: 24 } }),
    },
    { method: 'PATCH', path: '/internal/logs/subscribe', twin: false, handler: subscribe },
  ]
}

/** Assets answer 503: the simulator has no `--enable-assets`. They stand only under /api. */
export function assetRoutes(): Route[] {
  const disabled: Handler = () =>
    json(
      {
        error: {
          code: 'SERVICE_DISABLED',
          message: 'Assets system is disabled. Start the server with --enable-assets to use this feature.',
          details: {},
        },
      },
      503,
    )
  const lines: readonly (readonly [Route['method'], string])[] = [
    ['GET', ''],
    ['POST', ''],
    ['HEAD', '/hash/{hash}'],
    ['POST', '/from-hash'],
    ['GET', '/tags/refine'],
    ['GET', '/seed/status'],
    ['POST', '/seed'],
    ['POST', '/seed/cancel'],
    ['POST', '/prune'],
    ['GET', '/{id:uuid}'],
    ['PUT', '/{id:uuid}'],
    ['DELETE', '/{id:uuid}'],
    ['GET', '/{id:uuid}/content'],
    ['POST', '/{id:uuid}/tags'],
    ['DELETE', '/{id:uuid}/tags'],
  ]
  return [
    ...lines.map(([method, path]): Route => ({ method, path: `/api/assets${path}`, twin: false, handler: disabled })),
    { method: 'GET', path: '/api/tags', twin: false, handler: disabled },
  ]
}

/** A bad handshake on /ws, in aiohttp's words; a good one never comes here. */
export function socketRoute(): Route {
  const refuse = (words: string): Reply => ({ ...text(words, 400), raised: true })
  const handler: Handler = (call) => {
    const { upgrade } = call.headers
    if (upgrade?.toLowerCase().trim() !== 'websocket')
      return refuse(`No WebSocket UPGRADE hdr: ${upgrade ?? 'None'}\n Can "Upgrade" only to "WebSocket".`)
    const { connection } = call.headers
    if (!/(^|,)\s*upgrade\s*(,|$)/i.test(connection ?? ''))
      return refuse(`No CONNECTION upgrade hdr: ${connection ?? 'None'}`)
    const version = header(call, 'sec-websocket-version') ?? ''
    if (version !== '13' && version !== '8') return refuse(`Unsupported version: ${version}`)
    return refuse(`Handshake error: '${header(call, 'sec-websocket-key') ?? ''}'`)
  }
  return { method: 'GET', path: '/ws', handler }
}

const V4_TEXTS: Readonly<Record<string, string>> = {
  'manager/version': 'V4.2.2',
  'manager/policy/update': 'stable-comfyui',
  'manager/db_mode': 'cache',
  'manager/share_option': 'all',
}
const V4_JSON: Readonly<Record<string, Reply>> = {
  'manager/queue/status': json({
    total_count: 0,
    done_count: 0,
    in_progress_count: 0,
    pending_count: 0,
    is_processing: false,
  }),
  'customnode/installed': json({}),
  'manager/is_legacy_manager_ui': json({ is_legacy_manager_ui: false }),
  'snapshot/getlist': json({ items: [] }),
  'snapshot/get_current': json({
    comfyui: null,
    git_custom_nodes: {},
    cnr_custom_nodes: {},
    file_custom_nodes: [{ filename: 'websocket_image_save.py', disabled: false }],
    pips: {},
  }),
  'manager/channel_url_list': json({
    selected: 'custom',
    list: ['default::https://raw.githubusercontent.com/Comfy-Org/ComfyUI-Manager/main'],
  }),
  'comfyui_manager/comfyui_versions': empty(400),
  'manager/queue/history_list': json({ ids: [] }),
}
const FORMS = /^(?:application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)\b/i
/** State changes that need no body, and so refuse what an HTML form could send. */
const BODILESS = [
  'manager/reboot',
  'manager/queue/start',
  'manager/queue/reset',
  'manager/queue/update_all',
  'snapshot/save',
  'snapshot/restore',
  'snapshot/remove',
]

/** Manager: enough to see that a request reached it. v4 answers under /v2/, v3 where custom nodes do. */
export function managerRoutes({ flags }: World): Route[] {
  const copy = (reply: Reply): Reply => ({ ...reply, headers: [...reply.headers] })
  const routes: Route[] = []
  if (flags.enableManager) {
    for (const [path, words] of Object.entries(V4_TEXTS))
      routes.push({ method: 'GET', path: `/v2/${path}`, handler: () => text(words) })
    for (const [path, reply] of Object.entries(V4_JSON))
      routes.push({ method: 'GET', path: `/v2/${path}`, handler: () => copy(reply) })
    for (const path of BODILESS) {
      routes.push({
        method: 'POST',
        path: `/v2/${path}`,
        handler: (call) =>
          FORMS.test(header(call, 'content-type') ?? '')
            ? text('Invalid Content-Type for this endpoint. Use application/json or omit body.', 400)
            : empty(),
      })
    }
    routes.push(
      { method: 'POST', path: '/v2/manager/queue/task', handler: task },
      { method: 'POST', path: '/v2/customnode/import_fail_info', handler: () => empty(400) },
    )
    for (const family of ['manager', 'customnode', 'snapshot', 'comfyui_manager']) {
      routes.push({ method: 'POST', path: `/v2/${family}/{rest:.*}`, handler: () => empty() })
    }
  }
  if (flags.managerV3) {
    for (const family of ['manager', 'customnode', 'externalmodel', 'snapshot', 'comfyui_manager']) {
      for (const method of ['GET', 'POST'] as const)
        routes.push({ method, path: `/${family}/{rest:.*}`, handler: () => json({}) })
    }
  }
  return routes
}

async function task(call: Call): Promise<Reply> {
  const body = await bodyJson(call)
  const missing = ['ui_id', 'client_id', 'kind', 'params'].filter((name) => !(body instanceof Map && body.has(name)))
  if (missing.length === 0) return empty()
  const lines = missing.map(
    (name) =>
      `${name}\n  Field required [type=missing, input_value={}, input_type=dict]\n    For further information visit https://errors.pydantic.dev/2.14/v/missing`,
  )
  return text(`Invalid task data: ${missing.length} validation errors for QueueTaskItem\n${lines.join('\n')}`, 400)
}

const TEMPLATE_LISTS: Readonly<Record<string, string>> = { 'index.json': '[]', 'index_logo.json': '{}' }

/** The page: `/`, its folders, and what stands beside it. */
export function pageRoutes({ webRoot }: World, index: Buffer | undefined): { routes: Route[]; fallback: Handler } {
  const page: [string, string][] = [
    ['Cache-Control', 'no-store, must-revalidate'],
    ['Pragma', 'no-cache'],
    ['Expires', '0'],
  ]
  const root: Handler = (call) => {
    const file = join(webRoot, 'index.html')
    const found = regularFile(file)
    return found ? fileReply(call, file, found, page, 'text/html') : missingFile()
  }
  const inMemory = (headers: [string, string][]): Reply => ({
    status: 200,
    headers: [...headers, ['Content-Type', 'text/html']],
    body: index,
  })

  const fallback: Handler = (call) => {
    const { decoded } = call.target
    if (decoded.includes('\0')) return raised(404)
    if (decoded.startsWith('/docs/') || decoded === '/docs') return decoded.length > 6 ? missingFile() : raised(403)
    const name = decoded.slice(1)
    const path = join(webRoot, name)
    if (name.startsWith('/') || !isWithin(webRoot, path)) return raised(404)
    if (index && name === 'index.html') return inMemory([])
    const found = regularFile(path)
    if (found) return fileReply(call, path, found, [], typeOf(path))
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? raised(403) : missingFile()
  }

  const template: Handler = (call, [name = '']) => {
    const path = join(webRoot, 'templates', name)
    const found =
      name !== '' && !name.includes('\0') && isWithin(join(webRoot, 'templates'), path) ? regularFile(path) : undefined
    if (found) return fileReply(call, path, found, [], typeOf(path))
    // A frontend package brings no templates; the page only needs lists of them.
    const list = TEMPLATE_LISTS[name]
    if (list === undefined) return raised(404)
    return { status: 200, headers: [['Content-Type', 'application/json']], body: Buffer.from(list) }
  }

  return {
    routes: [
      { method: 'GET', path: '/', handler: index ? () => inMemory(page) : root },
      { method: 'GET', path: '/templates/{path:.*}', twin: false, handler: template },
    ],
    fallback,
  }
}

/** The demo's own page, where the package that holds it is found; undefined where it is not. */
export function demoPage(): Buffer | undefined {
  for (let folder = new URL('.', import.meta.url); folder.pathname !== '/'; folder = new URL('..', folder)) {
    try {
      return readFileSync(new URL('web/demo.html', folder))
    } catch {
      if (folder.href === new URL('..', folder).href) break
    }
  }
  return undefined
}
