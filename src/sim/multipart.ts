/** One part of a multipart/form-data body. */
export interface Part {
  readonly name: string
  readonly filename: string | undefined
  readonly data: Buffer
}

function parameter(header: string, name: string): string | undefined {
  const found = new RegExp(`;\\s*${name}="((?:[^"\\\\]|\\\\.)*)"|;\\s*${name}=([^;\\s]+)`, 'i').exec(header)
  return found?.[1]?.replace(/\\(.)/g, '$1') ?? found?.[2]
}

/** Splits a form; undefined where the Content-Type is no multipart or names no boundary. The last of equal names is not preferred. */
export function parseMultipart(contentType: string | undefined, body: Buffer): Part[] | undefined {
  const boundary = /^multipart\/form-data\s*;.*?boundary="?([^";]+)/i.exec(contentType ?? '')?.[1]
  if (boundary === undefined) return undefined
  const mark = Buffer.from(`--${boundary}`)
  const parts: Part[] = []
  let at = body.indexOf(mark)
  while (at >= 0) {
    const start = at + mark.length
    if (body.toString('latin1', start, start + 2) === '--') break
    const next = body.indexOf(Buffer.concat([Buffer.from('\r\n'), mark]), start)
    if (next < 0) break
    const split = body.indexOf('\r\n\r\n', start)
    if (split >= 0 && split < next) {
      const head = body.toString('utf8', start, split)
      const disposition = /^content-disposition:(.*)$/im.exec(head)?.[1] ?? ''
      const name = parameter(disposition, 'name')
      if (name !== undefined)
        parts.push({ name, filename: parameter(disposition, 'filename'), data: body.subarray(split + 4, next) })
    }
    at = next + 2
  }
  return parts
}
