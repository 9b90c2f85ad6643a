import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Config } from '@oclif/core/config'
import type { Logger } from '@oclif/core/interfaces'
import { setLogger } from '@oclif/core/logger'
import type { Package } from './dispatch.ts'

/** oclif's own logger prints argv, where DEBUG is set. */
export const SILENT: Logger = {
  child: () => SILENT,
  debug() {},
  error() {},
  info() {},
  trace() {},
  warn() {},
  namespace: 'silent',
}

interface Manifest {
  readonly version: string
  readonly commands: Readonly<Record<string, { readonly relativePath: readonly string[] }>>
}

/** Whether the commands are those of dist/, and not of src/ as bin/dev.js has them. */
export function isBuilt(pjson: Package): boolean {
  return pjson.oclif.commands === './dist/commands'
}

/** The manifest of the built commands; undefined when running from src/, or where it is missing or of another version. */
export function readManifest(root: string, pjson: Package): Manifest | undefined {
  if (!isBuilt(pjson)) return undefined
  try {
    const manifest = JSON.parse(readFileSync(join(root, 'oclif.manifest.json'), 'utf8')) as Manifest
    return manifest.version === pjson.version ? manifest : undefined
  } catch {
    return undefined
  }
}

/** There are no plugins, and so no hooks. */
class QuickConfig extends Config {
  override async runHook(): Promise<{ failures: never[]; successes: never[] }> {
    return { failures: [], successes: [] }
  }
}

/**
 * As much of oclif's Config as a command needs to run. Config.load looks for plugins, themes and shells besides, which
 * takes half as long as Node takes to start; --help, and whatever is not in the manifest, does load it.
 */
export function quickConfig(root: string, pjson: Package): Config {
  setLogger({ root, logger: SILENT })
  const config = new QuickConfig({ root })
  const { name, version } = pjson
  const bin = String(pjson.oclif.bin)
  const userAgent = `${name}/${version} ${process.platform}-${process.arch} node-${process.version}`
  return Object.assign(config, {
    root,
    name,
    version,
    bin,
    dirname: bin,
    topicSeparator: ' ',
    userAgent,
    pjson,
    valid: true,
  })
}

/** A command's class, from its file in dist/. */
export async function importCommand(root: string, id: string, relativePath: readonly string[]): Promise<unknown> {
  const { default: found } = (await import(pathToFileURL(join(root, ...relativePath)).href)) as {
    default: { id?: string }
  }
  found.id = id
  return found
}
