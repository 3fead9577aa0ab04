/** Where things lie in the package, the same from lib and from dist. */
import { fileURLToPath } from 'node:url'

/** A path in the package, from its root. */
export const inPackage = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
