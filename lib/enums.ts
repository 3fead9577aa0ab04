/** The enums of native/backend.h and the addon's number of the CPU, by native/generate.mjs. */

export const DTYPE = {
  float32: 0,
  float64: 1,
  int32: 2,
  bool: 3,
} as const

export const UNARY = {
  neg: 0,
  tanh: 1,
  sigmoid: 2,
  relu: 3,
  exp: 4,
  log: 5,
  sqrt: 6,
  abs: 7,
  scale: 8,
  addScalar: 9,
  sign: 10,
  square: 11,
  floor: 12,
  round: 13,
  ceil: 14,
  sin: 15,
  cos: 16,
  erf: 17,
  gelu: 18,
  geluTanh: 19,
  silu: 20,
  softplus: 21,
  leakyRelu: 22,
  elu: 23,
  clamp: 24,
  pow: 25,
} as const

export const BINARY = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  maximum: 4,
  minimum: 5,
  pow: 6,
} as const

export const COMPARISON = {
  eq: 0,
  ne: 1,
  lt: 2,
  le: 3,
  gt: 4,
  ge: 5,
} as const

export const REDUCTION = {
  none: 0,
  mean: 1,
  sum: 2,
} as const

export const PAIRWISE_LOSS = {
  mseLoss: 0,
  bceWithLogits: 1,
} as const

export const SOFTMAX_KIND = {
  softmax: 0,
  logSoftmax: 1,
} as const

export const EXTREME = {
  max: 0,
  min: 1,
} as const

export const FOLD = {
  prod: 0,
  variance: 1,
  std: 2,
  norm: 3,
  logSumExp: 4,
} as const

export const PICK = {
  gather: 0,
  scatterAdd: 1,
  oneHot: 2,
  indexSelect: 3,
} as const

export const OPTIMIZER = {
  SGD: 0,
  Adam: 1,
  AdamW: 2,
  RMSprop: 3,
  NAdam: 4,
  RAdam: 5,
  Adagrad: 6,
  AveragedModel: 7,
} as const

export const COMPUTE = {
  dtype: 0,
  tf32: 1,
  float16: 2,
  bfloat16: 3,
} as const

/** Device number of the CPU; `cuda:n` is n. */
export const CPU_DEVICE = -1
