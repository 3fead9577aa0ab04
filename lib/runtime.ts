/** The native library as a whole: threads, versions, memory. */
import { CPU_DEVICE, type NativeInfo, type NativeStats, native } from './binding.ts'
import { checkDevice, checkInteger } from './check.ts'
import { type Device, deviceNumber } from './dtype.ts'
import { MAX_THREADS } from './limits.ts'

/** What {@link info} says. */
export interface Info extends NativeInfo {
  /** What this environment (worker thread) holds of the CPU now, in bytes, storages and queued ops. */
  memory: NativeStats
}

/** What was built, what it runs on, and what it holds. */
export function info(): Info {
  return { ...native().info(), memory: native().stats(CPU_DEVICE) }
}

/**
 * Sets how many threads compute, in the whole process. Results do not depend on it, to the bit.
 *
 * @param threads from 1 to 256
 * @throws RangeError ERR_BPTT_VALUE
 */
export function setNumThreads(threads: number): void {
  native().setNumThreads(checkInteger('setNumThreads', 'threads', threads, 1, MAX_THREADS))
}

/** How many threads compute; by default what affinity and cgroup quota allow. */
export function getNumThreads(): number {
  return native().getNumThreads()
}

/**
 * Resolves when all enqueued work is done. Rejects with the first failure since the
 * last call whose result nobody read.
 *
 * @param device default 'cpu'
 */
export async function synchronize(device: Device = 'cpu'): Promise<void> {
  await native().synchronize(deviceNumber(checkDevice('synchronize', device)))
}

/**
 * Gives the memory that this thread caches for later tensors back to the system, as soon as
 * the work enqueued before is done. What tensors hold stays. Memory that was not used for some
 * seconds goes back by itself.
 *
 * @param device default 'cpu'
 */
export function emptyCache(device: Device = 'cpu'): void {
  native().emptyCache(deviceNumber(checkDevice('emptyCache', device)))
}

/** NVIDIA's GPUs. `device: 'cuda'` (or 'cuda:n') of tensors and layers asks for one, and throws where there is none. */
export const cuda = Object.freeze({
  /** Whether the CUDA backend, its libraries and a device are there. */
  isAvailable(): boolean {
    return native().cuda().available
  },
  /** Versions of driver and libraries, and the devices; null where CUDA is not available. */
  description(): string | null {
    const { available, message } = native().cuda()
    return available ? message : null
  },
  /** Why not: which library is missing and where it was looked for; null where CUDA is available. */
  unavailableReason(): string | null {
    const { available, message } = native().cuda()
    return available ? null : message
  },
})
