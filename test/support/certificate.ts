import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { testCertificate } from './http2.ts'

const folders: string[] = []

afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A key and its certificate in one file, as `--tls-certfile` and `--tls-keyfile` take it; it goes with the test file. */
export function certificateFiles(): { readonly certFile: string; readonly keyFile: string } {
  const folder = mkdtempSync(join(tmpdir(), 'comfy-auth-certificate-'))
  folders.push(folder)
  const file = join(folder, 'pair.pem')
  writeFileSync(file, testCertificate(), { mode: 0o600 })
  return { certFile: file, keyFile: file }
}
