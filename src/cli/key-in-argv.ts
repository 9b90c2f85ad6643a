import { parseKey } from '../keys/format.ts'

/** Long enough to be one of ours, whole, mistyped or cut; a file may well be named comfy_1.json. */
export function looksLikeKey(text: string): boolean {
  return parseKey(text).kind === 'ok' || /^comfy_[0-9A-Za-z]{30,}$/.test(text)
}

export const KEY_IN_ARGV =
  'Keys are never arguments (the process list and the shell history show them): use a file, stdin or COMFYUI_API_KEY.'
