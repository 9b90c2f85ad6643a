import { Command } from '../../cli/command.ts'
import { Args, keyring } from '../../cli/flags.ts'
import { minuteText } from '../../cli/key-text.ts'
import { readStdin } from '../../cli/stdin.ts'
import { ComfyAuthError } from '../../errors.ts'
import { paths } from '../../files/home.ts'
import { describeKey, type KeyDescription } from '../../keys/describe.ts'
import { readKeyring } from '../../keys/keyring.ts'
import { verifyKey } from '../../keys/lifecycle.ts'

async function stdinOnly(input: string): Promise<string> {
  if (input === '-') return input
  throw new ComfyAuthError('usage', '`keys verify` takes no file: it reads the key from stdin.', {
    remedy: 'Write it as `comfy-auth keys verify < FILE`.',
  })
}

export default class KeysVerify extends Command {
  static override summary = 'Check a key from stdin: its checksum, then the keyring.'
  static override description =
    `Tells a mistyped or cut key (exit 2) from one that the keyring does not know or calls dead (exit 6). Asks no server.`
  static override examples = [
    { description: 'A key in a file:', command: '<%= config.bin %> keys verify < ci.key' },
    { description: 'A key in a variable:', command: 'printenv COMFYUI_API_KEY | <%= config.bin %> keys verify -' },
  ]
  static override args = { '-': Args.string({ parse: stdinOnly, description: 'stdin, which is read anyway' }) }
  static override flags = { keyring: keyring() }

  async run(): Promise<KeyDescription> {
    const { flags } = await this.parse(KeysVerify)
    const key = (await readStdin('Pipe the key in, as in `comfy-auth keys verify < ci.key`.')).trim()
    if (key === '' || /[\r\n]/.test(key)) {
      throw new ComfyAuthError(
        'usage',
        key === '' ? 'There is no key on stdin.' : 'There is more than one line on stdin.',
        {
          remedy: 'Pipe one key in, as in `comfy-auth keys verify < ci.key`.',
        },
      )
    }
    const now = new Date()
    const verified = verifyKey(key, readKeyring(flags.keyring ?? paths().keyring).keys, now)
    switch (verified.kind) {
      case 'bad-checksum':
        throw new ComfyAuthError('usage', 'The key fails its checksum: it was mistyped or cut.', {
          remedy: 'Copy it again, whole: 55 characters from comfy_ on.',
        })
      case 'unknown':
        throw new ComfyAuthError('unauthorised', 'The keyring does not know this key.', {
          remedy: 'Is it for another server, or pruned? See `comfy-auth keys list`.',
        })
      case 'dead':
        throw new ComfyAuthError('unauthorised', `Key ${verified.record.id} is ${verified.state}.`, {
          remedy: 'Make a new one: `comfy-auth keygen`.',
          details: { id: verified.record.id, state: verified.state },
        })
      case 'live': {
        const described = describeKey(verified.record, now)
        const until = minuteText(described.expires)
        const about = [described.id, described.role, described.label, until && `until ${until}`]
          .filter(Boolean)
          .join(', ')
        this.log(`Good: key ${about}.`)
        return described
      }
    }
  }
}
