import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { KeySources, NamedFile } from './live.ts'

export interface NamedSources {
  readonly keyring?: string | undefined
  readonly keyFiles?: readonly string[] | undefined
  readonly key?: string | undefined
}

/** What the command line names, and beside it COMFYUI_API_KEY, COMFYUI_API_KEY_FILE and systemd's `LoadCredential=api_key:...`. */
export function keySources({ keyring, keyFiles = [], key }: NamedSources, env: NodeJS.ProcessEnv): KeySources {
  const { COMFYUI_API_KEY, COMFYUI_API_KEY_FILE, CREDENTIALS_DIRECTORY } = env
  const named = keyFiles.map((path, index): NamedFile => {
    const one = keyFiles.length === 1
    return {
      path,
      name: one ? 'The key file of --api-key-file' : `Key file ${index + 1} of ${keyFiles.length} (--api-key-file)`,
    }
  })
  if (isSet(COMFYUI_API_KEY_FILE))
    named.push({ path: COMFYUI_API_KEY_FILE, name: 'The key file of COMFYUI_API_KEY_FILE' })
  const credential = isSet(CREDENTIALS_DIRECTORY) ? join(CREDENTIALS_DIRECTORY, 'api_key') : undefined
  if (credential !== undefined && existsSync(credential)) {
    named.push({ path: credential, name: "The key file of systemd's credential api_key" })
  }
  return { keyring, keyFiles: named, bareKeys: [key, COMFYUI_API_KEY].filter(isSet) }
}

function isSet(text: string | undefined): text is string {
  return text !== undefined && text !== ''
}
