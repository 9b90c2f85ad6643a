import { Command } from '../../cli/command.ts'
import { keyring } from '../../cli/flags.ts'
import { keyStateText, minuteText } from '../../cli/key-text.ts'
import { renderTable } from '../../cli/table.ts'
import { paths } from '../../files/home.ts'
import { describeKey, type KeyDescription } from '../../keys/describe.ts'
import { readKeyring } from '../../keys/keyring.ts'
import { readLastUsed } from '../../keys/last-used.ts'

export default class KeysList extends Command {
  static override summary = 'List the keys of the keyring, dead ones too.'
  static override examples = [
    { description: 'All keys:', command: '<%= config.bin %> keys list' },
    { description: 'For a script:', command: '<%= config.bin %> keys list --json' },
  ]
  static override flags = { keyring: keyring() }

  async run(): Promise<{ readonly keys: readonly KeyDescription[] }> {
    const { flags } = await this.parse(KeysList)
    const { keys: records, warnings } = readKeyring(flags.keyring ?? paths().keyring)
    for (const warning of warnings) this.caution(warning)
    const lastUsed = await readLastUsed(paths().serveDb)
    const now = new Date()
    const keys = records.map((record) => describeKey(record, now, lastUsed.get(record.id)))
    if (keys.length === 0) this.log('The keyring holds no key. Make one: comfy-auth keygen')
    else {
      const rows = keys.map((key) => [
        key.id,
        key.label ?? '-',
        key.role,
        keyStateText(key),
        minuteText(key.created) ?? '-',
        minuteText(key.expires) ?? 'never',
        minuteText(key.lastUsed) ?? 'never',
      ])
      this.log(renderTable(['ID', 'LABEL', 'ROLE', 'STATE', 'CREATED', 'EXPIRES', 'LAST USED'], rows))
    }
    return { keys }
  }
}
