import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openDoor } from '../support/door.ts'
import { freePort } from '../support/ports.ts'
import { newPerson } from './chromium.ts'
import { atGraph, DESKTOP, hasFrontend, makePicture, NEWEST, VERSIONS, watch, webRootOf } from './real.ts'
import { logIn } from './support.ts'

const NGINX = '/usr/sbin/nginx'
const CADDY = '/usr/bin/caddy'
const DOCS = readFileSync(new URL('../../docs/behind-a-proxy.md', import.meta.url), 'utf8')

/** The page's block that begins so, with its ports and paths made those of this test. */
function block(start: string, places: Readonly<Record<string, string>>): string {
  const found = [...DOCS.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].map(([, text]) => text!)
  let text = found.find((candidate) => candidate.trimStart().startsWith(start))
  if (text === undefined) throw new Error(`no block begins with ${start}`)
  for (const [from, to] of Object.entries(places)) {
    expect(text).toContain(from)
    text = text.replaceAll(from, to)
  }
  return text
}

type After = (done: () => void | Promise<void>) => void

function folder(after: After): string {
  const made = mkdtempSync(join(tmpdir(), 'front-proxy-'))
  after(() => rmSync(made, { recursive: true, force: true }))
  return made
}

async function started(after: After, child: ChildProcess, port: number): Promise<void> {
  after(() => void child.kill())
  const answers = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      })
      socket.on('error', () => resolve(false))
    })
  while (!(await answers())) await new Promise((resolve) => setTimeout(resolve, 50))
}

async function nginx(server: string, port: number, after: After): Promise<void> {
  const dir = folder(after)
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')]
  const subject = ['-subj', '/CN=comfy.test', '-addext', 'subjectAltName=DNS:comfy.test', '-days', '2']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  execFileSync('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' })
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${dir}/${name};`)
    .join(' ')
  writeFileSync(
    join(dir, 'nginx.conf'),
    `daemon off; pid ${dir}/pid; error_log ${dir}/error.log; events {}
     http { access_log off; ${temporary} ${server.replace('/path/to/cert.pem', cert).replace('/path/to/key.pem', key)} }`,
  )
  await started(after, spawn(NGINX, ['-p', dir, '-c', join(dir, 'nginx.conf')], { stdio: 'ignore' }), port)
}

async function caddy(site: string, port: number, after: After): Promise<void> {
  const dir = folder(after)
  const options = `{\n admin off\n local_certs\n skip_install_trust\n auto_https disable_redirects\n storage file_system ${dir}\n}\n`
  writeFileSync(join(dir, 'Caddyfile'), options + site)
  const env = { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir }
  const args = ['run', '--config', join(dir, 'Caddyfile'), '--adapter', 'caddyfile']
  await started(after, spawn(CADDY, args, { stdio: 'ignore', env }), port)
}

const FRONTS = [
  ['nginx', NGINX],
  ['Caddy', CADDY],
] as const
/** The newest frontend everywhere, and the other one in the harder places. */
const PLACES = [
  [NEWEST, ''],
  [NEWEST, '/comfy'],
  [VERSIONS[0], '/comfy'],
] as const

describe.concurrent.each(FRONTS)('behind %s (%s)', (name, binary) => {
  describe('in Chromium', { concurrent: false, timeout: 90_000 }, () => {
    test.skipIf(!existsSync(binary) || !VERSIONS.every(hasFrontend)).for(PLACES)(
      'frontend %s, below "%s": log in, socket, previews, picture, reload, log out',
      async ([version, basePath], { expect, onTestFinished }) => {
        const [outer, inner] = [await freePort(), await freePort()]
        const places = { '127.0.0.1:8189': `127.0.0.1:${inner}` }
        if (name === 'nginx') {
          const server = block('server {', { ...places, 'listen 443 ssl': `listen 127.0.0.1:${outer} ssl` })
          const location = block('location /comfy/', places)
          const text = basePath === '' ? server : server.replace(/location \/ \{\n.*\n/, location)
          await nginx(text, outer, onTestFinished)
        } else {
          const host = basePath === '' ? 'comfy.example.com' : 'gpu.example.com'
          await caddy(block(host, { ...places, [host]: `https://comfy.test:${outer}` }), outer, onTestFinished)
        }
        const publicUrl = `https://comfy.test:${outer}`
        const door = await openDoor(
          { publicUrl, basePath, port: inner, trustedProxies: ['127.0.0.1'] },
          { stepMs: 10, webRoot: webRootOf(version) },
        )
        onTestFinished(() => door.close())
        const url = `${publicUrl}${basePath}`
        expect(door.proxy.url).toBe(url)
        const person = await newPerson({ ...DESKTOP, ignoreHTTPSErrors: true })
        onTestFinished(() => person.close())
        const { page, frames, sockets } = await watch(person)
        const outside: string[] = []
        page.on('request', (request) => {
          const { protocol, origin, pathname } = new URL(request.url())
          // The frontend itself asks for the frames of its tab icon by an absolute path.
          if (protocol !== 'https:' || origin !== publicUrl || pathname.startsWith('/assets/images/favicon_progress'))
            return
          if (!pathname.startsWith(`${basePath}/`)) outside.push(pathname)
        })

        await page.goto(`${url}/?a=b`)
        await logIn(page, door.keys.admin, { remember: true })
        await atGraph(page)
        await makePicture(page)
        expect(frames).toContain(4)
        expect(sockets[0]!.url()).toMatch(`wss://comfy.test:${outer}${basePath}/ws`)
        expect(await person.cookies()).toMatchObject([
          { name: `__Host-comfy_auth_${inner}`, secure: true, httpOnly: true, sameSite: 'Strict' },
        ])
        await page.reload()
        await page.getByRole('button', { name: 'Log out' }).waitFor() // in ComfyUI's page, no login before it
        const tokenSentTo = async (path: string) => {
          const [request] = await Promise.all([
            page.waitForRequest((candidate) => new URL(candidate.url()).pathname === path),
            page.evaluate(`fetch('${path}').then(() => {}, () => {})`),
          ])
          return (await request.allHeaders()).authorization
        }
        expect(await tokenSentTo(`${basePath}/api/queue`)).toMatch(/^Bearer comfyt_/)
        expect(outside).toEqual([])
        // What else the host serves, where the path is not the whole of it.
        if (basePath !== '') expect(await tokenSentTo('/another/program')).toBeUndefined()
        await page.getByRole('button', { name: 'Log out' }).click()
        await page.getByText('You are logged out.').waitFor()
        expect(page.url()).toBe(`${url}/auth_login.html?notice=logged-out`)
        expect(await person.cookies()).toEqual([])
        const seen = door.sim.requests.map(({ target }) => target)
        expect(seen.filter((target) => target.startsWith('/comfy'))).toEqual([])
      },
    )
  })
})
