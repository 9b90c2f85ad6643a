import { dirname, resolve } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { isOurs } from '../files/home.ts'
import { othersCanWrite, type StagedFile, stagePrivate } from '../files/private.ts'
import { changeKeyring, type KeyRecord, lockOf } from './keyring.ts'

/** The list with these records in the place of those with their ids. */
export function replace(keys: readonly KeyRecord[], ...changed: readonly KeyRecord[]): KeyRecord[] {
  const byId = new Map(changed.map((record) => [record.id, record]))
  return keys.map((record) => byId.get(record.id) ?? record)
}

/** Undoes createKey or rotateKey, whose key nobody has seen: its record goes, and the one that it `replaced` is what it was. */
export async function takeBack(
  keyring: string,
  { id, replaced }: { readonly id: string; readonly replaced?: KeyRecord },
): Promise<void> {
  await changeKeyring(keyring, (keys) => {
    const others = keys.filter((record) => record.id !== id)
    const result = undefined
    if (!replaced) return { keys: others, result }
    const revoked = others.find((record) => record.id === replaced.id)?.revoked // somebody may have, meanwhile
    return { keys: replace(others, { ...replaced, revoked }), result }
  })
}

/** Where a new key goes besides to the caller. */
export interface Output {
  readonly out?: string | undefined
  readonly overwrite?: boolean | undefined
}

/** The output file beside its place; undefined where none is wanted. Throws `usage` where it is a file of ours. */
export function stageOut({ out, overwrite }: Output, key: string, keyring: string | undefined): StagedFile | undefined {
  if (out === undefined) return undefined
  if (isOurs(out, keyring === undefined ? [] : [keyring, lockOf(keyring)])) {
    throw new ComfyAuthError('usage', "The output file is one of comfy-auth's own files.", {
      remedy: 'Name another file.',
    })
  }
  return stagePrivate(out, `${key}\n`, { overwrite: overwrite ?? false, name: 'The output file' })
}

export function outWarnings(out: string | undefined): string[] {
  if (out === undefined || !othersCanWrite(dirname(resolve(out)))) return []
  return ['Other users may write the folder of the output file, and so put another key in its place.']
}

/**
 * A change that makes a key. The output file gets it only when the keyring holds its record: a holder's file never has a key
 * that is not known. A record whose key cannot be put there is taken back.
 */
export async function recordKey<T extends { readonly id: string; readonly replaced?: KeyRecord }>(
  keyring: string,
  output: Output,
  key: string,
  change: (keys: readonly KeyRecord[]) => { readonly keys: readonly KeyRecord[]; readonly result: T },
): Promise<T> {
  const files: StagedFile[] = []
  let recorded: T
  try {
    recorded = await changeKeyring(keyring, (keys) => {
      const changed = change(keys)
      const staged = stageOut(output, key, keyring)
      if (staged) files.push(staged)
      return changed
    })
  } catch (error) {
    for (const staged of files) staged.discard()
    throw error
  }
  try {
    for (const staged of files) staged.place()
  } catch (error) {
    await takeBack(keyring, recorded)
    throw error
  }
  return recorded
}
