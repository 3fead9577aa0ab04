/**
 * bptt: recurrent neural networks for Node.js. The public exports.
 *
 * To begin with: {@link tensor}, a layer such as {@link LSTM}, a loss such as {@link crossEntropy}, an optimizer
 * such as {@link Adam}, {@link tidy} to free what a step made, and {@link LSTM.stream} for single steps.
 *
 * @packageDocumentation
 */
import './methods.ts'

export { setDetectAnomaly } from './anomaly.ts'
export { type BackwardOptions, type GradOptions, grad } from './backward.ts'
export {
  arange,
  eye,
  full,
  linspace,
  ones,
  rand,
  randn,
  type TensorOptions,
  tensor,
  zeros,
} from './create.ts'
export {
  type CtcBeamOptions,
  type CtcGreedyOptions,
  type CtcHypothesis,
  type CtcPath,
  type CtcScorer,
  ctcBeamSearch,
  ctcGreedyDecode,
} from './decode/ctc.ts'
export { type SampleOptions, sampleToken } from './decode/sample.ts'
export type { Scores } from './decode/scores.ts'
export {
  type BeamSearchOptions,
  beamSearch,
  type DecodeContext,
  type DecodeResult,
  type DecodeSignal,
  type DecodeStep,
  type GreedySearchOptions,
  greedySearch,
  type Hypothesis,
} from './decode/search.ts'
export { type SelectState, selectRows } from './decode/state.ts'
export type { DataOf, Device, DType, FloatDType } from './dtype.ts'
export type { Nested, NestedArray, NestedBooleans, NumberArray } from './elements.ts'
export { BpttError, type ErrorCode } from './errors.ts'
export { type GradcheckOptions, gradcheck } from './gradcheck.ts'
export type { FileSource, FileURL, OpenFile } from './io/place.ts'
export {
  loadSafetensors,
  type SafetensorsFile,
  type SkippedTensor,
  saveSafetensors,
} from './io/safetensors.ts'
export {
  ELU,
  Flatten,
  GELU,
  Identity,
  LeakyReLU,
  LogSoftmax,
  ReLU,
  Sigmoid,
  SiLU,
  Softmax,
  Softplus,
  Tanh,
} from './nn/activations.ts'
export {
  AdditiveAttention,
  type AdditiveAttentionOptions,
  type AttendOptions,
  DotAttention,
  type DotAttentionOptions,
  MultiheadAttention,
  type MultiheadAttentionOptions,
  type MultiheadOptions,
} from './nn/attention.ts'
export { BatchNorm1d, type BatchNorm1dOptions } from './nn/batch_norm.ts'
export {
  type CellOptions,
  type CellState,
  GRUCell,
  type GRUCellOptions,
  LSTMCell,
  type LSTMCellOptions,
  type LSTMCellState,
  RecurrentCell,
  RNNCell,
  type RNNCellOptions,
} from './nn/cell.ts'
export { Conv1d, type Conv1dLayerOptions } from './nn/conv1d.ts'
export { Dropout } from './nn/dropout.ts'
export { Embedding, type EmbeddingLayerOptions } from './nn/embedding.ts'
export { GRU, type GRUOptions, type GRUResult } from './nn/gru.ts'
export * as init from './nn/init.ts'
export { LayerNorm, type LayerNormLayerOptions } from './nn/layer_norm.ts'
export { Linear, type LinearOptions } from './nn/linear.ts'
export { LSTM, type LSTMOptions, type LSTMResult, type LSTMStateOptions } from './nn/lstm.ts'
export { Buffer, type LoadResult, Module, Parameter } from './nn/module.ts'
export { ModuleDict } from './nn/module_dict.ts'
export { ModuleList } from './nn/module_list.ts'
export type { LayerOptions } from './nn/options.ts'
export { Recurrent, type RecurrentOptions, type StateOptions } from './nn/recurrent.ts'
export { RNN, type RNNOptions, type RNNResult } from './nn/rnn.ts'
export { Sequential } from './nn/sequential.ts'
export {
  type AttentionOptions,
  type AttentionResult,
  type MaskOptions,
  scaledDotProductAttention,
} from './ops/attention.ts'
export { type BatchNormOptions, batchNorm } from './ops/batch_norm.ts'
export { checkpoint } from './ops/checkpoint.ts'
export { type CrossEntropyOptions, crossEntropy, type NllLossOptions, nllLoss } from './ops/class_loss.ts'
export { where } from './ops/compare.ts'
export { type Conv1dOptions, conv1d } from './ops/conv1d.ts'
export { type CtcLossOptions, ctcLoss } from './ops/ctc.ts'
export {
  type CustomArrayOp,
  type CustomContext,
  type CustomOp,
  customOp,
  type PlainArray,
} from './ops/custom.ts'
export { type DropoutOptions, dropout } from './ops/dropout.ts'
export {
  type BceOptions,
  bceWithLogits,
  type GaussianNllOptions,
  gaussianNllLoss,
  type HuberOptions,
  huberLoss,
  type KlDivOptions,
  klDiv,
  l1Loss,
  mseLoss,
  type PoissonNllOptions,
  poissonNllLoss,
  quantileLoss,
  type StudentTNllOptions,
  studentTNllLoss,
} from './ops/element_loss.ts'
export { type EmbeddingOptions, embedding } from './ops/embedding.ts'
export type { MomentOptions } from './ops/fold.ts'
export { oneHot } from './ops/gather.ts'
export { concat, type PadOptions, stack } from './ops/join.ts'
export { type LayerNormOptions, layerNorm } from './ops/layer_norm.ts'
export type { ReduceOptions, ValuesAndIndices } from './ops/lines.ts'
export { sequenceMask } from './ops/masks.ts'
export { linear } from './ops/matmul.ts'
export type { Compute } from './ops/recurrent.ts'
export type { LossOptions, Reduction } from './ops/reduction.ts'
export { logSoftmax, softmax } from './ops/softmax.ts'
export type { TopkOptions } from './ops/sort.ts'
export type { ClampOptions, GeluOptions, SoftplusOptions } from './ops/unary.ts'
export { Adagrad, type AdagradOptions } from './optim/adagrad.ts'
export {
  Adam,
  type AdamOptions,
  AdamW,
  NAdam,
  type NAdamOptions,
  RAdam,
  type RAdamOptions,
} from './optim/adam.ts'
export { AveragedModel, type AveragedModelOptions } from './optim/average.ts'
export { type ClipGradNormOptions, clipGradNorm, clipGradValue } from './optim/clip.ts'
export {
  CosineAnnealingLR,
  type CosineAnnealingLROptions,
  CosineAnnealingWarmRestarts,
  type CosineAnnealingWarmRestartsOptions,
} from './optim/cosine_schedules.ts'
export {
  ExponentialLR,
  type ExponentialLROptions,
  LambdaLR,
  type LambdaLROptions,
  LinearLR,
  type LinearLROptions,
  StepLR,
  type StepLROptions,
} from './optim/factor_schedules.ts'
export {
  type DecayGroup,
  decayGroups,
  type GroupOptions,
  type ParametersOrGroups,
  type ParamGroup,
} from './optim/groups.ts'
export { OneCycleLR, type OneCycleLROptions } from './optim/one_cycle.ts'
export { Optimizer } from './optim/optimizer.ts'
export { ReduceLROnPlateau, type ReduceLROnPlateauOptions } from './optim/plateau.ts'
export { RMSprop, type RMSpropOptions } from './optim/rmsprop.ts'
export { Schedule, type ScheduleState } from './optim/schedule.ts'
export { SequentialLR, type SequentialLROptions } from './optim/sequential_lr.ts'
export { SGD, type SGDOptions } from './optim/sgd.ts'
export { getRandomState, manualSeed, type RandomState, setRandomState } from './random.ts'
export { cuda, emptyCache, getNumThreads, type Info, info, setNumThreads, synchronize } from './runtime.ts'
export { noGrad, tidy } from './scope.ts'
export type { RecurrentStream, StreamOptions, StreamState } from './stream.ts'
export { Tensor } from './tensor.ts'
