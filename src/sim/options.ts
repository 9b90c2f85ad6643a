/** ComfyUI's command-line flags that change what a client sees. */
export interface SimFlags {
  readonly multiUser?: boolean
  /** `--enable-cors-header ORIGIN`: replaces the Origin and Sec-Fetch-Site checks. */
  readonly corsHeader?: string
  readonly compressResponses?: boolean
  readonly disableApiNodes?: boolean
  /** `--max-upload-size`, in MB; 100 where it is not given. */
  readonly maxUploadSizeMb?: number
  /** Manager v4, as `--enable-manager` brings it. */
  readonly enableManager?: boolean
  /** Manager v3, a custom node with routes of its own. */
  readonly managerV3?: boolean
}

/** What goes wrong on purpose. Nodes are named by class or by id in the prompt. */
export interface Faults {
  /** The node raises once it runs. */
  readonly failNodes?: readonly string[]
  /** The node never ends, and does not notice an interrupt, until faults are set anew. */
  readonly hangNodes?: readonly string[]
  /** Time that a node takes before it works, in ms. Like any node that reports no progress, it does not notice an interrupt before its end. */
  readonly nodeMs?: Readonly<Record<string, number>>
  readonly http?: readonly HttpFault[]
}

/** A fault of the server side of HTTP, for requests whose path starts with `path`. */
export interface HttpFault {
  readonly path: string
  readonly method?: string
  /**
   * `hang`: reads the request and never answers. `reset`: breaks the connection before an answer. `delay`: answers after `ms`.
   * `cut`: announces the whole answer and breaks off half-way. `status`: answers with `status` and an empty body.
   * `garbage`: answers with bytes that are no HTTP. `after`: does what was asked, then breaks the connection instead of answering.
   */
  readonly kind: 'hang' | 'reset' | 'delay' | 'cut' | 'status' | 'garbage' | 'after'
  readonly ms?: number
  readonly status?: number
  /** How many requests it hits; all where it is not given. */
  readonly times?: number
}

/** The device that /system_stats names. Sizes in bytes. */
export interface SimDevice {
  readonly name: string
  readonly type: string
  readonly index: number | null
  readonly vramTotal: number
  readonly vramFree: number
}

export interface SimOptions {
  readonly host?: string
  /** 0 takes a free one. */
  readonly port?: number
  /** How long one step of the sampler takes, in ms. */
  readonly stepMs?: number
  /** A real frontend's folder, served as the page. */
  readonly webRoot?: string
  /** The page where no frontend is given; web/demo.html where neither is. */
  readonly indexHtml?: string | Buffer
  /** Where input, output, temp and user folders lie; a temporary folder, removed on close, where it is not given. */
  readonly dataDir?: string
  readonly flags?: SimFlags
  readonly faults?: Faults
  readonly device?: SimDevice
  /** How many requests are remembered; the oldest are dropped. 0 keeps none. */
  readonly logLimit?: number
}
