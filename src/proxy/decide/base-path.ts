/**
 * `--base-path /comfy`: the raw target as it stands below it, byte for byte, which is what every rule reads and what goes
 * upstream; undefined where it lies outside. Nothing is decoded: another spelling of the prefix is outside.
 */
export function belowBase(target: string, basePath: string): string | undefined {
  if (basePath === '') return target
  return target.startsWith(basePath) && target[basePath.length] === '/' ? target.slice(basePath.length) : undefined
}

/** `/` and `/comfy`, where somebody is on the way to the page; their query leads on. */
export function isBeforeBase(target: string, basePath: string): boolean {
  const mark = target.indexOf('?')
  const path = mark === -1 ? target : target.slice(0, mark)
  return path === '/' || path === basePath
}
