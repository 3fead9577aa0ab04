/** Named shapes as data: B rows, T steps, I inputs, H hidden units. */
export interface Shape {
  name: string
  B: number
  T: number
  I: number
  H: number
}

export const shapes: Shape[] = [
  { name: 'stream-small', B: 1, T: 100, I: 128, H: 128 },
  { name: 'stream-large', B: 1, T: 100, I: 512, H: 512 },
  { name: 'batch-small', B: 16, T: 50, I: 128, H: 128 },
  { name: 'batch-medium', B: 64, T: 50, I: 256, H: 256 },
  { name: 'sequence-large', B: 32, T: 128, I: 512, H: 512 },
  { name: 'batch-large', B: 64, T: 100, I: 1024, H: 1024 },
]

/** Floating-point operations of one forward pass of a layer with `gates` gates; training is three times that. */
export function forwardOperations({ B, T, I, H }: Shape, gates: number): number {
  return 2 * gates * H * (I + H) * T * B
}
