import { Command } from '../../cli/command.ts'
import { Args } from '../../cli/flags.ts'
import { openProfiles } from '../../profiles/profiles.ts'

interface RemoveResult {
  readonly removed: string
  readonly current: string | null
}

export default class ProfilesRemove extends Command {
  static override summary = 'Forget a stored server and its key.'
  static override examples = [{ description: 'The studio:', command: '<%= config.bin %> profiles remove studio' }]
  static override args = { name: Args.string({ required: true, description: 'its name, as profiles list shows it' }) }

  async run(): Promise<RemoveResult> {
    const { args } = await this.parse(ProfilesRemove)
    const store = openProfiles()
    await store.remove(args.name)
    this.log(`Forgot ${args.name}.`)
    return { removed: args.name, current: store.current() ?? null }
  }
}
