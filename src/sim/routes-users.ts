import { existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { bodyJson, type Call } from './call.ts'
import { fileReply, isActive, regularFile, typeOf } from './files.ts'
import { type Json, PyFloat, type Writable } from './json.ts'
import { empty, json, missingFile, type Reply, raised, text } from './reply.ts'
import type { Handler, Route } from './router.ts'
import { unquote } from './target.ts'
import { UnknownUser } from './users.ts'
import type { World } from './world.ts'

function fileInfo(path: string, root: string): Writable {
  const stat = statSync(path)
  return {
    path: relative(root, path),
    size: stat.size,
    modified: Math.floor(stat.mtimeMs),
    created: Math.floor(stat.ctimeMs),
  }
}

/** Regular files below a folder; names with a leading dot are left out, as glob does. */
function filesBelow(folder: string, deep: boolean): string[] {
  const out: string[] = []
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith('.')) continue
    const path = join(folder, entry.name)
    if (entry.isDirectory() && deep) out.push(...filesBelow(path, deep))
    else if (entry.isFile()) out.push(path)
  }
  return out
}

interface Entry {
  readonly [key: string]: Writable
  readonly name: string
  readonly path: string
  readonly type: 'directory' | 'file'
}

function walk(folder: string, root: string): Entry[] {
  const out: Entry[] = []
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const full = join(folder, entry.name)
    const path = relative(root, full)
    if (entry.isDirectory()) out.push({ name: entry.name, path, type: 'directory' }, ...walk(full, root))
    else {
      const stat = statSync(full)
      out.push({ name: entry.name, path, type: 'file', size: stat.size, modified: new PyFloat(stat.mtimeMs / 1000) })
    }
  }
  return out
}

const folderFirst = (a: Entry, b: Entry) =>
  a.type === b.type ? (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1) : a.type === 'directory' ? -1 : 1

/** /users, /settings, /userdata and /v2/userdata. */
export function userRoutes(world: World): Route[] {
  const { users } = world

  /** Settings answer an unknown user with 401; user files with 500, as anything unforeseen. */
  const guarded =
    (handler: Handler): Handler =>
    async (call, params) => {
      try {
        return await handler(call, params)
      } catch (error) {
        if (error instanceof UnknownUser) return raised(401)
        throw error
      }
    }

  const list: Handler = (call) => {
    const { query } = call.target
    const directory = query.get('dir') ?? ''
    if (directory === '') return text('Directory not provided', 400)
    const folder = users.fileOf(call, directory)
    if (folder === undefined) return text('Invalid directory', 403)
    if (!existsSync(folder)) return text('Directory not found', 404)
    const on = (name: string) => query.get(name)?.toLowerCase() === 'true'
    const files = statSync(folder).isDirectory() ? filesBelow(folder, on('recurse')) : []
    return json(
      files.map((path) => {
        if (on('full_info')) return fileInfo(path, folder)
        const name = relative(folder, path)
        return on('split') ? [name, ...name.split('/')] : name
      }),
    )
  }

  const listV2: Handler = (call) => {
    try {
      const asked = unquote(call.target.query.get('path') ?? '')
      const root = users.rootOf(call)
      const folder = asked === '' ? root : users.fileOf(call, asked, false)
      if (folder === undefined) return text('Invalid path requested', 400)
      if (!existsSync(folder)) return folder === root ? json([]) : text('Requested path not found', 404)
      if (!statSync(folder).isDirectory()) return text('Requested path is not a directory', 400)
      return json(walk(folder, root).sort(folderFirst))
    } catch (error) {
      if (error instanceof UnknownUser) return text('Invalid user specified in request', 403)
      throw error
    }
  }

  /** The path of a user's file, or the answer that there is none. */
  function pathOf(call: Call, name: string, mustExist: boolean): string | Reply {
    const path = users.fileOf(call, name)
    if (path === undefined) return empty(403)
    return mustExist && !existsSync(path) ? empty(404) : path
  }

  const answer = (call: Call, path: string) => {
    const root = users.rootOf(call)
    return json(
      call.target.query.get('full_info')?.toLowerCase() === 'true' ? fileInfo(path, root) : relative(root, path),
    )
  }
  const keeps = (call: Call, path: string) => call.target.query.get('overwrite') === 'false' && existsSync(path)

  const read: Handler = (call, [name = '']) => {
    const path = pathOf(call, name, true)
    if (typeof path !== 'string') return path
    const stat = regularFile(path)
    if (!stat) return missingFile()
    const isStyle = path === join(users.rootOf(call), 'user.css')
    const guessed = typeOf(path)
    const type = isStyle ? 'text/css' : isActive(guessed) ? 'application/octet-stream' : guessed
    return fileReply(call, path, stat, [
      ['Content-Type', type],
      ['X-Content-Type-Options', 'nosniff'],
      ['Content-Disposition', isStyle ? 'inline' : 'attachment'],
    ])
  }

  const write: Handler = async (call, [name = '']) => {
    const path = pathOf(call, name, false)
    if (typeof path !== 'string') return path
    if (keeps(call, path)) return text('File already exists', 409)
    writeFileSync(path, await call.body(), { mode: 0o600 })
    return answer(call, path)
  }

  const remove: Handler = (call, [name = '']) => {
    const path = pathOf(call, name, true)
    if (typeof path !== 'string') return path
    rmSync(path)
    return empty(204)
  }

  const move: Handler = (call, [name = '', destination = '']) => {
    const source = pathOf(call, name, true)
    if (typeof source !== 'string') return source
    const target = pathOf(call, destination, false)
    if (typeof target !== 'string') return target
    if (keeps(call, target)) return text('File already exists', 409)
    const place = existsSync(target) && statSync(target).isDirectory() ? join(target, basename(source)) : target
    renameSync(source, place)
    return answer(call, place)
  }

  return [
    {
      method: 'GET',
      path: '/users',
      handler: (call) =>
        json(
          users.multi
            ? { storage: 'server', users: users.names }
            : { storage: 'server', migrated: existsSync(users.rootOf(call)) },
        ),
    },
    {
      method: 'POST',
      path: '/users',
      handler: async (call) => {
        const body = await bodyJson(call)
        const name = body instanceof Map ? body.get('username') : undefined
        if (typeof name !== 'string') throw new TypeError('username')
        const made = users.add(name)
        return 'id' in made ? json(made.id) : json({ error: made.error }, 400)
      },
    },
    { method: 'GET', path: '/settings', handler: guarded((call) => json(users.settings(call))) },
    {
      method: 'GET',
      path: '/settings/{id}',
      handler: guarded((call, [id = '']) => json(users.settings(call).get(id) ?? null)),
    },
    {
      method: 'POST',
      path: '/settings',
      handler: guarded(async (call) => {
        const settings = users.settings(call)
        const added = await bodyJson(call)
        if (!(added instanceof Map)) throw new TypeError('not a mapping')
        users.saveSettings(call, new Map<string, Json>([...settings, ...added]))
        return empty()
      }),
    },
    {
      method: 'POST',
      path: '/settings/{id}',
      handler: guarded(async (call, [id = '']) => {
        const settings = users.settings(call)
        users.saveSettings(call, settings.set(id, await bodyJson(call)))
        return empty()
      }),
    },
    { method: 'GET', path: '/userdata', handler: list },
    { method: 'GET', path: '/v2/userdata', handler: listV2 },
    { method: 'GET', path: '/userdata/{file}', handler: read },
    { method: 'POST', path: '/userdata/{file}', handler: write },
    { method: 'DELETE', path: '/userdata/{file}', handler: remove },
    { method: 'POST', path: '/userdata/{file}/move/{dest}', handler: move },
  ]
}
