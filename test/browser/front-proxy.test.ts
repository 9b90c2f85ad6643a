import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { hasChromium } from './chromium.ts'
import { atWork, freePort, logIn, openHouse } from './support.ts'

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

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'front-proxy-'))
  onTestFinished(() => rmSync(made, { recursive: true, force: true }))
  return made
}

async function started(child: ChildProcess, port: number): Promise<void> {
  onTestFinished(() => void child.kill())
  await expect
    .poll(
      () =>
        new Promise((resolve) => {
          const socket = connect(port, '127.0.0.1', () => socket.destroy(resolve(true) as undefined))
          socket.on('error', () => resolve(false))
        }),
      { timeout: 10_000 },
    )
    .toBe(true)
}

async function nginx(server: string, port: number): Promise<void> {
  const dir = folder()
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
  await started(spawn(NGINX, ['-p', dir, '-c', join(dir, 'nginx.conf')], { stdio: 'ignore' }), port)
}

async function caddy(site: string, port: number): Promise<void> {
  const dir = folder()
  const options = `{\n admin off\n local_certs\n skip_install_trust\n auto_https disable_redirects\n storage file_system ${dir}\n}\n`
  writeFileSync(join(dir, 'Caddyfile'), options + site)
  const env = { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir }
  const args = ['run', '--config', join(dir, 'Caddyfile'), '--adapter', 'caddyfile']
  await started(spawn(CADDY, args, { stdio: 'ignore', env }), port)
}

/** Runs a prompt from the page and shows its picture; the width of what is seen. */
const SEE_A_PICTURE = `(async () => {
  const base = location.pathname.replace(/[^/]*$/, '')
  const prompt = { 1: { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 255 } },
    2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } } }
  const post = await fetch(base + 'api/prompt', { method: 'POST', body: JSON.stringify({ prompt }) })
  const { prompt_id: id } = await post.json()
  for (;;) {
    const history = await (await fetch(base + 'api/history/' + id)).json()
    if (history[id]) {
      const image = new Image()
      image.src = base + 'api/view?' + new URLSearchParams(history[id].outputs[2].images[0])
      await image.decode()
      return image.naturalWidth
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
})()`

const FRONTS = [
  ['nginx', NGINX, ''],
  ['nginx', NGINX, '/comfy'],
  ['Caddy', CADDY, ''],
  ['Caddy', CADDY, '/comfy'],
] as const

describe.each(FRONTS)('behind %s (%s), below "%s"', (name, binary, basePath) => {
  test.skipIf(!hasChromium || !existsSync(binary))('log in, socket, picture, reload, log out', async () => {
    const [outer, inner] = [await freePort(), await freePort()]
    const places = { '127.0.0.1:8189': `127.0.0.1:${inner}` }
    if (name === 'nginx') {
      const server = block('server {', { ...places, 'listen 443 ssl': `listen 127.0.0.1:${outer} ssl` })
      const location = block('location /comfy/', places)
      await nginx(basePath === '' ? server : server.replace(/location \/ \{\n.*\n/, location), outer)
    } else {
      const host = basePath === '' ? 'comfy.example.com' : 'gpu.example.com'
      await caddy(block(host, { ...places, [host]: `https://comfy.test:${outer}` }), outer)
    }
    const publicUrl = `https://comfy.test:${outer}`
    const house = await openHouse({ publicUrl, basePath, port: inner, trustedProxies: ['127.0.0.1'] })
    onTestFinished(() => house.close())
    const person = await house.person({ ignoreHTTPSErrors: true })
    onTestFinished(() => person.close())
    const page = await person.newPage()

    expect(house.url).toBe(publicUrl + basePath)
    await page.goto(`${house.url}/?a=b`)
    await logIn(page, house.key, { remember: true })
    await atWork(page)
    expect(page.url()).toBe(`${house.url}/?a=b`)
    expect(await page.evaluate(SEE_A_PICTURE)).toBe(64)
    expect(await person.cookies()).toMatchObject([{ name: `__Host-comfy_auth_${inner}`, secure: true, httpOnly: true }])
    await page.reload()
    await atWork(page)
    expect(await page.evaluate("fetch('auth_inject.js').then(({ status }) => status)")).toBe(200)
    const tokenSentTo = async (path: string) => {
      const [request] = await Promise.all([
        page.waitForRequest((candidate) => new URL(candidate.url()).pathname === path),
        page.evaluate(`fetch('${path}').then(() => {}, () => {})`),
      ])
      return (await request.allHeaders()).authorization
    }
    expect(await tokenSentTo(`${basePath}/api/queue`)).toMatch(/^Bearer comfyt_/)
    // What else the host serves, where the path is not the whole of it.
    if (basePath !== '') expect(await tokenSentTo('/another/program')).toBeUndefined()
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByText('You are logged out.').waitFor()
    expect(page.url()).toBe(`${house.url}/auth_login.html?notice=logged-out`)
    expect(await person.cookies()).toEqual([])
    const seen = house.sim.requests.map(({ target }) => target)
    expect(seen.filter((target) => target.startsWith('/comfy'))).toEqual([])
  })
})
