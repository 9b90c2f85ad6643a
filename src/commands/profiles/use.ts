import { Command } from '../../cli/command.ts'
import { Args } from '../../cli/flags.ts'
import { openProfiles } from '../../profiles/profiles.ts'

interface UseResult {
  readonly current: string
  readonly url: string
}

export default class ProfilesUse extends Command {
  static override summary = 'Make a stored server the one that is used where no other is named.'
  static override examples = [
    { description: 'From now on, the studio:', command: '<%= config.bin %> profiles use studio' },
  ]
  static override args = { name: Args.string({ required: true, description: 'its name, as profiles list shows it' }) }

  async run(): Promise<UseResult> {
    const { args } = await this.parse(ProfilesUse)
    const store = openProfiles()
    await store.use(args.name)
    const { url } = store.get(args.name)!
    this.log(`Using profile ${args.name}: ${url}`)
    return { current: args.name, url }
  }
}
