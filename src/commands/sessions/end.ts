import { Command } from '../../cli/command.ts'
import { Args, Flags, keyring } from '../../cli/flags.ts'
import { ComfyAuthError } from '../../errors.ts'
import { paths } from '../../files/home.ts'
import { readKeyring } from '../../keys/keyring.ts'
import { endSessions, type SessionDescription, type Which, whyNone } from '../../proxy/stored-sessions.ts'

export default class SessionsEnd extends Command {
  static override summary = 'Log a browser out: its session is refused within a second.'
  static override description =
    `A running serve closes the session's sockets too, and the page that is open shows the login. The key stays good:
revoke it with keys revoke where nobody shall log in with it again.`
  static override examples = [
    { description: 'One of those that sessions list shows:', command: '<%= config.bin %> sessions end 4Fw0nNpYqX7d' },
    { description: 'All of one key, by its label:', command: '<%= config.bin %> sessions end --key ci' },
    { description: 'Everybody:', command: '<%= config.bin %> sessions end --all' },
  ]
  static override args = { session: Args.string({ description: 'id of the session' }) }
  static override flags = {
    key: Flags.string({ helpValue: 'ID|LABEL', exclusive: ['all'], description: 'every session of this key' }),
    all: Flags.boolean({ description: 'every session there is' }),
    keyring: keyring(),
  }

  async run(): Promise<{ readonly ended: readonly SessionDescription[] }> {
    const { args, flags } = await this.parse(SessionsEnd)
    const ended = endSessions(paths().serveDb, which(args.session, flags), Date.now())
    if (ended.length === 0) this.log(`Ended no sessions.${whyNone(paths().serveDb)}`)
    else this.log(ended.length === 1 ? `Ended session ${ended[0]!.id}.` : `Ended ${ended.length} sessions.`)
    return { ended }
  }
}

function which(
  id: string | undefined,
  flags: { readonly key: string | undefined; readonly all: boolean; readonly keyring: string | undefined },
): Which {
  if ([id !== undefined, flags.key !== undefined, flags.all].filter(Boolean).length !== 1) {
    throw new ComfyAuthError('usage', 'Name one session, or --key, or --all.', {
      remedy: 'See them: `comfy-auth sessions list`.',
    })
  }
  if (id !== undefined) return { id }
  if (flags.all) return { all: true }
  const { keys } = readKeyring(flags.keyring ?? paths().keyring)
  // A label may stand on a dead record too; serve's bare keys are in no keyring and go by their id.
  const named = keys.find((key) => key.id === flags.key) ?? keys.find((key) => key.label === flags.key)
  return { keyId: named?.id ?? flags.key! }
}
