import { Command } from '../../cli/command.ts'
import { renderTable } from '../../cli/table.ts'
import { openProfiles } from '../../profiles/profiles.ts'

interface ListResult {
  readonly profiles: readonly {
    readonly name: string
    readonly url: string
    readonly current: boolean
    readonly credential: 'key' | 'key-command' | 'none'
    readonly saved: string
  }[]
}

export default class ProfilesList extends Command {
  static override summary = 'List the stored servers.'
  static override description = 'The one with the star is used where no other is named. Keys are never shown.'
  static override examples = [{ description: 'A table:', command: '<%= config.bin %> profiles list' }]

  async run(): Promise<ListResult> {
    await this.parse(ProfilesList)
    const store = openProfiles()
    const current = store.current()
    const profiles = store.names().map((name) => {
      const { url, key, keyCommand, savedAt } = store.get(name)!
      const credential: 'key' | 'key-command' | 'none' =
        key !== undefined ? 'key' : keyCommand !== undefined ? 'key-command' : 'none'
      return { name, url, current: name === current, credential, saved: savedAt }
    })
    if (profiles.length === 0) this.note('No server is stored. Store one with: comfy-auth login URL')
    else {
      const rows = profiles.map(({ name, url, current: starred, credential, saved }) => [
        starred ? '*' : '',
        name,
        url,
        credential,
        saved.slice(0, 10),
      ])
      this.log(renderTable(['', 'NAME', 'SERVER', 'KEY', 'SAVED'], rows))
    }
    return { profiles }
  }
}
