import { Command } from '../../cli/command.ts'
import { Flags, keyring } from '../../cli/flags.ts'
import { paths } from '../../files/home.ts'
import { describeKey, type KeyDescription } from '../../keys/describe.ts'
import { pruneKeys } from '../../keys/lifecycle.ts'

const REVIVED = 'A key file or --api-key that names a dropped key makes it live again, as admin: take it out there too.'

export default class KeysPrune extends Command {
  static override summary = 'Drop the records of expired and revoked keys.'
  static override examples = [
    { description: 'See what would go:', command: '<%= config.bin %> keys prune --dry-run' },
    { description: 'Drop them:', command: '<%= config.bin %> keys prune' },
  ]
  static override flags = {
    'dry-run': Flags.boolean({ description: 'only tell which' }),
    keyring: keyring(),
  }

  async run(): Promise<{ readonly pruned: readonly KeyDescription[]; readonly dryRun: boolean }> {
    const { flags } = await this.parse(KeysPrune)
    const dryRun = flags['dry-run']
    const now = new Date()
    const dead = await pruneKeys(flags.keyring ?? paths().keyring, { dryRun })
    const pruned = dead.map((record) => describeKey(record, now))
    for (const { id, label, state } of pruned) {
      this.log(`${dryRun ? 'Would drop' : 'Dropped'} ${[id, label, state].filter(Boolean).join(', ')}`)
    }
    if (pruned.length === 0) this.log('No dead key in the keyring.')
    else if (!this.jsonEnabled()) this.caution(REVIVED)
    return { pruned, dryRun }
  }
}
