import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

export interface CliOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly stdin?: string | Uint8Array
  readonly cwd?: string
  /** For COMFY_AUTH_HOME; a new one, removed with the test, where left out. */
  readonly home?: string
  readonly uid?: number
  /** In place of bin/run.js. */
  readonly script?: string
  /** A command that becomes it, with its arguments: `prlimit --nofile=256`. */
  readonly under?: readonly string[]
}

export interface CliResult {
  readonly stdout: string
  readonly stderr: string
  /** Null where a signal ended it. */
  readonly exitCode: number | null
}

export const RUN = join(import.meta.dirname, '../../bin/run.js')

/** A folder of the test's own, removed when it ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'comfy-auth-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The environment without anything that would reach comfy-auth from outside the test. */
function cleanEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(COMFY|XDG_|NODE_ENV|VITEST|FORCE_COLOR|DEBUG|CREDENTIALS_DIRECTORY)/.test(name),
    ),
  )
}

/** Starts the built command line (bin/run.js) with a comfy-auth home of its own. */
export function startCli(args: readonly string[], { env, cwd, home, uid, script, under = [] }: CliOptions = {}) {
  const [command, ...all] = [...under, process.execPath, script ?? RUN, ...args] as [string, ...string[]]
  return spawn(command, all, {
    cwd,
    env: { ...cleanEnvironment(), NO_COLOR: '1', COMFY_AUTH_HOME: home ?? temporaryFolder(), ...env },
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
}

/** Runs it to its end. stdin is empty where not given. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = startCli(args, options)
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  child.stdin.on('error', () => {}) // it ended without reading
  child.stdin.end(options.stdin ?? '')
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return { stdout, stderr, exitCode }
}
