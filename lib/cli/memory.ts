/** Memory: how much this process may use, and sizes as text. */
import { totalmem } from 'node:os'

/** Memory that this process may use: the machine's, or the part that its container has. */
export function memoryBytes(): number {
  const part = process.constrainedMemory()
  return part > 0 ? Math.min(part, totalmem()) : totalmem()
}

export function showBytes(bytes: number): string {
  const [unit, name] = bytes < 1e6 ? [1e3, 'kB'] : bytes < 1e9 ? [1e6, 'MB'] : [1e9, 'GB']
  return `${(bytes / unit).toLocaleString('en-US', { maximumSignificantDigits: 3 })} ${name}`
}
