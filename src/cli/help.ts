import { Help as OclifHelp } from '@oclif/core/help'
import type { ErrorKind } from '../errors.ts'
import { EXIT_CODES } from './exit-codes.ts'

const MEANINGS: Readonly<Record<ErrorKind, string>> = {
  internal: 'our own fault',
  usage: 'wrong usage or configuration',
  refused: "refused by ComfyUI's validation",
  failed: 'failed while running',
  unreachable: 'server unreachable, or not a ComfyUI',
  unauthorised: 'not authorised (401, 403)',
  timeout: 'timed out',
  interrupted: 'interrupted',
}

/** The table of exit codes as --help shows it. */
export function exitCodeRows(): [string, string][] {
  const rows = Object.entries(MEANINGS).map(([kind, meaning]): [string, string] => [
    String(EXIT_CODES[kind as ErrorKind]),
    meaning,
  ])
  return [['0', 'done'], ...rows]
}

type CommandOfHelp = Parameters<OclifHelp['formatCommand']>[0]

/** oclif's help, with the exit codes at its end; a command may bring a table of its own (`static exitCodeHelp`). */
export class Help extends OclifHelp {
  override formatRoot(): string {
    return `${super.formatRoot()}\n\n${this.#codes(exitCodeRows())}`
  }

  override formatCommand(command: CommandOfHelp): string {
    const own = (command as { exitCodeHelp?: [string, string][] }).exitCodeHelp
    return `${super.formatCommand(command).trimEnd()}\n\n${this.#codes(own ?? exitCodeRows())}`
  }

  #codes(rows: [string, string][]): string {
    return this.section(
      'EXIT CODES',
      this.renderList(rows, { indentation: 2, stripAnsi: this.opts.stripAnsi ?? false }),
    )
  }
}
