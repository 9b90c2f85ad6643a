import { Command } from '../../cli/command.ts'
import { Args, expiry, Flags, keyring } from '../../cli/flags.ts'
import { readStdin } from '../../cli/stdin.ts'
import { ComfyAuthError } from '../../errors.ts'
import { paths } from '../../files/home.ts'
import { describeKey, type KeyDescription } from '../../keys/describe.ts'
import { parseKeyFile, readKeyFile } from '../../keys/key-file.ts'
import { importKeys } from '../../keys/lifecycle.ts'
import { ROLES } from '../../keys/roles.ts'

interface ImportResult {
  readonly added: readonly KeyDescription[]
  /** Keys that the keyring held already. */
  readonly known: number
  /** Which those are; they stay as they are. */
  readonly already: readonly KeyDescription[]
  /** Flags that were given, and change nothing of keys that were there already. */
  readonly notApplied: readonly string[]
}

export default class KeysImport extends Command {
  static override summary = 'Record the keys of a key file (one a line) in the keyring.'
  static override description =
    `The keys go on working; from then on they have ids, roles and an end, and can be revoked. Only their SHA-256 is kept, so the file can be deleted afterwards.`
  static override examples = [
    {
      description: 'The file that the server was started with until now:',
      command: '<%= config.bin %> keys import api_key.txt',
    },
    {
      description: 'Keys of guests, for a week:',
      command: '<%= config.bin %> keys import guests.txt --role viewer --label guest --expires 7d',
    },
  ]
  static override args = { file: Args.string({ required: true, description: 'the key file, or - for stdin' }) }
  static override flags = {
    role: Flags.option({ options: ROLES })({
      description: 'what the keys may do [default: one is an admin while there is none that lives, the rest users]',
    }),
    label: Flags.string({ helpValue: 'NAME', description: 'who holds them; several get a number behind it' }),
    expires: expiry({ description: 'when they stop working [default: never]' }),
    keyring: keyring(),
  }

  async run(): Promise<ImportResult> {
    const { args, flags } = await this.parse(KeysImport)
    const { role, label, expires } = flags
    const found = await this.#keys(args.file)
    const { added, known } = await importKeys(flags.keyring ?? paths().keyring, { found, role, label, expires })
    const now = new Date()
    for (const record of added) {
      this.log(`Imported key ${[record.id, record.role, record.label].filter(Boolean).join(', ')}`)
    }
    const already = known.map((record) => describeKey(record, now))
    for (const key of already) {
      const name = [key.id, key.role, key.label].filter(Boolean).join(', ')
      this.log(`Key ${name} was in the keyring already: it is ${key.state}.`)
    }
    const given = Object.entries({ role, label, expires }).filter(([, value]) => value !== undefined)
    const notApplied = known.length === 0 ? [] : given.map(([name]) => name)
    if (notApplied.length > 0) {
      const names = notApplied.map((name) => `--${name}`).join(' and ')
      this.log(`${names} ${given.length === 1 ? 'was' : 'were'} not applied to keys that were there already.`)
    }
    return { added: added.map((record) => describeKey(record, now)), known: known.length, already, notApplied }
  }

  async #keys(file: string): Promise<readonly string[]> {
    const fromStdin = file === '-'
    const read = fromStdin
      ? { keys: parseKeyFile(await readStdin('Pipe the keys in, or name a file.')), exposed: false }
      : readKeyFile(file)
    if (read.exposed) this.caution('Other users may read the key file: run `chmod 600` on it, or delete it.')
    if (read.keys.length > 0) return read.keys
    throw new ComfyAuthError('usage', fromStdin ? 'There is no key on stdin.' : 'The key file holds no key.', {
      remedy: 'Write one key a line; lines that begin with # are comments.',
    })
  }
}
