import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createKey } from '../../src/keys/lifecycle.ts'
import { type LiveKeys, openLiveKeys } from '../../src/keys/live.ts'
import { ROLES, type Role } from '../../src/keys/roles.ts'
import type { ProxyOptions } from '../../src/proxy/options.ts'
import { createProxy, type Proxy as RunningProxy } from '../../src/proxy/proxy.ts'
import { createSim, type Sim, type SimOptions } from '../../src/sim/sim.ts'
import { freePort } from './ports.ts'
import { knowSecret, listen } from './secrets.ts'

/** The proxy before a simulated ComfyUI, with a key of each role: what a security test knocks at. */
export interface Door {
  readonly sim: Sim
  readonly proxy: RunningProxy
  readonly port: number
  readonly keyring: string
  readonly keys: Readonly<Record<Role, string>> & { readonly live: LiveKeys }
  ask(method: string, path: string, options?: Ask): Promise<Heard>
  /** Logs in with the key and returns the Cookie header of its session. */
  logIn(key: string): Promise<string>
  close(): Promise<void>
}

export interface Ask {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
  /** The client's own address, in 127.0.0.0/8. */
  readonly from?: string
}

export interface Heard {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** `bareKeys`: free-form admin keys, as the guide has them. */
export async function openDoor(
  options: Partial<ProxyOptions> = {},
  simOptions: SimOptions = {},
  bareKeys: readonly string[] = [],
): Promise<Door> {
  const home = await mkdtemp(join(tmpdir(), 'comfy-auth-door-'))
  const keyring = join(home, 'keyring.json')
  const made = {} as Record<Role, string>
  for (const role of ROLES) made[role] = (await createKey({ label: `the ${role}`, role, keyring })).key
  const sim = await createSim(simOptions)
  const live = await openLiveKeys({ keyring, keyFiles: [], bareKeys }, {})
  for (const key of bareKeys) knowSecret(key)
  const said = listen('the words of a door')
  const auditLog = join(home, 'audit.log')
  const asked = {
    upstream: sim.url,
    listen: '127.0.0.1',
    port: options.publicUrl === undefined ? 0 : await freePort(),
    keys: live,
    serveDb: join(home, 'serve.db'),
    drainMs: 0,
    auditLog,
    accessLog: auditLog,
    ...options,
    log(line: string) {
      said.text += `${line}\n`
      options.log?.(line)
    },
  }
  const proxy = await createProxy(asked)
  // Under --public-url it does not say where it listens
  const port = asked.port === 0 ? Number(new URL(proxy.url).port) : asked.port
  const ask = (method: string, path: string, given: Ask = {}) =>
    request(options.tls === undefined ? httpRequest : httpsRequest, port, method, path, given)
  return {
    sim,
    proxy,
    port,
    keyring,
    keys: { ...made, live },
    ask,
    async logIn(key) {
      const { headers } = await ask('POST', '/auth_login.html', {
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ api_key: key }).toString(),
      })
      return headers['set-cookie']![0]!.split(';')[0]!
    },
    async close() {
      await proxy.close()
      live.close()
      await sim.close()
      listen('the log of a door').text = await readFile(asked.auditLog ?? auditLog, 'utf8').catch(() => '')
      await rm(home, { recursive: true, force: true })
    },
  }
}

function request(
  send: typeof httpsRequest,
  port: number,
  method: string,
  path: string,
  { headers, body, from }: Ask,
): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const sent = send({
      host: '127.0.0.1',
      port,
      method,
      path,
      headers: { ...headers, ...(body !== undefined && { 'Content-Length': Buffer.byteLength(body) }) },
      ...(from !== undefined && { localAddress: from }),
      agent: false,
      rejectUnauthorized: false, // the certificate is not what is tried here
    })
    sent.once('error', reject)
    sent.once('upgrade', (response, socket) => {
      socket.destroy()
      resolve({ status: response.statusCode!, headers: response.headers, body: '' })
    })
    sent.once('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.once('error', reject)
      response.once('end', () => {
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() })
      })
    })
    sent.end(body)
  })
}
