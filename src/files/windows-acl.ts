/** Rights that a folder hands on to what it will hold; a file has none to hand on. */
const HANDED_ON = { folder: '(OI)(CI)', file: '' } as const

type Kind = keyof typeof HANDED_ON
type Run = (file: string, args: string[]) => void

/**
 * The call that leaves a file or folder to its owner alone: inherited entries off, full control for the user. Windows
 * ignores POSIX modes.
 */
export function icaclsArguments(
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  kind: Kind = 'folder',
): string[] | undefined {
  if (!env.USERNAME) return undefined
  const user = env.USERDOMAIN ? `${env.USERDOMAIN}\\${env.USERNAME}` : env.USERNAME
  return [path, '/inheritance:r', '/grant:r', `${user}:${HANDED_ON[kind]}F`, '/q']
}

const icacls: Run = (file, args) => {
  // Asked for here, since loading it takes a start 2 ms and only Windows needs it.
  process
    .getBuiltinModule('node:child_process')
    .execFileSync(file, args, { stdio: 'ignore', windowsHide: true, timeout: 10_000 })
}

/** Closes a new folder to others on Windows; elsewhere its mode has done so. Where icacls fails the profile's own ACL stands. */
export function restrictToOwner(
  path: string,
  platform: NodeJS.Platform = process.platform,
  run: Run = icacls,
  kind: Kind = 'folder',
): void {
  if (platform !== 'win32') return
  const args = icaclsArguments(path, process.env, kind)
  if (!args) return
  try {
    run('icacls', args)
  } catch {} // a folder below the user's profile is the user's already
}

/** The same for a file, which may lie in any folder: called while it is still empty. */
export function restrictFileToOwner(path: string): void {
  restrictToOwner(path, process.platform, icacls, 'file')
}
