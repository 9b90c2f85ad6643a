export interface TurnLimits {
  /** Exchanges with ComfyUI at once: less than its pool has connections, so that our own questions find one. */
  readonly running: number
  /** Of one key or session's key. */
  readonly perKey: number
  /** Of all who came without a key (rule 7), and of one address among them. */
  readonly open: number
  readonly perAddress: number
  /** Of `running`, what those with a key leave to those without: the login page's own files. */
  readonly keptOpen: number
  /** Exchanges of one key or address that may wait; more are refused. */
  readonly waiting: number
  /** The same of all who came without a key. */
  readonly openWaiting: number
  /** Of the waiting of one key or address, those with a body: what has come of it over HTTP/2, up to 1 MiB each, waits with them. */
  readonly waitingBodies: number
  /** Who stands in the way of others, and whose client took or sent less than STEADY_BYTES in this time, is cut. */
  readonly patienceMs: number
  /** Whoever has less than an equal share waits no longer than this for those who have more. */
  readonly shareMs: number
}

export const TURN_LIMITS: TurnLimits = {
  running: 240,
  perKey: 128,
  open: 96,
  perAddress: 48,
  keptOpen: 16,
  waiting: 1_024,
  openWaiting: 2_048,
  waitingBodies: 32,
  patienceMs: 5_000,
  shareMs: 2_000,
}
