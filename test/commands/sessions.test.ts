import { statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openServeDb } from '../../src/proxy/state/db.ts'
import { createSessions } from '../../src/proxy/state/sessions.ts'
import { runCli, temporaryFolder } from '../support/cli.ts'
import { play } from '../support/transcript.ts'

test('from a login with curl to its end, beside a running serve', async () => {
  await play(`
$ comfy-auth sessions list
No browser is logged in.
There is no [..]/serve.db: serve never ran with this folder, or the file was deleted. [..].
$ comfy-auth keygen --label ann --out ann.key > /dev/null
$ comfy-auth serve --demo --port 0 > serve.log 2>&1 &
$ until grep -qs '^Scripts:' serve.log; do sleep 0.1; done
$ URL=$(sed -n 's/^Scripts: \\(http[^ ]*\\).*/\\1/p' serve.log)
$ curl -s -c jar -o /dev/null -w '%{http_code}\\n' --data-urlencode "api_key=$(cat ann.key)" -d remember=1 "$URL/auth_login.html"
303
$ curl -s -b jar -o /dev/null -w '%{http_code}\\n' "$URL/queue"
200
$ comfy-auth sessions list
ID            KEY  FROM       LOGGED IN          LAST USED          ENDS UNUSED        ENDS AT LATEST
[..]  ann  127.0.0.1  [..]Z  [..]Z  [..]Z  [..]Z

Unused for 12 hours a session ends; however much it is used, 12 hours after its login, or 30 days with Remember me.
$ comfy-auth sessions end --key ann
Ended session [..].
$ until [ "$(curl -s -b jar -o /dev/null -w '%{http_code}' "$URL/queue")" = 401 ]; do sleep 0.1; done
$ comfy-auth sessions list
No browser is logged in.
$ comfy-auth sessions end --all
Ended no sessions.
$ comfy-auth sessions end 000000000000
Error: No session that lives has this id.
See them all: \`comfy-auth sessions list\`.
? 2
$ comfy-auth sessions end
Error: Name one session, or --key, or --all.
See them: \`comfy-auth sessions list\`.
? 2
`)
})

test('--json holds neither secret nor digest, one session ends and the others stay, and the file stays private', async () => {
  const home = temporaryFolder()
  const path = join(home, 'serve.db')
  const db = openServeDb(path)
  const sessions = createSessions(db)
  const start = (keyId: string, nowMs: number) => sessions.start({ keyId, remember: false, client: '192.0.2.1', nowMs })
  const [first, second] = [start('k1', Date.now() - 1_000), start('k2', Date.now())]
  start('k2', Date.now() - 13 * 3_600_000)
  sessions.close()
  db.close()

  const listed = await runCli(['sessions', 'list', '--json'], { home })
  const { sessions: shown } = JSON.parse(listed.stdout)
  expect(shown.map(({ id }: { id: string }) => id)).toEqual([second.session.id, first.session.id])
  for (const secret of [first.cookie, first.token, first.session.cookieDigest, first.session.tokenDigest]) {
    expect(listed.stdout).not.toContain(secret)
  }
  const ofSecond = shown[0] as Record<string, string>
  const hours = (from: string, to: string) => (Date.parse(ofSecond[to]!) - Date.parse(ofSecond[from]!)) / 3_600_000
  expect([hours('lastUsed', 'ends'), hours('created', 'endsLatest')]).toEqual([12, 12])
  const ended = JSON.parse((await runCli(['sessions', 'end', first.session.id, '--json'], { home })).stdout)
  expect(ended.ended).toHaveLength(1)
  const left = JSON.parse((await runCli(['sessions', 'list', '--json'], { home })).stdout)
  expect(left.sessions.map(({ id }: { id: string }) => id)).toEqual([second.session.id])
  expect(statSync(path).mode & 0o777).toBe(0o600)
})
