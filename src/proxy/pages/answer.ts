/** An answer of ours as a value; wire/respond.ts alone writes it, onto a response or a bare socket. */
export interface Answer {
  readonly status: number
  /** name, value, name, value. Content-Length and Date are the writer's. */
  readonly headers: readonly string[]
  readonly body: string | Uint8Array
}
