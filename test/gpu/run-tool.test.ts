import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { findTool, runTool } from '../../src/gpu/run-tool.ts'
import { fakeMachine } from './fake-machine.ts'

describe('running a tool', () => {
  test('both streams and the exit code come back', async () => {
    const machine = await fakeMachine({ tool: 'echo out; echo err >&2; exit 7' })
    expect(await runTool('tool', [], machine, { timeoutMs: 5_000 })).toEqual({
      kind: 'ran',
      code: 7,
      stdout: 'out\n',
      stderr: 'err\n',
    })
  })

  test('no shell reads the arguments', async () => {
    const machine = await fakeMachine({ tool: 'printf "%s" "$1"' })
    const run = await runTool('tool', ['$(id); `id` *'], machine, { timeoutMs: 5_000 })
    expect(run).toMatchObject({ kind: 'ran', stdout: '$(id); `id` *' })
  })

  test('a tool that ignores SIGTERM is answered for at the deadline', async () => {
    const machine = await fakeMachine({ tool: "trap '' TERM; while :; do /bin/sleep 1; done" })
    const start = performance.now()
    expect(await runTool('tool', [], machine, { timeoutMs: 200 })).toEqual({ kind: 'hung' })
    expect(performance.now() - start).toBeLessThan(2_000)
  })

  test('a tool that no kill reaches and that keeps its pipe open is not waited for', async () => {
    const machine = await fakeMachine({ tool: '/usr/bin/setsid /bin/sleep 3' })
    const start = performance.now()
    expect(await runTool('tool', [], machine, { timeoutMs: 200 })).toEqual({ kind: 'hung' })
    expect(performance.now() - start).toBeLessThan(2_000)
  })

  test('a tool that ended while a child of its own holds the pipe has answered', async () => {
    const machine = await fakeMachine({ tool: 'echo answer; /usr/bin/setsid /bin/sleep 3 &' })
    const start = performance.now()
    expect(await runTool('tool', [], machine, { timeoutMs: 2_500 })).toMatchObject({ kind: 'ran', stdout: 'answer\n' })
    expect(performance.now() - start).toBeLessThan(2_000)
  })

  test('100 MB of output stop at the limit', async () => {
    const machine = await fakeMachine({ tool: '/usr/bin/head -c 104857600 /dev/zero' })
    const before = process.memoryUsage().rss
    expect(await runTool('tool', [], machine, { timeoutMs: 5_000 })).toEqual({ kind: 'flooded', limitBytes: 4_194_304 })
    expect(process.memoryUsage().rss - before).toBeLessThan(60_000_000)
  })

  test('a tool that is not there is absent; one that cannot be started says why', async () => {
    const machine = await fakeMachine({ tool: '' })
    expect(await runTool('other', [], machine, { timeoutMs: 1_000 })).toEqual({ kind: 'absent' })
    const broken = await fakeMachine({ 'tool.txt': '' })
    const missing = join(broken.root, 'bin/tool')
    await import('node:fs/promises').then((fs) => fs.writeFile(missing, '#!/no/such/interpreter\n'))
    await chmod(missing, 0o755)
    expect(await runTool('tool', [], broken, { timeoutMs: 1_000 })).toEqual({ kind: 'unrunnable', reason: 'ENOENT' })
  })

  test('an aborted signal ends it at once', async () => {
    const machine = await fakeMachine({ tool: '/bin/sleep 5' })
    const over = new AbortController()
    const run = runTool('tool', [], machine, { timeoutMs: 5_000, signal: over.signal })
    over.abort()
    expect(await run).toEqual({ kind: 'hung' })
  })

  test('it inherits no secret', async () => {
    const machine = await fakeMachine({ tool: '/usr/bin/env' })
    const env = { ...machine.env, COMFYUI_API_KEY: 'comfy_secret', AWS_SECRET_ACCESS_KEY: 'x', HOME: '/home/a' }
    const run = await runTool('tool', [], { ...machine, env }, { timeoutMs: 5_000 })
    const stdout = run.kind === 'ran' ? run.stdout : ''
    expect(stdout).toContain('HOME=/home/a')
    expect(stdout).toContain('LC_ALL=C')
    expect(stdout).not.toMatch(/KEY|secret/)
  })
})

describe('finding a tool', () => {
  test('PATH goes before the fixed folders, which cron has not', async () => {
    const path = await fakeMachine({ tool: '' })
    const fixed = await fakeMachine({ tool: '', other: '' })
    const machine = { ...path, toolDirs: [join(fixed.root, 'bin')] }
    expect(findTool('tool', machine)).toBe(join(path.root, 'bin/tool'))
    expect(findTool('other', machine)).toBe(join(fixed.root, 'bin/other'))
  })

  test('a relative or empty entry of PATH is the folder one stands in, and is passed over', async () => {
    const machine = await fakeMachine({})
    expect(findTool('run.js', { ...machine, env: { PATH: ':.:bin' } })).toBeUndefined()
  })

  test('a folder or a file that nobody may run is no tool', async () => {
    const machine = await fakeMachine({ tool: '' })
    await chmod(join(machine.root, 'bin/tool'), 0o644)
    await mkdir(join(machine.root, 'bin/other'))
    expect(findTool('tool', machine)).toBeUndefined()
    expect(findTool('other', machine)).toBeUndefined()
  })
})
