import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { chmodSync } from 'node:fs'
import { isIP } from 'node:net'
import { networkInterfaces, hostname as systemName } from 'node:os'
import { dirname } from 'node:path'
import { createSecureContext } from 'node:tls'
import { ComfyAuthError } from '../errors.ts'
import { ensureDir } from '../files/home.ts'
import { readPrivate, writePrivate } from '../files/private.ts'
import { type Watch, watchFiles } from '../files/watch.ts'
import { makeCertificate } from './certificate.ts'
import { secureContext, type TlsPair } from './wire/tls.ts'

/** Where the certificate is: files of the owner's, or one that we make and keep at a path of our own. */
export type TlsOptions =
  | { readonly certFile: string; readonly keyFile: string }
  | { readonly selfSigned: string; readonly names: readonly string[] }

export interface LiveTls {
  readonly pair: TlsPair
  /** SHA-256 of the certificate, as browsers show it: `AB:CD:...`. */
  readonly fingerprint: string
  /** It was made by us, and no authority vouches for it. */
  readonly selfSigned: boolean
  /** Another pair is to be used from now on. */
  onChange(callback: (pair: TlsPair) => void): void
  /** The files are read again at once; a pair that is no good leaves the last good one. */
  reload(): void
  close(): void
}

const PEM_BYTES = 1024 * 1024
const DAY_MS = 86_400_000
/** Of an EC key: no signature of another's is offered by browsers, and OpenSSL takes such a certificate all the same. */
const CURVES: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1'])
/** A self-signed certificate with less than this left is made anew at start. */
const RENEW_MS = 30 * DAY_MS

function usage(message: string, remedy: string, cause?: unknown): ComfyAuthError {
  return new ComfyAuthError('usage', message, cause === undefined ? { remedy } : { remedy, cause })
}

/** Reads or makes the certificate, and follows its files. Throws `usage` where there is no good one to begin with. */
export function openTls(options: TlsOptions, nowMs: () => number, log: (line: string) => void): LiveTls {
  if ('selfSigned' in options) {
    const pair = ownPair(options.selfSigned, options.names, nowMs(), log)
    const { fingerprint256: fingerprint } = new X509Certificate(pair.cert)
    return { pair, fingerprint, selfSigned: true, onChange: () => {}, reload: () => {}, close: () => {} }
  }
  const listeners: ((pair: TlsPair) => void)[] = []
  let fault: string | undefined
  const reload = () => {
    try {
      const next = readPair(options.certFile, options.keyFile, nowMs(), log)
      fault = undefined
      if (next.cert === pair.cert && next.key === pair.key) return
      pair = next
      log('The certificate was read again: new connections get the new one.')
      for (const listener of listeners) listener(pair)
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      if (text !== fault) log(`${text} The last good certificate stays in use.`)
      fault = text
    }
  }
  const watch: Watch = watchFiles([options.certFile, options.keyFile], reload)
  let pair: TlsPair
  try {
    pair = readPair(options.certFile, options.keyFile, nowMs(), log)
  } catch (error) {
    watch.close()
    throw error
  }
  const daily = setInterval(() => tellTerm(new X509Certificate(pair.cert), nowMs(), log), DAY_MS).unref()
  return {
    get pair() {
      return pair
    },
    get fingerprint() {
      return new X509Certificate(pair.cert).fingerprint256
    },
    selfSigned: false,
    onChange: (callback) => void listeners.push(callback),
    reload,
    close() {
      clearInterval(daily)
      watch.close()
    },
  }
}

function readPem(path: string, name: string) {
  const file = readPrivate(path, { name, maxBytes: PEM_BYTES })
  if (file) return file
  throw usage(`${name} is not there.`, 'Check its path: both --tls-certfile and --tls-keyfile name a file in PEM.')
}

function readPair(certFile: string, keyFile: string, now: number, log: (line: string) => void): TlsPair {
  const cert = readPem(certFile, 'The file of --tls-certfile').text
  const { text: key, mode } = readPem(keyFile, 'The file of --tls-keyfile')
  checkPair(cert, key, now, log)
  if ((mode & 0o044) !== 0) log('Others on this machine can read the file of --tls-keyfile: chmod 600 closes it.')
  return { cert, key }
}

function checkPair(cert: string, key: string, now: number, log: (line: string) => void): void {
  let certificate: X509Certificate
  let secret: KeyObject
  try {
    certificate = new X509Certificate(cert)
  } catch (error) {
    throw usage('--tls-certfile holds no certificate.', 'Name a file in PEM: -----BEGIN CERTIFICATE-----.', error)
  }
  try {
    secret = createPrivateKey(key)
  } catch (error) {
    if (key.includes('ENCRYPTED')) {
      const remedy = 'Write one without: openssl pkey -in KEY.pem -out PLAIN.pem; chmod 600 PLAIN.pem.'
      throw usage('The key of --tls-keyfile is closed by a passphrase.', remedy, error)
    }
    throw usage('--tls-keyfile holds no private key.', 'Name a file in PEM: -----BEGIN PRIVATE KEY-----.', error)
  }
  if (!certificate.checkPrivateKey(secret)) {
    const remedy = 'Name the key that it was made with; the own certificate stands first in its file.'
    throw usage('--tls-keyfile is not the key of the certificate in --tls-certfile.', remedy)
  }
  const { namedCurve = '' } = secret.asymmetricKeyDetails ?? {}
  if (secret.asymmetricKeyType === 'ec' && !CURVES.has(namedCurve)) {
    throw usage('The key of --tls-keyfile is on a curve that clients do not take.', 'Make one on P-256, or on P-384.')
  }
  try {
    createSecureContext(secureContext({ cert, key }))
  } catch (error) {
    throw usage('TLS cannot use this certificate and key.', 'RSA keys need 2048 bits; P-256 does well.', error)
  }
  tellTerm(certificate, now, log)
}

/** Whoever renews certificates does so a month before their end: later than that it has failed. */
function tellTerm({ validFrom, validTo }: X509Certificate, now: number, log: (line: string) => void): void {
  const tell = (what: string) => log(`The certificate of --tls-certfile ${what}`)
  if (Date.parse(validFrom) > now) tell("is not valid yet: clients refuse it. Is this machine's clock right?")
  else if (Date.parse(validTo) < now) tell('has run out: clients refuse it.')
  else if (Date.parse(validTo) < now + 14 * DAY_MS) tell(`runs out within two weeks, on ${validTo}: renew it.`)
}

/** The certificate that we made before, as long as it is good for these names: its fingerprint is known to people by now. */
function ownPair(path: string, names: readonly string[], now: number, log: (line: string) => void): TlsPair {
  const name = 'The self-signed certificate'
  const { text: kept, mode = 0 } = readPrivate(path, { name, maxBytes: PEM_BYTES, ownOnly: true }) ?? {}
  if (kept !== undefined && isGood(kept, names, now)) {
    if ((mode & 0o077) !== 0) closeToOthers(path, log)
    return { cert: kept, key: kept }
  }
  const system = systemName()
  const host = /^[A-Za-z0-9.-]{1,63}$/.test(system) ? system : undefined
  const all = new Set(['localhost', '127.0.0.1', '::1', ...(host ? [host] : []), ...ownAddresses(), ...names])
  const made = makeCertificate({ commonName: `comfy-auth on ${host ?? 'this host'}`, names: [...all], nowMs: now })
  ensureDir(dirname(path))
  writePrivate(path, made, { overwrite: true, name })
  return { cert: made, key: made }
}

/** The file is ours: nobody has to be asked to do it. */
function closeToOthers(path: string, log: (line: string) => void): void {
  const what = 'could read the key of the self-signed certificate'
  try {
    chmodSync(path, 0o600)
    log(`Others on this machine ${what}: its file is closed now. Remove it, and another is made at the next start.`)
  } catch {
    log(`Others on this machine ${what}, and its file cannot be closed: remove it, and another is made.`) // root's
  }
}

function isGood(pem: string, names: readonly string[], now: number): boolean {
  try {
    const certificate = new X509Certificate(pem)
    if (!certificate.checkPrivateKey(createPrivateKey(pem))) return false
    if (Date.parse(certificate.validTo) - RENEW_MS < now) return false
    // checkIP() throws for what is no address
    const isFor = (name: string) => (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name))
    return names.every((name) => isFor(name) !== undefined)
  } catch {
    return false // cut, or something else: it is made anew
  }
}

/** Those by which this machine is reached on its networks now. They may change: that alone makes no new certificate. */
function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address)
}
