import type { CellName } from '../cells.ts'
import type { Matrix, Vector } from './vector.ts'

/** One layer in one direction, with PyTorch's names and gate order. Absent biases are zero. */
export type Weights = {
  weight_ih: Matrix // [G*H,I]
  weight_hh: Matrix // [G*H,Hout]
  bias_ih?: Vector // [G*H]
  bias_hh?: Vector // [G*H]
  weight_hr?: Matrix // [P,H], with projection
  [own: `weight_${string}`]: Matrix | undefined // of some cells alone
}

/** The state of one row. */
export interface State {
  h: Vector // [Hout]
  c: Vector // [H], empty without
}

/** One step of one row, forward and backward. Backward adds to dw and returns the gradients of x and the old state. */
export interface Cell<Saved = unknown> {
  name: CellName
  forward(w: Weights, x: Vector, state: State): { state: State; saved: Saved }
  backward(w: Weights, saved: Saved, dstate: State, dw: Weights): { dx: Vector; dstate: State }
}
