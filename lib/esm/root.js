// The folder of the package, from dist/esm; in a bundle, some other one.
import { fileURLToPath } from 'node:url'

// A bundle in the CommonJS format has no import.meta.url.
const { url } = import.meta
export const root = url ? fileURLToPath(new URL('../..', url)) : ''
