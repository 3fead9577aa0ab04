/** Variables of the environment are settings as options are: what is wrong with one is said as early. */
import type { BpttError } from '../index.ts'
import { UsageError } from './output.ts'

export async function checkEnvironment(): Promise<void> {
  const { info } = await import('../index.ts')
  const { BPTT_PREBUILD: prebuild } = process.env
  try {
    info()
  } catch (error) {
    const { code, message } = error as BpttError
    if (code === 'ERR_BPTT_VALUE') throw new UsageError(message, { cause: error }) // of BPTT_ISA
    if (code === 'ERR_BPTT_BINDING' && prebuild) {
      throw new UsageError(
        `BPTT_PREBUILD=${prebuild} has no native build of bptt that this Node can load: ` +
          'name a clone of the repository in which `npm run build` was run',
        { cause: error },
      )
    }
    throw error
  }
}
