import { Command as OclifCommand } from '@oclif/core/command'
import type { Input, ParserOutput } from '@oclif/core/interfaces'
import { ComfyAuthError, type ErrorKind } from '../errors.ts'
import { yellow } from './colour.ts'
import { checkRelations, preparedArgs, preparedFlags, wantsJson } from './input.ts'

/** The number in every JSON document we print; it rises when a field changes its meaning or goes. */
export const SCHEMA = 1

type Values = Record<string, unknown>

/**
 * What all commands share: `--json` prints `{ schema, ...result }`, each flag can come from `COMFY_AUTH_<FLAG>`, and errors
 * are thrown to main.ts, which alone words them.
 */
export abstract class Command extends OclifCommand {
  static override enableJsonFlag = true
  /** Whether what follows `--` is handed over as `passthrough` and kept from the parser. */
  static takesPassthrough = false
  /** Exit codes other than the table's, by kind of error: `health` speaks the monitoring codes. */
  static exitCodes: Partial<Record<ErrorKind, number>> = {}
  /** Their table for --help, code and meaning; without it --help shows the common one. */
  static exitCodeHelp: readonly (readonly [string, string])[] | undefined

  /** What stood behind the first `--`, where takesPassthrough. */
  passthrough: readonly string[] = []
  /** What a command that ends without an error gives back to the shell: `health` has degrees of success. */
  exitCode = 0
  /** What it does goes on where nobody reads what it prints. */
  readonly outlivesOutput: boolean = false
  #interrupt: AbortController | undefined

  /** Runs it; what main.ts calls. */
  async execute(): Promise<void> {
    await this._run()
  }

  /**
   * Aborts on the first SIGINT or SIGTERM; a second one ends the process. A command that never asks for it ends at the
   * first, with 130.
   */
  get signal(): AbortSignal {
    if (this.#interrupt) return this.#interrupt.signal
    const interrupt = new AbortController()
    this.#interrupt = interrupt
    const stop = (signal: NodeJS.Signals) => {
      if (interrupt.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143)
      interrupt.abort(new ComfyAuthError('interrupted', 'Interrupted.', { remedy: 'Run it again when you like.' }))
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)
    return interrupt.signal
  }

  /** Somebody has asked for `signal`. */
  get handlesInterrupts(): boolean {
    return this.#interrupt !== undefined
  }

  /** Called where stdout could not be written: takes back what is worth nothing unseen, and tells in a sentence what it did. */
  async undoUnseen(): Promise<string | undefined> {
    return undefined
  }

  /** A line for people beside the result, to stderr, with --json too. */
  note(text: string): void {
    process.stderr.write(`${text}\n`)
  }

  /** As note, and marked as a warning. */
  caution(text: string): void {
    this.note(`${yellow('Warning:', 'stderr')} ${text}`)
  }

  /** oclif's own warning, in our form. */
  override warn(input: string | Error): string | Error {
    this.caution(typeof input === 'string' ? input : input.message)
    return input
  }

  override jsonEnabled(): boolean {
    return wantsJson(this.argv)
  }

  override logJson(json: unknown): void {
    process.stdout.write(`${JSON.stringify(json, null, 2)}\n`)
  }

  protected override toSuccessJson(result: unknown): unknown {
    return { schema: SCHEMA, ...(result as object) }
  }

  protected override async parse<F extends Values, B extends Values, A extends Values>(
    options: Input<F, B, A>,
    argv: string[] = this.argv,
  ): Promise<ParserOutput<F, B, A>> {
    const flags = { ...options.baseFlags, ...options.flags }
    const own = { flags: preparedFlags(flags), args: preparedArgs(options.args ?? {}) }
    const prepared = { ...options, enableJsonFlag: true, ...own } as Input<F, B, A>
    const parsed = await super.parse(prepared, argv)
    const fromDefault = new Set(
      Object.entries(parsed.metadata.flags)
        .filter(([, { setFromDefault }]) => setFromDefault)
        .map(([name]) => name),
    )
    checkRelations(flags, parsed.flags, fromDefault)
    return parsed
  }

  /** main.ts words it. */
  protected override async catch(error: Error): Promise<never> {
    throw error
  }
}
