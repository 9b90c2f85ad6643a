import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

// Runs the command lines that stand on stdin (JSON, a list of argv) one after another in this process, each as far as it
// gets, and prints what each said, to stdout and stderr alike, and its exit code.
const lines: string[][] = JSON.parse(readFileSync(0, 'utf8'))
const { main } = await import(pathToFileURL(join(import.meta.dirname, '../../dist/cli/main.js')).href)

let output = ''
const print = process.stdout.write.bind(process.stdout)
const collect = (chunk: string | Uint8Array): boolean => {
  output += String(chunk)
  return true
}
process.stdout.write = collect
process.stderr.write = collect
const said: { output: string; code: number }[] = []
for (const argv of lines) {
  output = ''
  const code = await main(argv)
  said.push({ output, code })
}
print(JSON.stringify(said))
