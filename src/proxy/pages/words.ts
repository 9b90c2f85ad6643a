/** `1 second`, `45 seconds`, `4 minutes`: rounded up, so that who waits that long has waited long enough. */
export function waitText(seconds: number): string {
  const [count, unit] = seconds < 90 ? [seconds, 'second'] : [Math.ceil(seconds / 60), 'minute']
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

export function throttledText(seconds: number): string {
  return `Too many wrong keys came from your address. Try again in ${waitText(seconds)}.`
}
