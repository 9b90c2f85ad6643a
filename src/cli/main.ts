import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { dim, red } from './colour.ts'
import type { Called, Package } from './dispatch.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { wantsJson } from './input.ts'
import { BROKEN_PIPE, lossText, watchOutput } from './output.ts'
import { type Wording, wordError } from './wording.ts'

function packageRoot(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder
  }
}

export interface MainOptions {
  /** Where the commands are, from the package's folder; bin/dev.js takes ./src/commands. */
  readonly commands?: string
}

function print({ kind, message, hint, details }: Wording, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify({ error: { code: kind, message, hint, ...details } }, null, 2)}\n`)
  else process.stderr.write(`${red('Error:', 'stderr')} ${message}\n${dim(hint, 'stderr')}\n`)
}

/** Where an error came from and what caused it, without any message: those of Node and of libraries may repeat argv. */
function printStack(error: unknown): void {
  if (!process.env.DEBUG || !(error instanceof Error)) return
  const frames = (error.stack ?? '').split('\n').filter((line) => /^ +at /.test(line))
  process.stderr.write(`${error.constructor.name}\n${frames.join('\n')}\n`)
  printStack(error.cause)
}

/** oclif's own way to end: `this.exit(n)`. */
function exitOf(error: unknown): number | undefined {
  const { code, oclif } = error as { readonly code?: unknown; readonly oclif?: { readonly exit?: unknown } }
  return code === 'EEXIT' && typeof oclif?.exit === 'number' ? oclif.exit : undefined
}

/** Runs one command line and returns its exit code. All errors end here, in our words, and none repeats a value from argv. */
export async function main(argv: readonly string[], { commands }: MainOptions = {}): Promise<number> {
  const root = packageRoot()
  const pjson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Package
  const used = commands === undefined ? pjson : { ...pjson, oclif: { ...pjson.oclif, commands } }
  const json = wantsJson(argv)
  const called: Called = { known: { command: '', flags: [], args: [] }, exitCodes: {}, command: undefined }
  const say = (wording: Wording): number => {
    print(wording, json)
    return called.exitCodes[wording.kind] ?? EXIT_CODES[wording.kind]
  }
  const fail = (error: unknown): number => {
    const code = say(wordError(error, called.known))
    printStack(error)
    return code
  }
  /** Ends the process, once what nobody has seen is undone. */
  const outputLost = async (error: unknown): Promise<never> => {
    const text = lossText(error)
    const undone = await called.command?.undoUnseen().catch(fail)
    if (text === undefined) process.exit(BROKEN_PIPE)
    const line = typeof undone === 'string' ? `${text} ${undone}` : text
    process.stderr.write(`${red('Error:', 'stderr')} ${line}\n`)
    process.exit(called.exitCodes.usage ?? EXIT_CODES.usage)
  }
  let ending: Promise<never> | undefined
  const output = watchOutput((error) => {
    if (!called.command?.outlivesOutput) ending = outputLost(error)
  })
  const crash = (error: Error) => {
    if (!output.knows(error)) process.exit(fail(error))
  }
  const interrupt = () => {
    const handled = called.command?.handlesInterrupts || process.listenerCount('SIGINT') > 1
    if (!handled) process.exit(called.exitCodes.interrupted ?? EXIT_CODES.interrupted)
  }
  process.on('uncaughtException', crash)
  process.on('SIGINT', interrupt)
  const run = async (): Promise<number> => {
    if (argv[0] === '--version' || argv[0] === '-v') {
      process.stdout.write(
        `${pjson.name} ${pjson.version} (${process.platform}-${process.arch}, Node ${process.version})\n`,
      )
      return 0
    }
    const { dispatch } = await import('./dispatch.ts') // oclif is slow to load, and --version needs none of it
    const ended = await dispatch(argv, { pjson: used, root, called })
    return typeof ended === 'number' ? ended : say(ended)
  }
  try {
    const code = await run().catch((error: unknown) => exitOf(error) ?? fail(error))
    await output.flushed()
    return ending === undefined ? code : await ending
  } finally {
    output.close()
    process.off('uncaughtException', crash)
    process.off('SIGINT', interrupt)
  }
}
