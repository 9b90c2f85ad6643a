import { ComfyAuthError } from '../errors.ts'

/** Where the client commands look when nothing else is named: `comfy-auth serve` on this machine. */
export const DEFAULT_SERVER_URL = 'http://127.0.0.1:8189'

const EXAMPLE = `Give an address such as ${DEFAULT_SERVER_URL} or https://gpu.example.com/comfy.`

/**
 * The address of a server as it is kept and used: scheme, host, port and path prefix, no trailing slash. `http://` is
 * understood where no scheme stands. A name, password or query in it is refused: they would be a key in the open.
 */
export function parseServerUrl(text: string): string {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`)
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '') {
    throw new ComfyAuthError('usage', 'The server address is not an http:// or https:// URL.', { remedy: EXAMPLE })
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new ComfyAuthError(
      'usage',
      'The server address holds a name, a password or a query, and a key must not stand in it.',
      {
        remedy: `${EXAMPLE} The key comes from comfy-auth login or the environment.`,
      },
    )
  }
  return url.origin + url.pathname.replace(/\/+$/, '')
}
