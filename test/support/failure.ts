/** What tests of misuse share: a failure, its code and its class. */
import { expect } from 'vitest'
import { BpttError, type ErrorCode, type Tensor, zeros } from '../../lib/index.ts'

export type Short =
  | 'TYPE'
  | 'VALUE'
  | 'SHAPE'
  | 'DTYPE'
  | 'DEVICE'
  | 'DISPOSED'
  | 'GRAPH'
  | 'MODIFIED'
  | 'INDEX'
  | 'OOM'
export type Row = [name: string, code: Short | Short[], run: () => unknown]

// The table hands over what TypeScript would refuse.
// biome-ignore lint/suspicious/noExplicitAny: wrong types are the point
export const wrong = (value: unknown): any => value

export function detachedView(): Float32Array {
  const view = new Float32Array(4)
  structuredClone(view.buffer, { transfer: [view.buffer] })
  return view
}

export const disposed = (shape: number[]): Tensor => {
  const value = zeros(shape)
  value.dispose()
  return value
}

type Failure = Error & { code: ErrorCode }

async function failure(run: () => unknown): Promise<Failure> {
  try {
    await run()
  } catch (error) {
    return error as Failure
  }
  throw new Error('nothing was thrown')
}

/** The code of what a call throws at once. */
export function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return (error as BpttError).code
  }
  return 'nothing was thrown'
}

const CLASS: Partial<Record<Short, new (...args: never[]) => Error>> = {
  TYPE: TypeError,
  DTYPE: TypeError,
  SHAPE: RangeError,
  VALUE: RangeError,
  DISPOSED: BpttError,
  GRAPH: BpttError,
  MODIFIED: BpttError,
  INDEX: BpttError,
  OOM: BpttError,
}

export async function expectFailure(codes: Short | Short[], run: () => unknown): Promise<Error> {
  const error = await failure(run)
  const allowed = [codes].flat()
  expect(
    allowed.map((code) => `ERR_BPTT_${code}`),
    error.stack,
  ).toContain(error.code)
  const kind = CLASS[error.code.slice('ERR_BPTT_'.length) as Short]
  if (kind) expect(error).toBeInstanceOf(kind)
  expect(error.message.length).toBeGreaterThan(10)
  return error
}

export const snapshot = (module: { parameters(): Tensor[] }): Promise<Float32Array[]> =>
  Promise.all(module.parameters().map((parameter) => parameter.data() as Promise<Float32Array>))

/** What a call throws at once. */
export function thrownBy(run: () => unknown): Failure {
  try {
    run()
  } catch (error) {
    return error as Failure
  }
  throw new Error('nothing was thrown')
}
