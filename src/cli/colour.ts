type Stream = 'stdout' | 'stderr'

/** NO_COLOR, FORCE_COLOR, TERM=dumb and streams that are no terminal, as Node reads them for its own output. */
export function hasColour(stream: Stream): boolean {
  const { env } = process
  if (env.NO_COLOR) return false
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== 'false'
  return process[stream].isTTY === true && env.TERM !== 'dumb'
}

function styled(on: number, off: number) {
  return (text: string, stream: Stream = 'stdout') => (hasColour(stream) ? `\u001b[${on}m${text}\u001b[${off}m` : text)
}

export const bold = styled(1, 22)
export const dim = styled(2, 22)
export const red = styled(31, 39)
export const green = styled(32, 39)
export const yellow = styled(33, 39)
