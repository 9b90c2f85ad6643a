/** The four states of monitoring plugins, and the exit codes that say them. */
export type State = 'ok' | 'warning' | 'critical' | 'unknown'

export const STATE_CODES: Readonly<Record<State, 0 | 1 | 2 | 3>> = { ok: 0, warning: 1, critical: 2, unknown: 3 }

/** From what is best to what counts most: a fault that was seen is never hidden by something that could not be seen. */
const WEIGHT: readonly State[] = ['ok', 'unknown', 'warning', 'critical']

export function worst(states: readonly State[]): State {
  return WEIGHT[Math.max(0, ...states.map((state) => WEIGHT.indexOf(state)))]!
}
