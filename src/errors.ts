/**
 * What went wrong, by who can mend it. Each kind has one exit code (cli/exit-codes.ts):
 * - `internal`: our own fault
 * - `usage`: wrong flag, argument, file or configuration
 * - `refused`: ComfyUI's validation said no, nothing ran
 * - `failed`: ComfyUI accepted it and it failed while running
 * - `unreachable`: no server there, or not a ComfyUI
 * - `unauthorised`: 401 or 403
 * - `timeout`: a deadline of ours passed
 * - `interrupted`: Ctrl-C
 */
export type ErrorKind =
  | 'internal'
  | 'usage'
  | 'refused'
  | 'failed'
  | 'unreachable'
  | 'unauthorised'
  | 'timeout'
  | 'interrupted'

/**
 * The one error that rooms throw. `message` says what happened, `remedy` what to do next; both are
 * shown to people and must never hold a key, nor a value typed on the command line that could be one.
 */
export class ComfyAuthError extends Error {
  override readonly name = 'ComfyAuthError'
  readonly kind: ErrorKind
  readonly remedy: string
  /** What `--json` tells beside them, for scripts. */
  readonly details: Readonly<Record<string, string>>

  constructor(
    kind: ErrorKind,
    message: string,
    options: { readonly remedy: string; readonly cause?: unknown; readonly details?: Readonly<Record<string, string>> },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.kind = kind
    this.remedy = options.remedy
    this.details = options.details ?? {}
  }
}
