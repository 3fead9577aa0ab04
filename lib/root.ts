/** The folder of the package: above dist, or above lib where tests run it. esm/root.js is the same for ES modules. */
import { dirname } from 'node:path'

export const root = dirname(__dirname)
