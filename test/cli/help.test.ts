import { spawn } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { Config } from '@oclif/core/config'
import { afterAll, expect, test } from 'vitest'
import type { Command } from '../../src/cli/command.ts'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { exitCodeRows, Help } from '../../src/cli/help.ts'
import { BROKEN_PIPE } from '../../src/cli/output.ts'

const root = join(import.meta.dirname, '../..')
const { oclif, ...pjson } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const config = await Config.load({
  root,
  pjson: { ...pjson, oclif: { ...oclif, commands: './src/commands' } },
  ignoreManifest: true,
})
const commands = config.commands.map((command) => ({ name: command.id.replaceAll(':', ' '), command }))
const folder = mkdtempSync(join(tmpdir(), 'comfy-auth-examples-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What a shell hands to `comfy-auth` when it runs `line`. */
async function argvOf(line: string): Promise<string[]> {
  for (const [, file] of line.matchAll(/ < (\S+)/g)) writeFileSync(join(folder, file!), '')
  const script = `comfy-auth() { printf '%s\\0' "$@" >&3; }\n${line}`
  const shell = spawn('bash', ['-c', script], { cwd: folder, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] })
  return (await buffer(shell.stdio[3] as NodeJS.ReadableStream)).toString().split('\0').slice(0, -1)
}

test.for(commands)('the examples of $name are lines that it takes', async ({ name, command }) => {
  expect(command.examples?.length).toBeGreaterThan(0)
  const loaded = (await command.load()) as unknown as typeof Command
  class Parsed extends (loaded as unknown as new (argv: string[], config: Config) => Command) {
    override async run(): Promise<unknown> {
      return await this.parse(loaded)
    }
  }
  for (const example of command.examples ?? []) {
    const line = (typeof example === 'string' ? example : example.command).replaceAll('<%= config.bin %>', 'comfy-auth')
    const argv = await argvOf(line)
    expect(argv.slice(0, name.split(' ').length).join(' '), line).toBe(name)
    await expect(new Parsed(argv.slice(name.split(' ').length), config).run(), line).resolves.toBeDefined()
  }
})

test.for(commands)(
  'the help of $name names a default once, as people write it, and wraps its paragraphs once',
  ({ command }) => {
    const help = new Help(config, { maxWidth: 80, stripAnsi: true }).formatCommand(command)
    const flags = /\nFLAGS\n(.*?)\n\n/s.exec(help)?.[1] ?? ''
    for (const flag of flags.split(/\n(?= {2,6}-)/)) {
      expect(flag.split('[default:').length - 1, flag).toBeLessThanOrEqual(1)
      expect(flag).not.toMatch(/\[default: \d{5,}\] |=\S+ +\[default:/)
    }
    const description = /\nDESCRIPTION\n(.*?)\n\n[A-Z]/s.exec(help)?.[1] ?? ''
    for (const paragraph of description.split(/\n\s*\n/)) {
      const lines = paragraph.split('\n')
      for (const [index, line] of lines.slice(0, -1).entries()) {
        const next = lines[index + 1]!.trim().split(' ')[0]!
        expect(line.length + 1 + next.length, line).toBeGreaterThan(78)
      }
    }
  },
)

test('no error of ours has an empty remedy: the type asks for one, and takes an empty text', () => {
  const files = globSync('src/**/*.ts', { cwd: root })
  const errors = files.flatMap((file) => [
    ...readFileSync(join(root, file), 'utf8').matchAll(/new ComfyAuthError\([^;]*?remedy:\s*(['"`])(.*?)\1/gs),
  ])
  expect(errors.length).toBeGreaterThan(50)
  for (const [whole, , remedy] of errors) expect(remedy, whole).toMatch(/\S{3}/)
})

test("README's line of exit codes is the table of --help", () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8').replaceAll('\n', ' ')
  const line = /Exit codes of all commands but `health`: (.*?)\. /.exec(readme)?.[1] ?? ''
  const rows = line.split(', ').map((part) => part.split(/ (.*)/).slice(0, 2))
  expect(rows).toEqual(exitCodeRows().map(([code, meaning]) => [code, meaning.split(/,| \(/)[0]]))
  expect(rows.map(([code]) => Number(code))).toEqual([0, ...Object.values(EXIT_CODES), BROKEN_PIPE])
})
