import { existsSync } from 'node:fs'
import { Command } from '../cli/command.ts'
import { serverFlags } from '../cli/server-flags.ts'
import { checkServer, probeRole } from '../comfy/check-server.ts'
import { createClient } from '../comfy/client.ts'
import { paths } from '../files/home.ts'
import { digestOf } from '../keys/digest.ts'
import { readKeyring } from '../keys/keyring.ts'
import { resolveServer, type Source } from '../profiles/credential.ts'

interface WhoamiResult {
  readonly url: string
  readonly url_from: string
  readonly profile: string | null
  readonly key_from: string
  /** From this machine's keyring, where it knows the key; a server elsewhere does not tell. */
  readonly key_id: string | null
  readonly label: string | null
  readonly expires: string | null
  readonly role: 'admin' | 'user' | 'viewer'
  readonly lock: 'comfy-auth' | 'other' | 'none'
  readonly comfyui: 'up' | 'down'
  readonly comfyui_version: string | null
}

function sourceText({ kind, name }: Source): string {
  return kind === 'profile' ? `profile ${name}` : kind === 'environment' || kind === 'flag' ? name : kind
}

const LOCKS = { 'comfy-auth': 'comfy-auth', other: 'another proxy', none: 'none: anybody is let in' } as const

export default class Whoami extends Command {
  static override summary = 'Show which server is used, with which key and role, and where each comes from.'
  static override description = 'Asks the server. The key itself is never shown.'
  static override examples = [
    { description: 'What submit and queue would use here:', command: '<%= config.bin %> whoami' },
    { description: 'For a script:', command: '<%= config.bin %> whoami --json' },
  ]
  static override flags = { ...serverFlags }

  async run(): Promise<WhoamiResult> {
    const { flags } = await this.parse(Whoami)
    const { url, key, profile, from } = await resolveServer(flags)
    const client = createClient({ url, key })
    try {
      const { lock, comfyui, version } = await checkServer(client)
      const role = lock === 'none' ? 'admin' : await probeRole(client)
      const ring = paths().keyring
      const record =
        key !== undefined && existsSync(ring)
          ? readKeyring(ring).keys.find(({ digest }) => digest === digestOf(key))
          : undefined
      const expires = record?.expires?.toISOString()
      const rows: readonly (readonly [string, string])[] = [
        ['server', `${url} (${sourceText(from.url)})`],
        ['lock', LOCKS[lock]],
        ['ComfyUI', comfyui === 'down' ? 'down' : (version ?? 'up')],
        ['key', key === undefined ? 'none' : `from ${sourceText(from.key)}`],
        ['key id', record ? (record.label ? `${record.id} (${record.label})` : record.id) : ''],
        ['role', lock === 'none' ? 'admin (the server asks for no key)' : role],
        ['expires', record ? (expires ?? 'never') : ''],
      ]
      for (const [name, value] of rows) if (value !== '') this.log(`${name.padEnd(8)} ${value}`)
      return {
        ...{ url, url_from: sourceText(from.url), profile: profile ?? null, key_from: sourceText(from.key) },
        ...{ key_id: record?.id ?? null, label: record?.label ?? null, expires: expires ?? null },
        ...{ role, lock, comfyui, comfyui_version: version ?? null },
      }
    } finally {
      await client.close()
    }
  }
}
