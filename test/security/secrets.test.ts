import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { makeKey } from '../../src/keys/format.ts'
import { createSim } from '../../src/sim/sim.ts'
import { runCli, startCli, temporaryFolder } from '../support/cli.ts'
import { leaks, overheard } from '../support/secrets.ts'
import { basic, subprotocol } from './generator/identity.ts'

/** As `openssl rand -base64 32` makes them, and as people do. */
const FREE = 'q7+Zk/3nP0w9yT6uVbXcRdEfGhIjKlMnOpQrStUvWx4='
const OURS = 'an old pass phrase of ours'
const WRONG = 'comfy-typed-with-one-letter-too-few'

/** Sends bytes and gives what came back before the connection ended or fell silent. */
async function knock(port: number, text: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port })
  let heard = ''
  socket.on('data', (chunk) => (heard += chunk.toString('latin1')))
  socket.on('error', () => {})
  socket.setTimeout(500, () => socket.destroy())
  socket.write(Buffer.from(text, 'latin1'))
  await once(socket, 'close')
  return heard
}

test('the forms are found in whatever stands around them', () => {
  for (const around of ['', 'a', 'ab', 'abc', 'me:']) {
    const text = Buffer.from(`${around}${FREE}!`).toString('base64')
    expect(leaks({ text }, { FREE }), around).toHaveLength(1)
  }
  expect(leaks({ text: `x=${encodeURIComponent(FREE)}` }, { FREE })).toHaveLength(1)
  expect(leaks({ text: 'nothing' }, { FREE })).toEqual([])
})

test('what any test has comfy-auth say is looked through: a run that tells a secret is found out', async () => {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'bin'))
  const script = join(folder, 'bin', 'run.js')
  writeFileSync(
    script,
    `require('node:fs').writeFileSync(process.argv[4], 'token ' + process.env.TOKEN)
    process.stdout.write('key ' + process.argv[6].slice(0, 20))
    process.stderr.write(process.argv[6].slice(20) + ' free ' + encodeURIComponent(process.env.COMFYUI_API_KEY))
    process.stdout.write(process.argv[6].slice(20))`,
  )
  const log = join(folder, 'audit.log')
  const env = { TOKEN: `comfyt_${'a1'.repeat(22)}`, COMFYUI_API_KEY: FREE }
  await runCli(['serve', '--audit-log', log, '--api-key', makeKey()], { script, env })
  expect(overheard().map((text) => text.split(':')[0])).toEqual([
    'a secret of ours in stdout of comfy-auth serve --audit-log',
    'a key in stderr of comfy-auth serve --audit-log',
    'a secret of ours in a log of comfy-auth serve --audit-log',
  ])
})

test('no secret of a run stands in a log, an error, an answer, a file or the process list', {
  timeout: 120_000,
}, async () => {
  const home = temporaryFolder()
  const sim = await createSim()
  onTestFinished(() => sim.close())
  const cli = (args: readonly string[], stdin = '') => runCli(args, { home, stdin })
  const live = (await cli(['keygen', '--label', 'live'])).stdout.trim()
  const dead = (await cli(['keygen', '--label', 'dead', '--role', 'user'])).stdout.trim()
  expect((await cli(['keys', 'revoke', 'dead'])).exitCode).toBe(0)
  const keyFile = join(temporaryFolder(), 'api_key.txt')
  writeFileSync(keyFile, `${FREE}\n`, { mode: 0o600 })
  const audit = join(temporaryFolder(), 'audit.log')
  const serve = startCli(
    [
      'serve',
      '--port',
      '0',
      '--upstream',
      sim.url,
      '--api-key-file',
      keyFile,
      '--audit-log',
      audit,
      '--access-log',
      audit,
      '--drain',
      '1s',
    ],
    { home, env: { COMFYUI_API_KEY: OURS } },
  )
  onTestFinished(() => void serve.kill('SIGKILL'))
  const texts: Record<string, string> = { 'stdout of serve': '', 'stderr of serve': '' }
  let port = 0
  await new Promise<void>((resolve, reject) => {
    serve.once('exit', () => reject(new Error(JSON.stringify(texts))))
    const note = (place: string) => (chunk: Buffer) => {
      texts[place] = `${texts[place]}${chunk}`
      const [, text] =
        /127\.0\.0\.1:(\d+)\/auth_login|listening on http:\/\/127\.0\.0\.1:(\d+)/i.exec(
          Object.values(texts).join('\n'),
        ) ?? []
      port ||= Number(text ?? 0)
      if (port !== 0 && /Keys: /.test(Object.values(texts).join('\n'))) resolve()
    }
    serve.stdout.on('data', note('stdout of serve'))
    serve.stderr.on('data', note('stderr of serve'))
  })

  const secrets: Record<string, string> = { live, dead, FREE, OURS, WRONG }
  const url = `http://127.0.0.1:${port}`
  const answers: string[] = []
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(url + path, { redirect: 'manual', ...init })
    // Set-Cookie and the token of a login are what one logs in for
    answers.push(`${response.status} ${[...response.headers].filter(([name]) => name !== 'set-cookie').join('\n')}`)
    return response
  }

  for (const key of [live, dead, FREE, OURS, WRONG]) {
    const query = encodeURIComponent(key)
    for (const path of ['/queue', '/internal/logs', '/nowhere']) {
      const carried: (readonly [string, Record<string, string>])[] = [
        [path, { Authorization: `Bearer ${key}` }],
        [path, { 'X-API-Key': key }],
        [path, { Authorization: basic(key) }],
        [`${path}?api_key=${query}`, {}],
        [`${path}?token=${query}`, { Accept: 'text/html', 'Sec-Fetch-Dest': 'document' }],
        [path, { Cookie: `comfy_auth_${port}=${key}` }],
        [path, { 'Sec-WebSocket-Protocol': subprotocol(key) }],
      ]
      for (const [target, headers] of carried)
        answers.push(await (await ask(target, { method: 'POST', headers, body: '{}' })).text())
    }
    const arrived = await ask(`/?api_key=${query}`, { headers: { Accept: 'text/html', 'Sec-Fetch-Dest': 'document' } })
    // The page that asks before it logs in carries what it was sent, as a form and never to be stored
    expect(arrived.headers.get('cache-control')).toBe('no-store')
    answers.push((await arrived.text()).replace(/ name="api_key" value="[^"]*"/, '').replace(/data-token="[^"]*"/, ''))
    const form = new URLSearchParams({ api_key: key, next: `/?api_key=${key}` })
    const logged = await ask('/auth_login.html', {
      method: 'POST',
      body: form,
      headers: { Accept: 'application/json' },
    })
    if (logged.status === 200) {
      const cookie = logged.headers.get('set-cookie')!.split(';')[0]!
      secrets[`cookie ${answers.length}`] = cookie.split('=')[1]!
      secrets[`token ${answers.length}`] = ((await logged.json()) as { token: string }).token
      await ask('/queue', { headers: { Cookie: cookie } })
      await ask('/auth_logout', { method: 'POST', headers: { Cookie: cookie, Origin: url } })
    } else answers.push(await logged.text())
    const socket = new WebSocket(`${url.replace('http', 'ws')}/ws?clientId=x`, [subprotocol(key)])
    socket.on('error', () => {})
    socket.on('open', () => socket.close())
    await new Promise((resolve) => socket.on('close', resolve))
    for (const head of [
      `GET /queue?api_key=${query}#x HTTP/1.1\r\nHost: x\r\n\r\n`,
      `GET http://me:${query}@127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`,
      `CONNECT me:${query}@127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`,
      `GET /queue HTTP/1.1\r\nHost: ${query}\r\nX-API-Key: ${key}\r\nX-API-Key: ${key}\r\n\r\n`,
      `GET /queue HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: ${key}\r\nX-Long: ${'a'.repeat(70_000)}\r\n\r\n`,
      `GET /queue HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization ${key}\r\nX-API-Key: ${key}\n\n`,
      `${query} /queue?api_key=${query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`,
      `GET /%zz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: ${key}\r\nContent-Length: 5\r\n\r\nabc`,
    ]) {
      answers.push(await knock(port, head))
    }
  }
  // A key of our own format is known for one wherever it stands
  await ask(`/userdata/${live}`, { method: 'POST', headers: { 'X-API-Key': live }, body: 'x' })
  const atWork =
    process.platform === 'linux'
      ? ['cmdline', 'comm', 'stat'].map((name) => readFileSync(`/proc/${serve.pid}/${name}`, 'latin1')).join('\n')
      : execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(serve.pid)]).toString()
  texts['process list'] = atWork

  // The key file goes bad, and ComfyUI goes away: what serve then says
  writeFileSync(keyFile, `${FREE}\n${'x'.repeat(10_000)}\n\0${OURS}\n`, { mode: 0o600 })
  serve.kill('SIGHUP')
  await sim.close()
  answers.push(
    await (await ask(`/queue?api_key=${encodeURIComponent(OURS)}`, { headers: { Accept: 'application/json' } })).text(),
  )

  for (const args of [
    ['keygen', live],
    ['keygen', `--apikey=${live}`],
    ['keygen', '--label', 'x', '--expires', live],
    ['keys', 'show', live],
    ['keys', 'revoke', live],
    ['keys', 'verify', '--key', live],
    ['serve', '--port', live],
    ['serve', '--upstream', `http://me:${live}@127.0.0.1/`],
    ['submit', '--api-key', live, 'x.json'],
    ['login', `http://me:${live}@127.0.0.1:1`],
    ['whoami', '--json', '--api-key', live],
    ['queue', 'list', '--json', live],
    [live],
  ]) {
    const { stdout, stderr } = await cli(args, `${WRONG}\n`)
    texts[`comfy-auth ${args.join(' ').replaceAll(live, 'KEY')}`] = `${stdout}\n${stderr}`
  }
  const login = await cli(['login', url, '--key-stdin'], `${WRONG}\n`)
  texts['comfy-auth login'] = `${login.stdout}\n${login.stderr}`

  const exited = once(serve, 'exit')
  serve.kill('SIGTERM')
  await exited
  texts['audit log'] = readFileSync(audit, 'utf8')
  texts.answers = answers.join('\n')
  for (const name of readdirSync(home, { recursive: true }) as string[]) {
    const path = join(home, name)
    if (existsSync(path) && statSync(path).isFile()) texts[`file ${name}`] = readFileSync(path, 'latin1')
  }
  expect(texts['audit log']!.split('\n').length).toBeGreaterThan(20)
  expect(Object.keys(texts).filter((name) => name.startsWith('file '))).not.toEqual([])
  expect(leaks(texts, secrets)).toEqual([])
})
