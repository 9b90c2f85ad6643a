const TEXTS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  ENOENT: 'no such file or folder',
  EEXIST: 'it exists already',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is not a folder',
  ELOOP: 'it is a symbolic link, or too many of them',
  ENOSPC: 'no space left on the device',
  EDQUOT: 'disk quota exceeded',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files in the system',
  ENAMETOOLONG: 'its name is too long',
  EIO: 'the disk reports an error',
  ENXIO: 'nothing is at its other end',
  EBUSY: 'it is in use',
  ETXTBSY: 'it is in use',
}

export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : undefined
}

/** A system error in words and without the path, which Node puts into its own messages and which may be a key. */
export function errorText(error: unknown): string {
  const code = errorCode(error)
  return code === undefined ? 'unknown error' : (TEXTS[code] ?? code)
}
