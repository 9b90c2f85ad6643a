import { TAG, type Who } from './case.ts'
import type { Need, Rules } from './rules.ts'
import type { World } from './world.ts'

/** What reached ComfyUI, as its own log has it. */
export interface Arrived {
  readonly method: string
  readonly target: string
  readonly headers: readonly string[]
  readonly upgrade: boolean
  readonly body: { readonly text?: string; readonly bytes: number }
  readonly raw?: string
}

/** Written from what ComfyUI 0.33.0 does, apart from the proxy's own table. `{}` is one segment, `**` any rest, `+` has a twin under /api. */
const READS = `
  + / + /ws + /system_stats + /features + /prompt + /queue + /history + /history/{} + /object_info + /object_info/{}
  + /embeddings + /models + /models/{} + /experiment/models + /experiment/models/{} + /experiment/models/preview/{}/{}/**
  + /view_metadata/{} + /view + /extensions + /i18n + /workflow_templates + /node_replacements + /global_subgraphs
  + /global_subgraphs/{} + /settings + /settings/{} + /users + /userdata + /userdata/{} + /v2/userdata
  + /api/jobs + /api/jobs/{}
  - /api/assets - /api/assets/{uuid} - /api/assets/{uuid}/content - /api/assets/tags/refine - /api/assets/seed/status - /api/tags
  - /api/workflow_templates/{}/** - /extensions/** - /templates/** - /docs/** - /assets/** - /scripts/** - /lib/** - /fonts/**
  - /cursor/** - /index.html - /user.css - /materialdesignicons.min.css - /favicon.ico`
const WRITES = `
  + /prompt + /upload/image + /upload/mask + /userdata/{} + /userdata/{}/move/{} + /settings + /settings/{}
  + /interrupt + /queue + /api/jobs/cancel + /api/jobs/{}/cancel`
const DELETES = '+ /userdata/{}'
const HEADS = '- /api/assets/hash/{}'

function compile(table: string): RegExp {
  const words = table.trim().split(/\s+/)
  const paths: string[] = []
  for (let i = 0; i < words.length; i += 2) {
    const path = words[i + 1]!
    paths.push(path, ...(words[i] === '+' ? [`/api${path}`] : []))
  }
  const patterns = paths.map((path) =>
    path
      .replaceAll('.', '\\.')
      .replaceAll('{uuid}', '[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}')
      .replaceAll('{}', '[^/]+')
      .replaceAll('**', '.+'),
  )
  return new RegExp(`^(?:${patterns.join('|')})$`, 's')
}

const READ = compile(READS)
const WRITE = compile(WRITES)
const DELETE = compile(DELETES)
const HEAD = compile(HEADS)
const MANAGER =
  /^(?:\/extensions\/comfyui-manager-legacy|(?:\/api)?(?:\/v2)?\/(?:manager|customnode|snapshot|comfyui_manager|externalmodel))\//
const OPEN = new RegExp(
  '^/(?:(?:assets|scripts|lib|fonts|cursor|templates|docs)/(?:.*/)?[^/]*\\.(?:html|js|css|json|png|jpe?g|gif|webp|svg|ico|woff2?|ttf|mp3|wav|mp4|webm)' +
    '|extensions/(?:.*/)?[^/]*\\.(?:js|css|svg|woff2?|ttf)|materialdesignicons\\.min\\.css|favicon\\.ico)$',
  'is',
)
const ROOTS =
  /^\/(?:assets|scripts|lib|fonts|cursor|templates|docs|extensions|materialdesignicons\.min\.css|favicon\.ico)/

/** Strictly, once; undefined where it cannot be. */
function decodeOnce(text: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return undefined
  const bytes = Buffer.from(text, 'latin1')
    .toString('latin1')
    .replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(bytes, 'latin1'))
  } catch {
    return undefined
  }
}

/** As Python's unquote: what cannot be decoded stays. */
function unquote(text: string): string {
  return text.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) => decodeOnce(run) ?? run)
}

interface Read {
  /** What aiohttp's router matches: decoded, but for `%2F` and `%25`. */
  readonly route: string
  /** Whether two readers could read it differently: then it is admin's (rule 1). */
  readonly doubtful: boolean
}

/** The path that ComfyUI takes from a request-target: it cuts at `#`, takes the authority off, and decodes once. */
function readPath(target: string): Read {
  const cut = target.split('#', 1)[0]!
  const own = cut.startsWith('/') ? cut : cut.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, '') || '/'
  const path = own.split('?', 1)[0]!
  const raw = path.slice(1).split('/')
  let doubtful = cut !== target || own !== cut || !path.startsWith('/')
  const decoded = raw.map((segment) => decodeOnce(segment))
  const base = decoded[0] === 'api' ? 1 : 0
  const names =
    decoded[base] === 'userdata' &&
    (raw.length === base + 2 || (raw.length === base + 4 && decoded[base + 2] === 'move'))
  const classes = decoded[base] === 'object_info' && raw.length === base + 2
  for (const [i, segment] of decoded.entries()) {
    if (segment === undefined || (segment === '' && i < raw.length - 1)) doubtful = true
    else if (names && (i === base + 1 || i === base + 3)) doubtful ||= isDoubtfulName(segment)
    else if (/[\\;%\p{Cc}]/u.test(segment) || segment === '.' || segment === '..') doubtful = true
    else if (segment.includes('/')) doubtful ||= !(classes && i === base + 1) || /(?:^|\/)\.\.?(?:\/|$)/.test(segment)
  }
  const route = decoded.map((segment, i) => segment?.replaceAll('%', '%25').replaceAll('/', '%2F') ?? raw[i]).join('/')
  return { route: `/${route}`, doubtful }
}

function isDoubtfulName(once: string): boolean {
  const twice = unquote(once)
  if (/[\\\p{Cc}]/u.test(once) || /[\\\p{Cc}\ufffd]/u.test(twice)) return true
  return twice.split('/').some((part) => part === '' || part === '.' || part === '..')
}

/** The user's style sheet, however a file system may spell it. */
function namesUserCss(route: string): boolean {
  return route.split('/').some((segment) => {
    const name = unquote(unquote(segment)).normalize('NFKC').toLowerCase()
    return /^user\.css(?:[. ]*|:.*)$/.test(name)
  })
}

/** It asked to become a socket, whatever ComfyUI made of that. */
function isUpgrade(arrived: Arrived): boolean {
  return arrived.upgrade || valuesOf(arrived, 'upgrade').length > 0
}

/** The least principal that may have this executed; a stop of one's own prompts is judged by its body apart. */
function needOf(arrived: Arrived, rules: Rules): Need {
  const { method } = arrived
  const { route, doubtful } = readPath(arrived.target)
  if (doubtful) return 'admin'
  if ((method === 'GET' || method === 'HEAD') && isOpen(route, isUpgrade(arrived), rules)) return 'nobody'
  const known = tableOf(method, route)
  if (known !== undefined) return known
  return rules.routes.find(([, methods, paths]) => methods.test(method) && paths.test(route))?.[0] ?? 'admin'
}

function isOpen(route: string, upgrade: boolean, { statics, open, openSocket }: Rules): boolean {
  if (upgrade) return openSocket?.test(route) === true
  return (statics && ROOTS.test(route) && OPEN.test(route)) || open?.test(route) === true
}

/** By what is written above; undefined where it says nothing. */
function tableOf(method: string, route: string): Need | undefined {
  if (MANAGER.test(route)) return 'admin'
  if (method === 'GET' || method === 'HEAD') {
    return READ.test(route) || (method === 'HEAD' && HEAD.test(route)) ? 'viewer' : undefined
  }
  if (method === 'POST' ? WRITE.test(route) : method === 'DELETE' && DELETE.test(route)) {
    return /^(?:\/api)?\/userdata\//.test(route) && namesUserCss(route) ? 'admin' : 'user'
  }
  return undefined
}

const STOP: readonly (readonly [RegExp, string])[] = [
  [/^(?:\/api)?\/interrupt$/, 'prompt_id'],
  [/^(?:\/api)?\/queue$/, 'delete'],
  [/^(?:\/api)?\/api\/jobs\/cancel$/, 'job_ids'],
]

/** What a user stops with it that is not its own; undefined: nothing. */
function stopsOthers(arrived: Arrived, world: World): string | undefined {
  const { route } = readPath(arrived.target)
  const inPath = /^(?:\/api)?\/api\/jobs\/([^/]+)\/cancel$/.exec(route)
  if (inPath && route !== '/api/jobs/cancel')
    return world.own.includes(inPath[1]!) ? undefined : 'a job that is not its own'
  const stop = STOP.find(([pattern]) => pattern.test(route))
  if (!stop || arrived.method !== 'POST') return undefined
  const [, member] = stop
  if (valuesOf(arrived, 'content-encoding').length > 0) return 'an encoded body'
  if (!/^application\/json$/.test(valuesOf(arrived, 'content-type').join())) return 'a body of another type'
  const ids = world.own.flatMap((id) => [`"${id}"`, `"${id}"`])
  const one = `(?:${ids.join('|')})`
  const value = member === 'prompt_id' ? one : `\\[(?:${one}(?:,${one})*)?\\]`
  return new RegExp(`^\\{"${member}":${value}\\}$`).test(arrived.body.text ?? '')
    ? undefined
    : `more than its own: ${arrived.body.text}`
}

function valuesOf({ headers }: Arrived, name: string): string[] {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]!.toLowerCase() === name)
}

/** Who sent it, by its tag; a request without one is nobody's. */
export function senderOf(arrived: Arrived): { readonly number: number; readonly who: Who } {
  const tags = valuesOf(arrived, TAG.toLowerCase())
  const [, number, who] = /^(\d+)\.([a-z]+)$/.exec(tags[0] ?? '') ?? []
  return tags.length === 1 && who !== undefined
    ? { number: Number(number), who: who as Who }
    : { number: -1, who: 'nobody' }
}

/** What the proxy asks of its own accord: for /health, and to learn whose prompt it is. */
function isProxysOwn({ method, target, headers }: Arrived): boolean {
  const names = headers.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
  return (
    method === 'GET' &&
    names.every((name) => name === 'host' || name === 'accept' || name === 'connection') &&
    /^\/(?:system_stats|prompt|queue|history\/[0-9a-f-]{36}|api\/jobs\?status=pending,in_progress)$/.test(target)
  )
}

/** Why this should not have reached ComfyUI, or not like this; undefined where it may. */
export function judge(arrived: Arrived, world: World): string | undefined {
  // Without bytes it is a connection that ended within a request: the client's was cut, or its body broken
  if (arrived.raw !== undefined) return arrived.raw === '' ? undefined : 'bytes that are no HTTP'
  if (isProxysOwn(arrived)) return undefined
  return judgeSender(arrived, world) ?? judgeHead(arrived, world)
}

const RANK: readonly Need[] = ['nobody', 'viewer', 'user', 'admin']

function judgeSender(arrived: Arrived, world: World): string | undefined {
  const { who } = senderOf(arrived)
  if (who === 'nothing') return 'it should have been refused whatever key it has'
  const need = needOf(arrived, world.rules)
  if (who === 'foreign') {
    const isPage = arrived.method !== 'POST' && /^\/(?:index\.html|api\/)?$/.test(readPath(arrived.target).route)
    return (need === 'nobody' && !isUpgrade(arrived)) || isPage ? undefined : 'a foreign page sent it'
  }
  if (who === 'nobody' && arrived.body.bytes > 0) return 'the body of somebody without a key went up'
  if (RANK.indexOf(who) < RANK.indexOf(need)) return `${who} did what only ${need} may`
  if (who === 'user') {
    const stopped = stopsOthers(arrived, world)
    if (stopped !== undefined) return `user stops ${stopped}`
  }
  const query = arrived.target.split('#', 1)[0]!.split('?').slice(1).join('?')
  const clientId = new URLSearchParams(query).get('clientId')
  return arrived.upgrade && clientId === world.clientId && who !== 'admin'
    ? `${who} took the clientId of an admin`
    : undefined
}

const NEVER =
  /^(?:authorization|x-api-key|proxy-authorization|proxy-authenticate|proxy-connection|keep-alive|te|trailer|expect|http2-settings|origin|referer|sec-fetch-site|comfy-user|forwarded|x-real-ip|x-forwarded-.*|x-drop)$/

/** Rule 10, by what arrived. */
function judgeHead(arrived: Arrived, world: World): string | undefined {
  const { headers, target } = arrived
  const { passed, mark, upstreamHost = `127.0.0.1:${world.door.sim.port}` } = world.rules
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase().replaceAll('_', '-')
    if (NEVER.test(name) && passed?.test(headers[i]!.toLowerCase()) !== true) return `the header ${headers[i]} went up`
    if (name === 'upgrade' && headers[i + 1]!.trim().toLowerCase() !== 'websocket')
      return 'an Upgrade that is no WebSocket went up'
  }
  const hosts = valuesOf(arrived, 'host')
  if (hosts.length !== 1 || hosts[0] !== upstreamHost) return `Host went up as ${hosts.join(' and ')}`
  const lengths = valuesOf(arrived, 'content-length').length
  const codings = valuesOf(arrived, 'transfer-encoding').length
  if (lengths + codings > 1) return 'framed twice'
  const names = target
    .split('?')
    .slice(1)
    .join('?')
    .split('&')
    .map((pair) => unquote(pair.split('=', 1)[0]!))
  if (names.includes('api_key') || names.includes('token')) return 'a carrier stands in the query'
  const head = `${target}\n${headers.join('\n')}`
  if (head.includes(mark)) return 'what a client may not say of itself went up'
  const secret = world.secrets.find((text) => head.includes(text))
  return secret === undefined ? undefined : 'a secret went up'
}
