/** The least principal that may have something executed. */
export type Need = 'nobody' | 'viewer' | 'user' | 'admin'

/** What `serve` was told that changes who may do what: put down for the judge apart from the proxy's own reading of its flags. */
export interface Rules {
  /** --exempt static. */
  readonly statics: boolean
  /** --exempt-path: what nobody may read there, by the path that ComfyUI's router matches; undefined: nothing more. */
  readonly open: RegExp | undefined
  /** Of those, where an Upgrade is open too. */
  readonly openSocket: RegExp | undefined
  /** --route: role, methods and paths, for what no table of ComfyUI names. */
  readonly routes: readonly (readonly [need: Need, method: RegExp, path: RegExp])[]
  /** Headers that go up here and nowhere else, as their names are spelt, in lower case. */
  readonly passed: RegExp | undefined
  /** Stands in whatever a client says that may not speak for others. */
  readonly mark: string
  /** Host, as ComfyUI gets it; undefined: the address of the simulated one. */
  readonly upstreamHost: string | undefined
}

export const USUAL: Rules = {
  statics: true,
  open: undefined,
  openSocket: undefined,
  routes: [],
  passed: undefined,
  mark: 'spoofed.example',
  upstreamHost: undefined,
}
