import { Command } from '../cli/command.ts'
import { Flags } from '../cli/flags.ts'
import { ComfyAuthError } from '../errors.ts'
import { openProfiles } from '../profiles/profiles.ts'

interface LogoutResult {
  readonly removed: readonly string[]
}

export default class Logout extends Command {
  static override summary = 'Forget a stored server and its key.'
  static override description =
    'The key itself stays good: to end it, the owner of the server revokes it with keys revoke.'
  static override examples = [
    { description: 'The current profile:', command: '<%= config.bin %> logout' },
    { description: 'Another one:', command: '<%= config.bin %> logout --profile studio' },
    { description: 'All of them:', command: '<%= config.bin %> logout --all' },
  ]
  static override flags = {
    profile: Flags.string({
      helpValue: 'NAME',
      exclusive: ['all'],
      description: 'which one [default: the current one]',
    }),
    all: Flags.boolean({ description: 'every stored server' }),
  }

  async run(): Promise<LogoutResult> {
    const { flags } = await this.parse(Logout)
    const store = openProfiles()
    const name = flags.profile ?? store.current()
    const removed = flags.all ? store.names() : name === undefined ? [] : [name]
    if (removed.length === 0 && !flags.all) {
      const names = store.names()
      throw new ComfyAuthError('usage', 'There is no current profile to log out of.', {
        remedy:
          names.length > 0
            ? `Name one with --profile: ${names.join(', ')}.`
            : 'Nothing is stored; there is nothing to do.',
      })
    }
    for (const each of removed) await store.remove(each)
    this.log(removed.length === 0 ? 'Nothing is stored.' : `Forgot ${removed.join(', ')}.`)
    return { removed }
  }
}
