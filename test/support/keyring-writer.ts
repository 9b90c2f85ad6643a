import { createKey } from '../../src/keys/lifecycle.ts'

// Adds records to the keyring named in argv until it is killed, and says each id once it is in the file.
const keyring = process.argv[2]!
for (;;) {
  const { id } = await createKey({ keyring })
  process.stdout.write(`${id}\n`)
}
