/** Recorded exchanges or sessions that the simulator does not follow, and why. docs/simulated-comfyui.md shows the same list. */
export interface NotFollowed {
  /** The flags of the recorded server; empty for none. */
  readonly server: string
  /** How an exchange's method, path and note begin, or `/ws` and how a session's name begins; empty for all of that server. */
  readonly what: string
  /** What begins so and is followed all the same. */
  readonly but?: readonly string[]
  readonly reason: string
}

export const NOT_FOLLOWED: readonly NotFollowed[] = [
  {
    server: '',
    what: 'POST /prompt model not in the list',
    reason:
      'The recorded server had no checkpoint; the simulated one has one, so that text-to-image runs. The error is the same, the list in it is not empty.',
  },
  {
    server: '--enable-assets',
    what: '',
    but: ['GET /api/assets/xyz'],
    reason:
      'Assets are not simulated: their routes answer 503, as they do without the flag. The proxy leaves their writes to admins by the route table alone.',
  },
]

/** Whether an entry means this exchange or session. */
export function means(entry: NotFollowed, server: string, what: string): boolean {
  return (
    entry.server === server &&
    what.startsWith(entry.what) &&
    !entry.but?.some((exception) => what.startsWith(exception))
  )
}
