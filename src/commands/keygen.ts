import { Command } from '../cli/command.ts'
import { expiry, Flags, fileOf, keyOutput, keyring } from '../cli/flags.ts'
import { paths } from '../files/home.ts'
import { createKey } from '../keys/lifecycle.ts'
import { takeBack } from '../keys/record-key.ts'
import { ROLES } from '../keys/roles.ts'

interface KeygenResult {
  readonly id: string | null
  readonly label: string | null
  readonly role: string
  readonly expires: Date | null
  readonly path: string | null
  readonly key?: string
}

export default class Keygen extends Command {
  static override summary = 'Make an API key and record it in the keyring.'
  static override description =
    `The key is shown once and kept nowhere: the keyring holds its SHA-256, which opens nothing.
Without --role it is an admin's while the keyring holds no live admin key, else a user's.`
  static override examples = [
    { description: 'The first key, on the screen:', command: '<%= config.bin %> keygen' },
    {
      description: 'A key for a script, in a file only you can read:',
      command: '<%= config.bin %> keygen --label ci --role user --out ci.key',
    },
    {
      description: 'A key that ends by itself:',
      command: '<%= config.bin %> keygen --label guest --role viewer --expires 7d',
    },
    { description: 'Into a variable:', command: 'KEY=$(<%= config.bin %> keygen --label lab)' },
  ]
  static override flags = {
    label: Flags.string({ helpValue: 'NAME', description: 'who or what will hold the key' }),
    role: Flags.option({ options: ROLES })({
      description: 'what the key may do [default: admin while there is no live admin, else user]',
    }),
    expires: expiry({ description: 'when it stops working: 90d, 24h or 2027-01-31 [default: never]' }),
    ...keyOutput,
    keyring: keyring(),
    'no-keyring': Flags.boolean({
      exclusive: ['keyring', 'label', 'role', 'expires'],
      description: 'record it nowhere: for --api-key-file on another machine',
    }),
  }

  #shownOnly: { readonly keyring: string; readonly id: string } | undefined

  override async undoUnseen(): Promise<string | undefined> {
    if (!this.#shownOnly) return undefined
    await takeBack(this.#shownOnly.keyring, this.#shownOnly)
    return 'The key was not recorded.'
  }

  async run(): Promise<KeygenResult> {
    const { flags } = await this.parse(Keygen)
    const { label, role, expires, force: overwrite, print } = flags
    const out = fileOf(flags.out)
    const ring = flags['no-keyring'] ? undefined : (flags.keyring ?? paths().keyring)
    const created = await createKey({ label, role, expires, out, overwrite, keyring: ring })
    if (ring !== undefined && created.id !== undefined && created.path === undefined) {
      this.#shownOnly = { keyring: ring, id: created.id }
    }
    for (const warning of created.warnings) this.caution(warning)
    const shown = created.path === undefined || print === true
    const about = [created.id ? `key ${created.id}` : 'recorded nowhere', created.role, created.label]
      .filter(Boolean)
      .join(', ')
    const until = created.expires ? `, until ${created.expires.toISOString()}` : ''
    if (created.path !== undefined) this.log(`Wrote ${created.path} (${about}${until})`)
    else if (process.stdout.isTTY && !this.jsonEnabled()) this.note(`New ${about}${until}. It is shown this once:`)
    if (shown) this.log(created.key)
    return {
      id: created.id ?? null,
      label: created.label ?? null,
      role: created.role,
      expires: created.expires ?? null,
      path: created.path ?? null,
      ...(shown ? { key: created.key } : {}),
    }
  }
}
