import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { RUN, temporaryFolder } from '../support/cli.ts'

const root = join(import.meta.dirname, '../..')
const source = readFileSync(RUN, 'utf8')

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** Where its bin/run.js lay. */
  readonly script: string
}

/** Runs bin/run.js beside a main.js of our own, under a Node that says it is `version`. */
function runAs(version: string, main: string | undefined, args: readonly string[] = ['a', 'b']): Ran {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'bin'))
  cpSync(RUN, join(folder, 'bin/run.js'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  if (main !== undefined) {
    mkdirSync(join(folder, 'dist/cli'), { recursive: true })
    writeFileSync(join(folder, 'dist/cli/main.js'), main)
  }
  const disguise = `Object.defineProperty(process.versions, 'node', { value: ${JSON.stringify(version)} })`
  writeFileSync(join(folder, 'disguise.cjs'), disguise)
  const script = join(folder, 'bin/run.js')
  try {
    const stdout = execFileSync(process.execPath, ['-r', join(folder, 'disguise.cjs'), script, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    })
    return { code: 0, stdout, stderr: '', script }
  } catch (error) {
    const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string }
    return { code: status, stdout, stderr, script }
  }
}

const MAIN = 'export async function main(argv) { console.log(argv.join()); return 0 }'

test('the versions are those of package.json', () => {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  expect(source).toContain(`package.json: ${engines.node}`)
})

test.each(['12.22.12', '18.20.8', '20.19.0', '22.22.1', '23.11.0', '24.14.9', '25.9.0'])(
  'Node %s is told in one line what to do',
  (version) => {
    const { code, stdout, stderr, script } = runAs(version, MAIN)
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toMatch(/^comfy-auth needs Node 22\.22\.2, 24\.15 or 26.+\n$/)
    expect(stderr).toContain(version)
    expect(stderr).toContain(`\`npx -y node@24 "${script}"\`.`) // where it lies, not where it might
  },
)

test.each(['22.22.2', '22.23.0', '24.15.0', '24.21.0', '26.0.0', '27.1.0'])('Node %s starts', (version) => {
  expect(runAs(version, MAIN)).toMatchObject({ code: 0, stdout: 'a,b\n' })
})

test('the version check is syntax that Node 12 reads', () => {
  // What came after Node 12.17: private fields and methods, ?. and ??, logical assignment, top-level await, static blocks.
  expect(source).not.toMatch(/\?\.[a-z[(]|\?\?|\|\|=|&&=|^\s*await |#[a-z]+\(|static \{/m)
})

test("the exit code of main is the process' own", () => {
  expect(runAs('24.21.0', 'export const main = async () => 6').code).toBe(6)
})

test('without a build it says so in one line', () => {
  expect(runAs('24.21.0', undefined)).toMatchObject({
    code: 1,
    stdout: '',
    stderr: 'comfy-auth is not built yet: run `npm ci` (or `npm run build`) in its folder.\n',
  })
})

test('the one warning of node:sqlite is dropped, every other passes', () => {
  const main = `export async function main() {
    process.emitWarning('SQLite is an experimental feature and might change at any time', 'ExperimentalWarning')
    process.emitWarning('something else', 'ExperimentalWarning')
    process.emitWarning('SQLite', { type: 'Warning', detail: 'kept' })
    return 3
  }`
  const { stderr } = runAs('22.22.2', main)
  expect(stderr).not.toContain('might change')
  expect(stderr).toContain('something else')
  expect(stderr).toContain('kept')
})

test('a SIGHUP while serve is still being loaded does not end it', () => {
  const hangUp = `process.kill(process.pid, 'SIGHUP')\n${MAIN}`
  expect(runAs('24.21.0', hangUp, ['serve'])).toMatchObject({ code: 0, stdout: 'serve\n', stderr: '' })
  expect(runAs('24.21.0', hangUp, ['whoami'])).toMatchObject({ code: null }) // who leaves the terminal ends the others
})
