import type { ErrorKind } from '../errors.ts'

/** The exit code of each kind of error. `health` alone uses the monitoring codes (health/checks.ts). */
export const EXIT_CODES: Readonly<Record<ErrorKind, number>> = {
  internal: 1,
  usage: 2,
  refused: 3,
  failed: 4,
  unreachable: 5,
  unauthorised: 6,
  timeout: 7,
  interrupted: 130,
}
