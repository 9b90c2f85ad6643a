import { Command } from '../../cli/command.ts'
import { Args, duration, expiry, fileOf, keyOutput, keyring } from '../../cli/flags.ts'
import { minuteText } from '../../cli/key-text.ts'
import { paths } from '../../files/home.ts'
import { type RotatedKey, rotateKey } from '../../keys/lifecycle.ts'
import { takeBack } from '../../keys/record-key.ts'
import type { Role } from '../../keys/roles.ts'

const DEFAULT_GRACE_MS = 24 * 3_600_000

interface RotateResult {
  readonly id: string
  readonly label: string | null
  readonly role: Role
  readonly expires: string | null
  readonly replaces: string
  /** When the old key dies. */
  readonly oldExpires: string
  readonly path: string | null
  readonly key?: string
}

export default class KeysRotate extends Command {
  static override summary = 'Make a new key in place of another, which lives on for a while.'
  static override description =
    `The new key takes over role and label; the old one works for the grace time, so that whoever holds it can change over.
The new key lives as long as the old one was given, unless --expires says otherwise.`
  static override examples = [
    { description: 'A day to change over:', command: '<%= config.bin %> keys rotate ci --out ci.key --force' },
    { description: 'At once, because it leaked:', command: '<%= config.bin %> keys rotate ci --grace 0' },
  ]
  static override args = { key: Args.string({ required: true, description: 'id or label' }) }
  static override flags = {
    grace: duration({ description: 'how long the old key lives on [default: 24h]' }),
    expires: expiry({ description: 'when the new key stops working' }),
    ...keyOutput,
    keyring: keyring(),
  }

  #shownOnly: { readonly keyring: string; readonly rotated: RotatedKey } | undefined

  override async undoUnseen(): Promise<string | undefined> {
    if (!this.#shownOnly) return undefined
    await takeBack(this.#shownOnly.keyring, this.#shownOnly.rotated)
    return 'The old key stays as it was.'
  }

  async run(): Promise<RotateResult> {
    const { args, flags } = await this.parse(KeysRotate)
    const { grace: graceMs = DEFAULT_GRACE_MS, expires, force: overwrite } = flags
    const out = fileOf(flags.out)
    const ring = flags.keyring ?? paths().keyring
    const rotated = await rotateKey(ring, {
      name: args.key,
      graceMs,
      expires,
      out,
      overwrite,
    })
    if (rotated.path === undefined) this.#shownOnly = { keyring: ring, rotated }
    for (const warning of rotated.warnings) this.caution(warning)
    const shown = rotated.path === undefined || flags.print
    const oldExpires = rotated.oldExpires.toISOString()
    const about = [`key ${rotated.id}`, rotated.role, rotated.label].filter(Boolean).join(', ')
    const old = `${rotated.replaces} ${graceMs === 0 ? 'is dead' : `works until ${minuteText(oldExpires)}`}`
    if (rotated.path !== undefined) this.log(`Wrote ${rotated.path} (${about}); ${old}.`)
    else if (!this.jsonEnabled()) this.note(`New ${about}; ${old}.`)
    if (shown) this.log(rotated.key)
    return {
      id: rotated.id,
      label: rotated.label ?? null,
      role: rotated.role,
      expires: rotated.expires?.toISOString() ?? null,
      replaces: rotated.replaces,
      oldExpires,
      path: rotated.path ?? null,
      ...(shown ? { key: rotated.key } : {}),
    }
  }
}
