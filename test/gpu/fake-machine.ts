import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Machine } from '../../src/gpu/run-tool.ts'
import { temporaryFolder } from '../support/cli.ts'

export const FIXTURES = join(import.meta.dirname, '../fixtures/gpu-tools')

export function fixture(name: string): Promise<string> {
  return readFile(join(FIXTURES, name), 'utf8')
}

/** A Linux machine that has these tools (shell scripts) and files (`sys/...`, `proc/...`) and nothing else. */
export async function fakeMachine(
  tools: Readonly<Record<string, string>>,
  files: Readonly<Record<string, string>> = {},
): Promise<Machine> {
  const root = temporaryFolder()
  const bin = join(root, 'bin')
  await mkdir(bin)
  await symlink('/bin/grep', join(bin, 'grep'))
  for (const [name, script] of Object.entries(tools)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`)
    await chmod(join(bin, name), 0o755)
  }
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  return { platform: 'linux', env: { PATH: bin }, toolDirs: [], root }
}

/** An nvidia-smi that answers each question with a file of the fixtures, or with a script of its own. */
export function smi(answers: Readonly<Record<string, string>>): string {
  const cases = Object.entries(answers).map(([option, answer]) => {
    const script = /\.(?:csv|txt)$/.test(answer) ? `/bin/cat '${join(FIXTURES, answer)}'` : answer
    return `${option}) ${script}\n;;`
  })
  return `case "$1" in\n${cases.join('\n')}\n*) echo 'no such option'; exit 2 ;;\nesac`
}

/** What one capture printed, idle or under load. */
export function captured(name: string): string {
  return smi({
    '--query-gpu=*': `${name}.query-gpu.csv`,
    '--query-compute-apps=*': `${name}.query-compute-apps.csv`,
    '-L': 'h100-mig.list.txt',
    '-q': 'h100-mig.load.q.txt',
  })
}

/** A script that prints this and ends. */
export function says(text: string, code = 0): string {
  return `/bin/cat <<'EOF'\n${text}\nEOF\nexit ${code}`
}

export const MIB = 1_048_576
export const GIB = 1024 * MIB
export const MEMINFO = `MemTotal: ${128 * MIB} kB\nMemAvailable: ${100 * MIB} kB\n`
