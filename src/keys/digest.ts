import { hash } from 'node:crypto'

/** SHA-256 of a secret, lower-case hex: the only form in which a key, session or token is stored or looked up. */
export type Digest = string & { readonly __digest: true }

export function digestOf(secret: string): Digest {
  return hash('sha256', secret, 'hex') as Digest
}
