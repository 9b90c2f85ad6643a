/**
 * `--base-path /comfy`: the raw target as it stands below it, byte for byte, which is what every rule reads and what goes
 * upstream; undefined where it lies outside. Nothing is decoded: another spelling of the prefix is outside.
 */
export function belowBase(target: string, basePath: string): string | undefined {
  if (basePath === '') return target
  return target.startsWith(basePath) && target[basePath.length] === '/' ? target.slice(basePath.length) : undefined
}

/** `/` and `/comfy`, where somebody is on the way to the page: the page's address with their query, a key in it too. */
export function fromBeforeBase(target: string, basePath: string): string | undefined {
  const mark = target.indexOf('?')
  const path = mark === -1 ? target : target.slice(0, mark)
  if (path !== '/' && path !== basePath) return undefined
  const query = mark === -1 ? '' : target.slice(mark)
  // It stands in a Location: visible ASCII alone, as browsers send it
  return `${basePath}/${/^\?[!-~]+$/.test(query) ? query : ''}`
}
