import type { Principal } from '../decide/facts.ts'

export interface Uploads {
  /** Registers a request whose body is still arriving; the function given back takes it off again. */
  add(principal: Principal, abort: () => void): () => void
  abortByKey(keyId: string): void
  abortBySession(sessionId: string): void
}

/**
 * Which requests are aborted when their key or session dies. ComfyUI acts on a body once it is whole, however slowly it
 * came: who was let in with its head must still be somebody at its end. Downloads are not in it, and run to theirs.
 */
export function createUploads(): Uploads {
  const open = new Set<{ readonly principal: Principal; readonly abort: () => void }>()

  function abortWhere(chosen: (principal: Principal) => boolean): void {
    for (const upload of [...open]) {
      if (!chosen(upload.principal)) continue
      open.delete(upload)
      upload.abort()
    }
  }

  return {
    add(principal, abort) {
      const upload = { principal, abort }
      open.add(upload)
      return () => void open.delete(upload)
    },
    abortByKey: (keyId) => abortWhere((principal) => principal.keyId === keyId),
    abortBySession: (id) => abortWhere((principal) => principal.sessionId === id),
  }
}
