/** How thoroughly to measure. */
export interface Settings {
  /** Rounds in which every contender takes one sample. */
  pairs: number
  /** A sample repeats the call until it lasts about this long; one call if that is longer. */
  sampleSeconds: number
  warmSeconds: number
  /** Rounds are left out, down to 3, when a case would be timed for longer. */
  budgetSeconds: number
  /** Floating-point operations of the reference per case, about. */
  checkOperations: number
  /** Whether a contender's process goes on with the next case, rather than a new one. */
  shareProcesses: boolean
  /** Whether to measure memory, too, in processes of its own. */
  memory: boolean
  device: string
  /** Seconds after which an answer is given up. */
  answerSeconds: number
}

export const DEFAULTS: Settings = {
  pairs: 11,
  sampleSeconds: 0.05,
  warmSeconds: 0.3,
  budgetSeconds: Infinity,
  checkOperations: 2e9,
  shareProcesses: false,
  memory: false,
  device: 'cpu',
  answerSeconds: 600,
}
