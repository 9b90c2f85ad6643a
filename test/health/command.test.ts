import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { STATE_CODES } from '../../src/health/state.ts'
import { createSim } from '../../src/sim/sim.ts'
import { captured, fakeMachine, smi } from '../gpu/fake-machine.ts'
import { RUN, temporaryFolder } from '../support/cli.ts'
import { closing } from '../support/closers.ts'

async function start(args: readonly string[], nvidiaSmi: string, env: Readonly<Record<string, string>>) {
  const machine = await fakeMachine({ 'nvidia-smi': nvidiaSmi })
  const home = temporaryFolder()
  return spawn(process.execPath, [RUN, 'health', ...args], {
    cwd: home,
    env: { PATH: machine.env.PATH, HOME: home, COMFY_AUTH_HOME: join(home, 'state'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** One run of the command beside a fake nvidia-smi. */
async function health(args: readonly string[], nvidiaSmi = captured('rtx-4080-super.load'), env = {}) {
  const began = performance.now()
  const child = await start(args, nvidiaSmi, env)
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
  return { stdout, stderr, code: code as number, ms: performance.now() - began }
}

async function sim(device?: { name: string; type: string; index: number; vramTotal: number; vramFree: number }) {
  return closing(await createSim({ indexHtml: '', ...(device ? { device } : {}) }))
}

test('--help shows the codes of monitoring, not those of the other commands', async () => {
  const { stdout, code } = await health(['--help'])
  expect(code).toBe(0)
  const shown = /EXIT CODES\n(.*)$/s.exec(stdout)![1]!
  expect([...shown.matchAll(/^ {2}(\d+) +(\w+)/gm)].map(([, number, word]) => [Number(number), word])).toEqual([
    ...Object.entries(STATE_CODES).map(([state, number]) => [number, state.toUpperCase()]),
    [130, 'interrupted'],
  ])
})

describe('health --local', () => {
  test('a healthy GPU is 0', async () => {
    const { stdout, code } = await health(['--local'])
    expect(stdout).toBe(
      'gpu0     NVIDIA GeForce RTX 4080 SUPER, 14.1 GiB of 16 GiB free, 7 % busy, 46 °C, 84.2 W\nOK\n',
    )
    expect(code).toBe(0)
  })

  test.each([
    [['-w', 'gpu_temperature=40'], 1],
    [['-w', 'gpu_temperature=40', '-c', 'gpu_temperature=45'], 2],
    [['--min-free-vram', '15GiB'], 2],
    [['--min-free-vram', '90%'], 2],
    [['--min-free-vram', '10GiB'], 0],
    [['-c', 'gpu_memory_temperature=90'], 3],
    [['--max-pending', '5'], 3],
    [['-w', 'gpu_heat=1'], 3],
    [['--min-free-vram', 'much'], 3],
    [['--timeout', '1ms'], 3],
    [['--no-such-flag'], 3],
    [['--format', 'xml'], 3],
    [['surplus'], 3],
    [['--json', '--format', 'nagios'], 3],
  ])('%j ends with %i', async (args, expected) => {
    expect((await health(['--local', ...args])).code).toBe(expected)
  })

  test('a hung nvidia-smi is CRITICAL, and the process ends although its pipe stays open', async () => {
    const stuck = smi({ '*': "trap '' TERM; /usr/bin/setsid /bin/sleep 4" })
    const { stdout, code, ms } = await health(['--local', '--timeout', '500ms', '--format', 'nagios'], stuck)
    expect(stdout).toMatch(
      /^CRITICAL - gpu_tool of nvidia-smi: driver hung: nvidia-smi did not answer within 0\.5 s \|/,
    )
    expect(code).toBe(2)
    expect(ms).toBeLessThan(3_500)
  })

  test('a lost GPU is CRITICAL, garbage UNKNOWN', async () => {
    const lost = smi({
      '*': "echo 'Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.'; exit 15",
    })
    expect((await health(['--local'], lost)).code).toBe(2)
    expect((await health(['--local'], 'echo garbage')).code).toBe(3)
  })
})

describe('health with servers', () => {
  test('the server and this machine’s GPUs together, as JSON', async () => {
    const { url } = await sim({ name: 'cuda:0 NVIDIA', type: 'cuda', index: 0, vramTotal: 100, vramFree: 40 })
    const { stdout, code } = await health(['--json', '--url', url, '--min-free-vram', '30%'])
    expect(JSON.parse(stdout)).toMatchObject({
      schema: 1,
      status: 'ok',
      queue: { pending: 0, running: 0 },
      device: { name: 'cuda:0 NVIDIA', type: 'cuda' },
      vram: { total: 100, free: 40 },
      servers: [{ url, state: 'ok' }],
      gpus: [{ vendor: 'nvidia', processes: [{}, {}, {}] }],
      checks: [{ name: 'server' }, { name: 'vram_free_percent', status: 'ok', value: 40, crit: '30:' }],
    })
    expect(code).toBe(0)
  })

  test('a refused server is 2, --no-local asks no GPU tool, the environment names the server', async () => {
    const gone = await sim()
    await gone.close()
    const { stdout, code } = await health(['--no-local', '--format', 'json'], 'exit 9', { COMFY_AUTH_URL: gone.url })
    expect(JSON.parse(stdout)).toMatchObject({
      status: 'critical',
      device: { name: null },
      gpus: [],
      checks: [{ name: 'server' }],
    })
    expect(code).toBe(2)
  })

  test('--local on the command line asks this machine alone, whatever server the environment names', async () => {
    const { stdout, code } = await health(['--local', '--json'], undefined, { COMFY_AUTH_URL: 'http://127.0.0.1:9' })
    expect(JSON.parse(stdout)).toMatchObject({ status: 'ok', servers: [], device: { type: 'cuda' } })
    expect(code).toBe(0)
  })

  test('--url with --local asks both', async () => {
    const { url } = await sim()
    const { stdout } = await health(['--local', '--json', '--url', url])
    expect(JSON.parse(stdout)).toMatchObject({ servers: [{ url }], gpus: [{ vendor: 'nvidia' }] })
  })

  test('two servers, one down', async () => {
    const up = await sim()
    const gone = await sim()
    await gone.close()
    const { stdout, code } = await health(['--no-local', '--url', up.url, '--url', gone.url, '--format', 'nagios'])
    expect(stdout).toContain(`CRITICAL - server of ${gone.url}`)
    expect(code).toBe(2)
  })

  test('an address that is none is wrong usage, 3, and is not repeated', async () => {
    const { stdout, stderr, code } = await health(['--json', '--url', 'ftp://comfy_secret@x'])
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'usage', hint: expect.stringMatching(/./) } })
    expect(stdout + stderr).not.toContain('comfy_secret')
    expect(code).toBe(3)
  })

  test('a profile that is not there is 3', async () => {
    expect((await health(['--profile', 'nowhere'])).code).toBe(3)
  })
})

describe('health to a file and again', () => {
  test('--output writes for node_exporter, and nothing to stdout', async () => {
    const dir = temporaryFolder()
    const path = join(dir, 'gpu.prom')
    await writeFile(path, '')
    const { stdout, code } = await health(['--local', '--format', 'prometheus', '--output', path])
    expect([stdout, code]).toEqual(['', 0])
    expect(await readFile(path, 'utf8')).toMatch(/^comfy_auth_gpu_memory_used_bytes\{/m)
    expect((await stat(path)).mode & 0o777).toBe(0o644)
    expect((await health(['--local', '--format', 'prometheus', '--output', join(dir, 'gpu.txt')])).code).toBe(3)
  })

  test('--watch --json prints a document a line until Ctrl-C, which is 130', async () => {
    const child = await start(['--local', '--json', '--watch', '1s'], captured('h100.load'), {})
    const seen: unknown[] = []
    for await (const line of createInterface({ input: child.stdout })) {
      seen.push(JSON.parse(line))
      if (seen.length === 2) child.kill('SIGINT')
    }
    expect(seen).toMatchObject([
      { schema: 1, gpus: [{}] },
      { schema: 1, gpus: [{}] },
    ])
    if (child.exitCode === null) await once(child, 'exit')
    expect(child.exitCode).toBe(130)
  })
})
