import { Command } from '../../cli/command.ts'
import { keyring } from '../../cli/flags.ts'
import { minuteText } from '../../cli/key-text.ts'
import { renderTable } from '../../cli/table.ts'
import { paths } from '../../files/home.ts'
import { readKeyring } from '../../keys/keyring.ts'
import { listSessions, type SessionDescription, whyNone } from '../../proxy/stored-sessions.ts'

interface Listed extends SessionDescription {
  readonly label: string | null
}

export default class SessionsList extends Command {
  static override summary = 'List the browsers that are logged in.'
  static override description =
    `Reads serve's database, whether serve runs or not. A session ends after 12 hours without use, and in any case
12 hours after the login, or 30 days with Remember me.`
  static override examples = [
    { description: 'All of them:', command: '<%= config.bin %> sessions list' },
    { description: 'For a script:', command: '<%= config.bin %> sessions list --json' },
  ]
  static override flags = { keyring: keyring() }

  async run(): Promise<{ readonly sessions: readonly Listed[] }> {
    const { flags } = await this.parse(SessionsList)
    const { keys } = readKeyring(flags.keyring ?? paths().keyring)
    const labels = new Map(keys.map(({ id, label }) => [id, label]))
    const sessions = listSessions(paths().serveDb, Date.now()).map((session) => ({
      ...session,
      label: labels.get(session.keyId) ?? null,
    }))
    if (sessions.length === 0) this.log(`No browser is logged in.${whyNone(paths().serveDb)}`)
    else {
      const rows = sessions.map((session) => [
        session.id,
        session.label ?? session.keyId,
        session.client,
        minuteText(session.created)!,
        minuteText(session.lastUsed)!,
        minuteText(session.ends)!,
        minuteText(session.endsLatest)!,
      ])
      this.log(renderTable(['ID', 'KEY', 'FROM', 'LOGGED IN', 'LAST USED', 'ENDS UNUSED', 'ENDS AT LATEST'], rows))
      this.log(
        '\nUnused for 12 hours a session ends; however much it is used, 12 hours after its login, or 30 days with Remember me.',
      )
    }
    return { sessions }
  }
}
