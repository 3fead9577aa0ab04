import { join } from 'node:path'
import { root } from '#internals'

/** A path in the package, from its root. */
export const inPackage = (path: string): string => join(root, path)
