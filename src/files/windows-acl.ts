/**
 * The call that leaves a file or folder to its owner alone: inherited entries off, full control for the user, passed on
 * to what a folder will hold. Windows ignores POSIX modes.
 */
export function icaclsArguments(path: string, env: Readonly<Record<string, string | undefined>>): string[] | undefined {
  if (!env.USERNAME) return undefined
  const user = env.USERDOMAIN ? `${env.USERDOMAIN}\\${env.USERNAME}` : env.USERNAME
  return [path, '/inheritance:r', '/grant:r', `${user}:(OI)(CI)F`, '/q']
}

/** Closes a new folder to others on Windows; elsewhere its mode has done so. Where icacls fails the profile's own ACL stands. */
export function restrictToOwner(
  folder: string,
  platform: NodeJS.Platform = process.platform,
  run: (file: string, args: string[]) => void = (file, args) => {
    // Asked for here, since loading it takes a start 2 ms and only Windows needs it.
    process
      .getBuiltinModule('node:child_process')
      .execFileSync(file, args, { stdio: 'ignore', windowsHide: true, timeout: 10_000 })
  },
): void {
  if (platform !== 'win32') return
  const args = icaclsArguments(folder, process.env)
  if (!args) return
  try {
    run('icacls', args)
  } catch {} // a folder below the user's profile is the user's already
}
