import { accessSync, constants, realpathSync } from 'node:fs'
import { delimiter, join, relative, sep } from 'node:path'
import { PACKAGE_ROOT } from '../files/package.ts'
import type { Demo } from './demo.ts'

/** Where a line will be pasted. */
export interface Shell {
  readonly cwd: string
  readonly path: string
  readonly execPath: string
}

/** As one word of a command line: in double quotes, which sh, cmd and PowerShell share, where it needs any. */
export function word(text: string): string {
  const windows = process.platform === 'win32'
  if ((windows ? /^[\w@%+=:,./\\-]+$/ : /^[\w@%+=:,./-]+$/).test(text)) return text
  return `"${windows ? text : text.replaceAll(/["$`\\]/g, '\\$&')}"`
}

/** Whether `comfy-auth` on the PATH is this very package. npm puts node_modules/.bin there for its own scripts only. */
function isOnPath(path: string, bin: string): boolean {
  return path
    .split(delimiter)
    .filter((folder) => folder !== '' && !folder.includes('node_modules'))
    .some((folder) => {
      try {
        const found = join(folder, 'comfy-auth')
        accessSync(found, constants.X_OK)
        return realpathSync(found) === realpathSync(bin)
      } catch {
        return false
      }
    })
}

/** How this comfy-auth is called from `cwd`: by its name, by npx in a clone or where it is installed, else by its path. */
export function commandName({ cwd, path, execPath }: Shell): string {
  const bin = join(PACKAGE_ROOT, 'bin', 'run.js')
  if (isOnPath(path, bin)) return 'comfy-auth'
  if (cwd === PACKAGE_ROOT || PACKAGE_ROOT === join(cwd, 'node_modules', 'comfy-auth')) return 'npx comfy-auth'
  return `${word(execPath)} ${word(bin)}`
}

/** The shorter of the two names of a file below `cwd`. */
export function shown(file: string, cwd: string): string {
  const below = relative(cwd, file)
  return below === '' || below.startsWith('..') || below.includes(`:${sep}`) ? file : below
}

export interface Lines {
  readonly login: string
  readonly curl: string
  readonly python: string
  readonly cli: string
}

/** What to try: each works as it stands, pasted into a shell in `cwd`. */
export function linesToTry(
  demo: Pick<Demo, 'url' | 'key' | 'keyFile' | 'workflowFile'>,
  output: string,
  shell: Shell,
): Lines {
  const { url, key, keyFile } = demo
  const workflow = shown(demo.workflowFile, shell.cwd)
  const python = [
    'import urllib.request as web',
    `print(web.urlopen(web.Request('${url}/api/jobs', headers={'X-API-Key': '${key}'})).read().decode())`,
  ].join('; ')
  return {
    login: `${url}/auth_login.html`,
    curl: `curl -H "Authorization: Bearer ${key}" ${url}/system_stats`,
    python: `python3 -c "${python}"`,
    cli: [
      commandName(shell),
      'submit',
      word(workflow),
      '--seed random',
      `--url ${url}`,
      `--key-file ${word(keyFile)}`,
      `--output ${word(shown(output, shell.cwd))}`,
    ].join(' '),
  }
}
