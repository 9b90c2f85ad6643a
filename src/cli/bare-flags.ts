/** ComfyUI's flags whose value may be left out (oclif knows no such flag), and what they then mean there. */
const BARE: Readonly<Record<string, string>> = { '--listen': '0.0.0.0,::', '--enable-cors-header': '*' }

/** Gives `--listen` and `--enable-cors-header` the value ComfyUI takes where none stands; `flags` are those of the command. */
export function completeBareFlags(argv: readonly string[], flags: readonly string[]): string[] {
  return argv.map((token, index) => {
    const value = flags.includes(token.slice(2)) ? BARE[token] : undefined
    const next = argv[index + 1]
    return value !== undefined && (next === undefined || next.startsWith('-')) ? `${token}=${value}` : token
  })
}
