import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { makeKey } from '../../src/keys/format.ts'
import { RUN, runCli, startCli } from '../support/cli.ts'

const root = join(import.meta.dirname, '../..')
const commands = globSync('**/*.ts', { cwd: join(root, 'src/commands') }).map((file) =>
  file.replace(/\.ts$/, '').split(/[\\/]/),
)

/** The human error: one line that says what happened, one that says what to do. */
const TWO_LINES = /^Error: .+\n.+\n$/

async function inBothForms(
  args: string[],
  expected: { code?: number; message: RegExp | string; hint?: RegExp | string },
) {
  const text = await runCli(args)
  const json = await runCli([...args, '--json'])
  const { error } = JSON.parse(json.stdout)
  expect(Object.keys(error)).toEqual(['code', 'message', 'hint'])
  expect(text).toMatchObject({ stdout: '', exitCode: expected.code ?? 2 })
  expect(json).toMatchObject({ stderr: '', exitCode: expected.code ?? 2 })
  expect(text.stderr).toMatch(TWO_LINES)
  expect(text.stderr).toBe(`Error: ${error.message}\n${error.hint}\n`)
  expect(error.message).toMatch(expected.message)
  if (expected.hint) expect(error.hint).toMatch(expected.hint)
}

test('wrong usage is worded by us, the same in text and in JSON', async () => {
  await inBothForms(['keygen', 'surplus'], {
    message: 'An argument too many: `keygen` takes no argument.',
    hint: 'comfy-auth keygen --help',
  })
  await inBothForms(['keys', 'show', 'a', 'b'], { message: '`keys show` takes no more than KEY.' })
  await inBothForms(['keygen', '--lable', 'x'], {
    message: 'A flag that `keygen` does not know.',
    hint: 'Did you mean --label?',
  })
  await inBothForms(['keygen', '--label'], { message: '--label needs a value.' })
  await inBothForms(['keygen', '--label', 'a', '--label', 'b'], { message: '--label was given twice' })
  await inBothForms(['keygen', '--role', 'root'], { message: '--role takes one of: viewer, user, admin.' })
  await inBothForms(['keygen', '--expires', 'soon'], {
    message: '--expires: that is neither a duration nor a date.',
    hint: '90d',
  })
  await inBothForms(['keygen', '--force'], { message: '--force needs --out beside it.' })
  await inBothForms(['keygen', '--no-keyring', '--role', 'user'], {
    message: '--no-keyring and --role cannot stand together.',
  })
  await inBothForms(['keys', 'show'], { message: 'KEY is missing.' })
  await inBothForms(['keygne'], { message: 'There is no such command.', hint: 'Did you mean `keygen`?' })
  await inBothForms(['keys', 'lsit'], { message: 'There is no such command.', hint: '`keys list`' })
  await inBothForms(['--role', 'user', 'keygen'], { message: 'The command comes first' })
})

test('no command repeats a surplus argument or the value of an unknown flag, be it a key or any other secret', async () => {
  expect(commands.length).toBeGreaterThanOrEqual(8)
  const secrets = [makeKey(), 'hunter2-hunter2-hunter2']
  const lines = commands.flatMap((command, index) => [
    [...command, ...Array<string>(6).fill(secrets[index % 2]!)],
    [...command, `--apikey=${secrets[index % 2]}`, ...(index % 4 < 2 ? ['--json'] : [])],
  ])
  for (const secret of secrets) {
    lines.push([secret], [secret, '--json'], ['keys', secret], [`--${secret}`], ['--api-key', secret])
    lines.push(['keys', 'verify', secret], ['keygen', '--role', secret], ['keygen', '--expires', secret, '--json'])
    lines.push(
      ['keys', 'show', secret, '--json'],
      ['keys', 'revoke', secret],
      ['keys', 'import', secret],
      ['keygen', '--', secret],
    )
    lines.push(['keys', 'list', '--keyring', `/dev/null/${secret}`], ['keygen', '--out', `/dev/null/${secret}`])
  }
  const child = startCli([], { script: join(import.meta.dirname, '../support/run-lines.ts') })
  child.stdin.end(JSON.stringify(lines))
  const said: { output: string; code: number }[] = JSON.parse(await text(child.stdout))
  expect(said).toHaveLength(lines.length)
  for (const [index, { output, code }] of said.entries()) {
    const line = lines[index]!.map((word) => (secrets.some((secret) => word.includes(secret)) ? 'SECRET' : word)).join(
      ' ',
    )
    for (const secret of secrets) expect(output.includes(secret.slice(6)), line).toBe(false)
    expect({ line, code, says: output.length > 0 }).toEqual({
      line,
      code: expect.toSatisfy((each) => each > 0),
      says: true,
    })
  }
})

test('DEBUG shows where an error came from, and no argv', async () => {
  const key = makeKey()
  const { stderr } = await runCli(['keygen', '--label', 'hunter2-hunter2', key], { env: { DEBUG: '*' } })
  expect(stderr).toMatch(/\n +at /)
  expect(stderr).not.toContain(key.slice(6))
  expect(stderr).not.toContain('hunter2')
})

test('a key in argv is called one, with the better ways', async () => {
  const key = makeKey()
  await inBothForms(['keygen', key], { message: 'A key was given as an argument', hint: 'COMFYUI_API_KEY' })
  await inBothForms([key], { message: 'A key stands where a command should.' })
  await inBothForms(['keys', 'verify', key], { message: 'A key was given as an argument.' })
  await inBothForms(['keys', 'show', key.slice(0, 45)], { message: 'A key was given as an argument.' })
})

test('a flag comes from the environment where it was not given, and from argv where it was', async () => {
  const env = { COMFY_AUTH_LABEL: 'from-env', COMFY_AUTH_ROLE: 'viewer', COMFY_AUTH_JSON: '1' }
  expect(JSON.parse((await runCli(['keygen'], { env })).stdout)).toMatchObject({
    schema: 1,
    label: 'from-env',
    role: 'viewer',
  })
  const given = await runCli(['keygen', '--role', 'user'], { env })
  expect(JSON.parse(given.stdout)).toMatchObject({ label: 'from-env', role: 'user' })
  const wrong = await runCli(['keygen'], { env: { COMFY_AUTH_ROLE: 'root' } })
  expect(wrong).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--role takes one of') })
  const off = await runCli(['keygen'], { env: { COMFY_AUTH_FORCE: '0' } })
  expect(off.exitCode).toBe(0)
})

test('help has the exit codes, true examples and every command of a topic', async () => {
  const help = await runCli(['keygen', '--help'])
  expect(help).toMatchObject({ exitCode: 0, stderr: '' })
  for (const part of ['USAGE', 'EXAMPLES', 'EXIT CODES', '130  interrupted']) expect(help.stdout).toContain(part)
  const rootHelp = (await runCli(['--help'])).stdout
  for (const part of ['EXIT CODES', 'COMFY_AUTH_HOME', 'COMFY_AUTH_<FLAG>', 'COMFYUI_API_KEY'])
    expect(rootHelp).toContain(part)
  expect(rootHelp).toContain('keygen')
  const topic = (await runCli(['keys'])).stdout
  for (const name of ['list', 'show', 'revoke', 'rotate', 'verify', 'import', 'prune'])
    expect(topic).toContain(`keys ${name}`)
  expect((await runCli(['keys', '--help'])).stdout).toBe(topic)
})

test('health speaks the monitoring codes, in its help too', async () => {
  const wrong = await runCli(['health', '--bogus'])
  expect(wrong).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('A flag that `health` does not know.') })
  const help = (await runCli(['health', '--help'])).stdout
  expect(help).toContain('2 CRITICAL')
  expect(help).not.toContain('our own fault')
})

test('--version is one line, and needs no home', async () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const shown = await runCli(['--version'], { home: '/dev/null/nowhere' })
  expect(shown).toMatchObject({ exitCode: 0, stderr: '', stdout: expect.stringMatching(/^.+\n$/) })
  expect(shown.stdout).toContain(version)
})

test('Ctrl-C ends a command with 130', async () => {
  const child = startCli(['keys', 'verify'])
  child.stderr.resume()
  await new Promise((resolve) => setTimeout(resolve, 50))
  const exit = once(child, 'exit')
  const asked = setInterval(() => child.kill('SIGINT'), 100) // the first may come before Node listens
  const [code, signal] = await exit
  clearInterval(asked)
  expect(code ?? signal).toSatisfy((end) => end === 130 || end === 'SIGINT')
})

test('a reader that goes away early is no error', async () => {
  const shell = spawn('sh', ['-c', `"${process.execPath}" "${RUN}" keys list --help | head -1; exit 0`])
  let stderr = ''
  shell.stderr.on('data', (chunk) => (stderr += chunk))
  await once(shell, 'close')
  expect(stderr).toBe('')
})

test('bin/dev.js runs the same from the sources', async () => {
  const child = spawn(process.execPath, [join(root, 'bin/dev.js'), 'keygen', '--no-keyring'], {
    env: { PATH: process.env.PATH },
  })
  let stdout = ''
  child.stdout.on('data', (chunk) => (stdout += chunk))
  await once(child, 'close')
  expect(stdout).toMatch(/^comfy_\w{49}\n$/)
})

test('-h and help COMMAND are --help', async () => {
  const { stdout } = await runCli(['keys', 'list', '--help'])
  expect(await runCli(['keys', 'list', '-h'])).toMatchObject({ stdout, exitCode: 0 })
  expect(await runCli(['help', 'keys', 'list'])).toMatchObject({ stdout, exitCode: 0 })
  expect(await runCli(['help'])).toMatchObject({ stdout: (await runCli(['--help'])).stdout, exitCode: 0 })
})
