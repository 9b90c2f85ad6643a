import { Command } from '../../cli/command.ts'
import { Args, keyring } from '../../cli/flags.ts'
import { minuteText } from '../../cli/key-text.ts'
import { paths } from '../../files/home.ts'
import { describeKey, type KeyDescription } from '../../keys/describe.ts'
import { revokeKey } from '../../keys/lifecycle.ts'

interface RevokeResult extends KeyDescription {
  /** It was revoked before. */
  readonly already: boolean
  /** The keys that rotations replaced by it, and that are still live. */
  readonly predecessors: readonly KeyDescription[]
}

export default class KeysRevoke extends Command {
  static override summary = 'Revoke a key for good: it is refused within a second.'
  static override description =
    `A running serve refuses the key, ends its sessions and closes its sockets within a second.
The record stays, marked as revoked, until keys prune.`
  static override examples = [
    { description: 'By its label:', command: '<%= config.bin %> keys revoke ci' },
    { description: 'By its id:', command: '<%= config.bin %> keys revoke 0ON2XqYKS88C' },
  ]
  static override args = { key: Args.string({ required: true, description: 'id or label' }) }
  static override flags = { keyring: keyring() }

  async run(): Promise<RevokeResult> {
    const { args, flags } = await this.parse(KeysRevoke)
    const { record, already, adminsLeft, predecessors } = await revokeKey(flags.keyring ?? paths().keyring, args.key)
    const name = [record.id, record.label].filter(Boolean).join(', ')
    this.log(already ? `Key ${name} was revoked before.` : `Revoked key ${name}.`)
    if (adminsLeft === 0) this.caution('No live admin key is left in the keyring: make one with `comfy-auth keygen`.')
    const now = new Date()
    const live = predecessors.map((each) => describeKey(each, now))
    for (const { id, expires } of live) {
      const until = expires === null ? '' : ` until ${minuteText(expires)}`
      this.caution(`Key ${id}, which it replaced, works${until}: end it with \`comfy-auth keys revoke ${id}\`.`)
    }
    return { ...describeKey(record, now), already, predecessors: live }
  }
}
