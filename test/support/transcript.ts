import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect } from 'vitest'

/** One command of a session, and what it must print. */
export interface Step {
  readonly line: number
  readonly command: string
  readonly expected: string
  readonly exit: number
}

/**
 * Reads a session: `$ ` a command, `> ` its next line, `? 2` its exit code where it is not 0, every other line its
 * output (stdout and stderr as they come), in which `[..]` stands for any text and a line `...` for any lines.
 * `# ` at the line's start is prose where no command has been given yet or a blank line stands before it.
 */
export function parseSession(session: string): Step[] {
  const steps: { line: number; command: string; expected: string[]; exit: number }[] = []
  for (const [index, line] of session.split('\n').entries()) {
    const step = steps.at(-1)
    if (line.startsWith('$ ')) steps.push({ line: index + 1, command: line.slice(2), expected: [], exit: 0 })
    else if (!step || line.startsWith('# ')) continue
    else if (line.startsWith('> ') && step.expected.length === 0) step.command += `\n${line.slice(2)}`
    else if (/^\? \d+$/.test(line)) step.exit = Number(line.slice(2))
    else step.expected.push(line)
  }
  return steps.map((step) => ({ ...step, expected: step.expected.join('\n').trimEnd() }))
}

/** The fenced blocks of a Markdown page that are sessions: ```console. Each is played on its own. */
export function sessionsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^```console\n(.*?)^```/gms)].map((match) => match[1]!)
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}

function wildcard(expected: string): RegExp {
  const source = expected
    .split('\n')
    .map((line) => (line === '...' ? '(?:.*\n)*?.*' : line.split('[..]').map(escaped).join('.*')))
    .join('\n')
  return new RegExp(`^${source}$`)
}

/**
 * Plays a session in one shell, so that variables, `cd` and `&` last, in an empty folder with a comfy-auth home of its
 * own, `comfy-auth` and this Node first on the PATH. What it left running is ended.
 */
export async function play(session: string, env: Readonly<Record<string, string>> = {}): Promise<void> {
  const steps = parseSession(session)
  const cwd = await mkdtemp(join(tmpdir(), 'comfy-auth-session-'))
  const bin = join(import.meta.dirname, 'bin')
  const mark = '\u0001done'
  const script = steps.map(({ command }) => `{ ${command}\n} 2>&1; printf '%s %s\\n' '${mark}' "$?"`).join('\n')
  const shell = spawn('sh', ['-c', script], {
    cwd,
    detached: true,
    env: {
      PATH: [bin, join(process.execPath, '..'), process.env.PATH].join(delimiter),
      HOME: cwd,
      COMFY_AUTH_HOME: join(cwd, '.comfy-auth'),
      NO_COLOR: '1',
      EXAMPLES: join(import.meta.dirname, '../../examples'),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const end = () => {
    try {
      process.kill(-shell.pid!)
    } catch {} // nothing was left running
  }
  const overdue = setTimeout(end, 25_000) // before vitest gives up, which would leave it running
  shell.once('exit', () => {
    clearTimeout(overdue)
    end()
  })
  const played = (await text(shell.stdout)).split(new RegExp(`${mark} (\\d+)\n`)) // output, code, output, code, ...
  await rm(cwd, { recursive: true, force: true })
  for (const [index, step] of steps.entries()) {
    const output = (played[2 * index] ?? 'did not run').trimEnd()
    const seen = { line: step.line, command: step.command, output, exit: Number(played[2 * index + 1]) }
    const expected = wildcard(step.expected).test(output) ? output : step.expected // so that a difference is shown as one
    expect(seen).toEqual({ line: step.line, command: step.command, output: expected, exit: step.exit })
  }
}
