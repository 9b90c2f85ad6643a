import { green, red, yellow } from './colour.ts'

/** `2026-11-24 11:31Z` of an ISO date, null of null. */
export function minuteText(iso: string | null): string | undefined {
  return iso === null ? undefined : `${iso.slice(0, 10)} ${iso.slice(11, 16)}Z`
}

/** live, replaced (it lives on for its grace time), expired or revoked, in its colour. */
export function keyStateText({
  state,
  replacedBy,
}: {
  readonly state: string
  readonly replacedBy: string | null
}): string {
  if (state !== 'live') return red(state)
  return replacedBy === null ? green('live') : yellow('replaced')
}
