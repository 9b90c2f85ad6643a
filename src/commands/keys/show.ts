import { Command } from '../../cli/command.ts'
import { Args, keyring } from '../../cli/flags.ts'
import { keyStateText, minuteText } from '../../cli/key-text.ts'
import { paths } from '../../files/home.ts'
import { describeKey, type KeyDescription } from '../../keys/describe.ts'
import { readKeyring } from '../../keys/keyring.ts'
import { readLastUsed } from '../../keys/last-used.ts'
import { findRecord } from '../../keys/lifecycle.ts'

export default class KeysShow extends Command {
  static override summary = 'Show one key of the keyring.'
  static override examples = [
    { description: 'By its label:', command: '<%= config.bin %> keys show ci' },
    { description: 'By its id, for a script:', command: '<%= config.bin %> keys show 0ON2XqYKS88C --json' },
  ]
  static override args = { key: Args.string({ required: true, description: 'id or label' }) }
  static override flags = { keyring: keyring() }

  async run(): Promise<KeyDescription> {
    const { args, flags } = await this.parse(KeysShow)
    const now = new Date()
    const { keys, warnings } = readKeyring(flags.keyring ?? paths().keyring)
    for (const warning of warnings) this.caution(warning)
    const record = findRecord(keys, args.key, now)
    const key = describeKey(record, now, (await readLastUsed(paths().serveDb)).get(record.id))
    const lines = [
      ['id', key.id],
      ['label', key.label ?? '-'],
      ['role', key.role],
      ['state', keyStateText(key)],
      ['created', minuteText(key.created) ?? '-'],
      ['expires', minuteText(key.expires) ?? 'never'],
      ...(key.revoked === null ? [] : [['revoked', minuteText(key.revoked) ?? '-']]),
      ...(key.replacedBy === null ? [] : [['replaced by', key.replacedBy]]),
      ['last used', minuteText(key.lastUsed) ?? 'never'],
    ]
    for (const [name = '', value = ''] of lines) this.log(`${name.padEnd(13)}${value}`)
    return key
  }
}
