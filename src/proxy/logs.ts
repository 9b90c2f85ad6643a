import { errorText } from '../files/errno.ts'
import { isSameFile } from '../files/home.ts'
import type { ProxyOptions } from './options.ts'
import { type Audit, createAudit } from './state/audit.ts'
import { type LineFile, openLineFile } from './state/line-file.ts'

/**
 * The files of --audit-log and --access-log: one writer where both name the same. Undefined where neither is wanted.
 * Throws `usage` where one cannot be opened.
 */
export async function openLogs(options: ProxyOptions, log: (line: string) => void): Promise<Audit | undefined> {
  const { auditLog, accessLog, auditMaxBytes } = options
  if (auditLog === undefined && accessLog === undefined) return undefined
  const open = (path: string, flag: string, what: string): LineFile =>
    openLineFile({
      path,
      name: `The file of ${flag}`,
      ...(auditMaxBytes !== undefined && { maxBytes: auditMaxBytes }),
      onError: (error) => log(`${what} cannot be written: ${error instanceof Error ? error.message : String(error)}`),
      onKept: (error) =>
        log(
          `${what} is longer than --audit-max-size and cannot be moved to FILE.1 (${errorText(error)}): it grows on until it can be. Its folder must be one that serve may write.`,
        ),
    })
  const audit = auditLog === undefined ? undefined : open(auditLog, '--audit-log', 'The audit log')
  if (accessLog === undefined) return createAudit({ audit })
  if (auditLog !== undefined && isSame(auditLog, accessLog)) return createAudit({ audit, access: audit })
  try {
    return createAudit({ audit, access: open(accessLog, '--access-log', 'The access log') })
  } catch (error) {
    await audit?.close()
    throw error
  }
}

function isSame(one: string, other: string): boolean {
  return one === other || (one !== '-' && other !== '-' && isSameFile(one, other))
}
