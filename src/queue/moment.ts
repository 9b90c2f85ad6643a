const DAY = /^\d{4}-\d\d-\d\d$/
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/

/** A bare date (its beginning, UTC) or a moment with its zone, in ms since the epoch; undefined where it is neither. */
export function parseMoment(text: string): number | undefined {
  if (!DAY.test(text) && !MOMENT.test(text)) return undefined
  const date = new Date(text)
  // Date rolls 2027-02-30 over to March.
  const rolled = DAY.test(text) && !Number.isNaN(date.getTime()) && !date.toISOString().startsWith(text)
  return Number.isNaN(date.getTime()) || rolled ? undefined : date.getTime()
}
