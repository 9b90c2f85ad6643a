import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'

/** Apple's systems trust no certificate for longer, not even one that was put in by hand. */
const LIFE_DAYS = 825
const DAY_MS = 86_400_000

/** DER tags (ITU-T X.690). */
const TAG = { boolean: 1, integer: 2, bits: 3, octets: 4, oid: 6, utf8: 12, utc: 23, generalised: 24, seq: 48, set: 49 }

/** Object identifiers, as their DER content in hex. */
const OID = {
  ecdsaWithSha256: '2a8648ce3d040302',
  commonName: '550403',
  subjectKeyId: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  extendedKeyUsage: '551d25',
  serverAuth: '2b06010505070301',
}

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  if (content.length < 128) return Buffer.concat([Buffer.from([tag, content.length]), content])
  const digits = content.length.toString(16)
  const length = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex')
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, content])
}

const oid = (hex: string) => der(TAG.oid, Buffer.from(hex, 'hex'))
const bits = (unused: number, content: Uint8Array) => der(TAG.bits, Buffer.from([unused]), content)

/** RFC 5280, section 4.1.2.5: two digits of the year until 2049, four from then on. */
function time(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`
  return text < '2050' ? der(TAG.utc, Buffer.from(text.slice(2))) : der(TAG.generalised, Buffer.from(text))
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  const mark = critical ? [der(TAG.boolean, Buffer.from([0xff]))] : []
  return der(TAG.seq, oid(id), ...mark, der(TAG.octets, value))
}

/** dNSName is [2], iPAddress [7] of the address' own bytes. */
function altName(name: string): Buffer {
  return isIP(name) === 0 ? der(0x82, Buffer.from(name)) : der(0x87, addressBytes(name))
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const groups = new URL(`http://[${address}]/`).hostname.slice(1, -1) // spelled as RFC 5952 has it, IPv4 tails in hex
  const [left = '', right] = groups.split('::')
  const head = left === '' ? [] : left.split(':')
  const tail = right === undefined || right === '' ? [] : right.split(':')
  const zeros = Array<string>(8 - head.length - tail.length).fill('0')
  const all = [...head, ...(right === undefined ? [] : zeros), ...tail]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

export interface CertificateRequest {
  /** Shown by browsers. */
  readonly commonName: string
  /** Host names in ASCII, and IP addresses without brackets: what it is good for. */
  readonly names: readonly string[]
  readonly nowMs: number
}

/**
 * A new P-256 key and a self-signed X.509 certificate of it (RFC 5280), good for a TLS server, from a day ago for less than 825 days.
 * Both as one PEM text, the key first.
 */
export function makeCertificate({ commonName, names, nowMs }: CertificateRequest): string {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const serial = randomBytes(16)
  serial[0] = (serial[0]! & 0x7f) | 0x40 // positive, and never shorter
  const name = der(
    TAG.seq,
    der(TAG.set, der(TAG.seq, oid(OID.commonName), der(TAG.utf8, Buffer.from(commonName.slice(0, 64))))),
  )
  const algorithm = der(TAG.seq, oid(OID.ecdsaWithSha256))
  const extensions = [
    extension(OID.basicConstraints, true, der(TAG.seq)), // no authority: it can vouch for nobody else
    extension(OID.keyUsage, true, bits(7, Buffer.from([0x80]))), // digitalSignature
    extension(OID.extendedKeyUsage, false, der(TAG.seq, oid(OID.serverAuth))),
    extension(OID.subjectKeyId, false, der(TAG.octets, createHash('sha1').update(spki).digest())),
    extension(OID.subjectAltName, false, der(TAG.seq, ...names.map(altName))),
  ]
  const body = der(
    TAG.seq,
    der(0xa0, der(TAG.integer, Buffer.from([2]))), // version 3
    der(TAG.integer, serial),
    algorithm,
    name,
    der(TAG.seq, time(nowMs - DAY_MS), time(nowMs + (LIFE_DAYS - 2) * DAY_MS)),
    name,
    spki,
    der(0xa3, der(TAG.seq, ...extensions)),
  )
  const certificate = der(TAG.seq, body, algorithm, bits(0, sign('sha256', body, privateKey)))
  const base64 = certificate.toString('base64').replace(/.{64}/g, '$&\n').trimEnd()
  const pem = `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`
  return `${privateKey.export({ type: 'pkcs8', format: 'pem' })}${pem}`
}
