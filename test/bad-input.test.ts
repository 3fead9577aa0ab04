/** Misuse and bad data: always an error with its code, never a crash, and no weight changes. */
import { execFileSync } from 'node:child_process'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  Adam,
  AdamW,
  arange,
  clipGradNorm,
  concat,
  crossEntropy,
  Dropout,
  Embedding,
  eye,
  GRU,
  Linear,
  LSTM,
  linspace,
  manualSeed,
  noGrad,
  ones,
  RMSprop,
  RNN,
  randn,
  SGD,
  setNumThreads,
  stack,
  synchronize,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '../lib/index.ts'
import { detachedView, disposed, expectFailure, type Row, snapshot, wrong } from './support/failure.ts'

let lstm: LSTM
let weights: Float32Array[]
beforeAll(async () => {
  lstm = new LSTM(3, 4, { numLayers: 2 })
  weights = await snapshot(lstm)
})

afterEach(async () => {
  expect(await snapshot(lstm)).toEqual(weights)
  // And the library still works.
  const { output } = tidy(() => lstm.forward(ones([2, 1, 3])))
  expect((await output.data()).every(Number.isFinite)).toBe(true)
  output.dispose()
  await synchronize()
})

afterAll(() => lstm.dispose())

function table(rows: Row[]): void {
  it.each(rows)('%s', async (_, codes, run) => {
    await expectFailure(codes, run)
  })
}

describe('tensor', () => {
  table([
    ['shape of another size', 'SHAPE', () => tensor(new Float32Array(3), [2, 2])],
    ['negative dimension', 'SHAPE', () => zeros([2, -1])],
    ['fractional dimension', 'SHAPE', () => zeros([1.5])],
    ['NaN dimension', 'SHAPE', () => zeros([Number.NaN])],
    ['a string for a dimension', ['SHAPE', 'TYPE'], () => zeros(wrong(['3']))],
    ['a number for a shape', ['SHAPE', 'TYPE'], () => zeros(wrong(3))],
    ['nine dimensions', 'SHAPE', () => zeros([1, 1, 1, 1, 1, 1, 1, 1, 1])],
    ['a size past 2^53', 'SHAPE', () => zeros([2 ** 40, 2 ** 40])],
    ['a size that wraps to zero in 64 bits', 'SHAPE', () => zeros([2 ** 32, 2 ** 32])],
    ['more memory than there is', 'OOM', () => zeros([2 ** 46])],
    ['ragged nesting', 'SHAPE', () => tensor(wrong([[1, 2], [3]]))],
    ['uneven depth', ['SHAPE', 'TYPE'], () => tensor(wrong([[1], 2]))],
    ['strings inside', ['TYPE', 'VALUE'], () => tensor(wrong([1, 'two']))],
    ['null', 'TYPE', () => tensor(wrong(null))],
    ['an object', 'TYPE', () => tensor(wrong({ length: 2 }))],
    ['a detached ArrayBuffer', ['TYPE', 'VALUE'], () => tensor(detachedView())],
    ['a detached ArrayBuffer with a shape', ['TYPE', 'VALUE', 'SHAPE'], () => tensor(detachedView(), [4])],
    ['bigints', ['TYPE', 'DTYPE'], () => tensor(wrong(new BigInt64Array(2)))],
    ['unknown dtype', 'DTYPE', () => tensor([1], [1], wrong({ dtype: 'float16' }))],
    ['unknown option', ['TYPE', 'VALUE'], () => tensor([1], [1], wrong({ requireGrad: true }))],
    ['unknown device', 'DEVICE', () => tensor([1], [1], wrong({ device: 'tpu' }))],
    ['int32 that requires grad', 'DTYPE', () => tensor([1], [1], { dtype: 'int32', requiresGrad: true })],
    [
      'setting requiresGrad on int32',
      'DTYPE',
      () => {
        tensor([1], [1], { dtype: 'int32' }).requiresGrad = true
      },
    ],
    ['a fraction as int32', ['VALUE', 'TYPE'], () => tensor([1.5], [1], { dtype: 'int32' })],
    ['NaN as int32', ['VALUE', 'TYPE'], () => tensor([Number.NaN], [1], { dtype: 'int32' })],
    ['2^31 as int32', ['VALUE', 'TYPE'], () => tensor([2 ** 31], [1], { dtype: 'int32' })],
    ['item of many', 'SHAPE', () => zeros([2]).item()],
    ['data of a disposed tensor', 'DISPOSED', () => disposed([2]).data()],
    ['dataSync of a disposed tensor', 'DISPOSED', () => disposed([2]).dataSync()],
    ['detach of a disposed tensor', 'DISPOSED', () => disposed([2]).detach()],
  ])
})

describe('operations', () => {
  const a = () => randn([2, 3])
  const f64 = () => zeros([2, 3], { dtype: 'float64' })
  const int = () => zeros([2, 3], { dtype: 'int32' })
  table([
    ['shapes that do not broadcast', 'SHAPE', () => a().add(zeros([2]))],
    ['mixed dtypes', 'DTYPE', () => a().add(wrong(f64()))],
    ['division of int32', 'DTYPE', () => int().div(2)],
    ['a string', 'TYPE', () => a().sub(wrong('1'))],
    ['undefined', 'TYPE', () => a().div(wrong(undefined))],
    ['a disposed left operand', 'DISPOSED', () => disposed([2, 3]).add(a())],
    ['a disposed right operand', 'DISPOSED', () => a().add(wrong(disposed([2, 3])))],
    ['matmul: inner sizes', 'SHAPE', () => a().matmul(zeros([2, 3]))],
    ['matmul: batches', 'SHAPE', () => zeros([2, 1, 3]).matmul(zeros([3, 3, 1]))],
    ['matmul: scalars', 'SHAPE', () => zeros([]).matmul(zeros([]))],
    ['matmul: dtypes', 'DTYPE', () => a().matmul(wrong(zeros([3, 2], { dtype: 'float64' })))],
    ['matmul: disposed', 'DISPOSED', () => a().matmul(wrong(disposed([3, 2])))],
    ['matmul: a result past memory', ['OOM', 'SHAPE'], () => zeros([2 ** 24, 1]).matmul(zeros([1, 2 ** 24]))],
    ['softmax: axis', 'VALUE', () => a().softmax(2)],
    ['softmax: fractional axis', 'VALUE', () => a().softmax(0.5)],
    ['sum: axis', 'VALUE', () => a().sum(-3)],
    ['sum: the same axis twice', 'VALUE', () => a().sum([0, 0])],
    ['sum: NaN', 'VALUE', () => a().sum(Number.NaN)],
    ['reshape: size', 'SHAPE', () => a().reshape([4])],
    ['reshape: two unknowns', ['SHAPE', 'VALUE'], () => a().reshape([-1, -1])],
    ['reshape: unknown of nothing', ['SHAPE', 'VALUE'], () => zeros([0, 3]).reshape([0, -1])],
    ['transpose: axis', 'VALUE', () => a().transpose(0, 2)],
    ['permute: too few axes', 'VALUE', () => a().permute([0])],
    ['permute: an axis twice', 'VALUE', () => a().permute([0, 0])],
    ['permute: an axis twice, once negative', 'VALUE', () => a().permute([1, -1])],
    ['permute: a number', 'TYPE', () => a().permute(wrong(1))],
    ['flip: axis', 'VALUE', () => a().flip(2)],
    ['flip: no axis', 'TYPE', () => a().flip(wrong(undefined))],
    ['squeeze: axis', 'VALUE', () => a().squeeze(2)],
    ['unsqueeze: axis', 'VALUE', () => a().unsqueeze(3)],
    ['unsqueeze: no axis', 'TYPE', () => a().unsqueeze(wrong(undefined))],
    ['unsqueeze: a ninth dimension', 'SHAPE', () => zeros([1, 1, 1, 1, 1, 1, 1, 1]).unsqueeze(0)],
    ['flatten: end before start', 'VALUE', () => a().flatten(1, 0)],
    ['split: a size of 0', 'VALUE', () => a().split(0)],
    ['split: sizes that do not add up', 'SHAPE', () => a().split([1, 2])],
    ['split: a negative size', 'VALUE', () => a().split([3, -1])],
    ['split: a string', 'TYPE', () => a().split(wrong('2'))],
    ['split: a scalar', 'SHAPE', () => zeros([]).split(1)],
    ['split: disposed', 'DISPOSED', () => disposed([2]).split(1)],
    ['chunk: none', 'VALUE', () => a().chunk(0)],
    ['chunk: more than there can be', 'VALUE', () => zeros([0]).chunk(2 ** 40)],
    ['pad: a pair too few', 'SHAPE', () => a().pad([[1, 1]])],
    ['pad: a flat list', 'TYPE', () => a().pad(wrong([1, 1]))],
    [
      'pad: negative',
      'VALUE',
      () =>
        a().pad(
          wrong([
            [0, 0],
            [-1, 0],
          ]),
        ),
    ],
    [
      'pad: three numbers',
      'SHAPE',
      () =>
        a().pad(
          wrong([
            [0, 0],
            [1, 0, 0],
          ]),
        ),
    ],
    [
      'pad: past memory',
      'SHAPE',
      () =>
        a().pad([
          [0, 2 ** 50],
          [0, 0],
        ]),
    ],
    [
      'pad: a fraction for int32',
      'VALUE',
      () =>
        int().pad(
          [
            [0, 1],
            [0, 0],
          ],
          { value: 0.5 },
        ),
    ],
    [
      'pad: unknown option',
      'TYPE',
      () =>
        a().pad(
          [
            [0, 1],
            [0, 0],
          ],
          wrong({ mode: 'reflect' }),
        ),
    ],
    ['repeat: too few counts', 'SHAPE', () => a().repeat([2])],
    ['repeat: negative', 'VALUE', () => a().repeat([1, -1])],
    ['repeat: nine dimensions', 'SHAPE', () => a().repeat([1, 1, 1, 1, 1, 1, 1, 1, 1])],
    ['repeat: past memory', 'SHAPE', () => a().repeat([2 ** 30, 2 ** 30])],
    ['clone: disposed', 'DISPOSED', () => disposed([2]).clone()],
    ['toArray: disposed', 'DISPOSED', () => disposed([2]).toArray()],
    ['arange: an end on the other side', 'VALUE', () => arange(3, 1)],
    ['arange: a step of 0', 'VALUE', () => arange(0, 1, 0)],
    ['arange: NaN', 'VALUE', () => arange(Number.NaN)],
    ['arange: a string', 'TYPE', () => arange(wrong('3'))],
    ['arange: options first', 'TYPE', () => arange(wrong({ dtype: 'int32' }), 3)],
    ['arange: fractions as int32', 'VALUE', () => arange(0, 1, 0.25, { dtype: 'int32' })],
    ['arange: past memory', 'OOM', () => arange(2 ** 46)],
    ['linspace: negative steps', ['SHAPE', 'VALUE'], () => linspace(0, 1, -1)],
    ['linspace: of int32', 'DTYPE', () => linspace(0, 1, 2, wrong({ dtype: 'int32' }))],
    ['eye: a negative size', 'SHAPE', () => eye(-1)],
    ['eye: a string', ['SHAPE', 'TYPE'], () => eye(2, wrong('3'))],
    ['slice: axis', 'VALUE', () => a().slice(0, 1, 2)],
    ['slice: start', 'TYPE', () => a().slice(null as never)],
    ['slice: end', 'TYPE', () => a().slice(0, '1' as never)],
    ['slice: fraction', 'VALUE', () => a().slice(0, 1.5)],
    ['slice: NaN', ['VALUE', 'TYPE'], () => a().slice(Number.NaN, 1)],
    ['concat: nothing', ['VALUE', 'SHAPE', 'TYPE'], () => concat([])],
    ['concat: shapes', 'SHAPE', () => concat([a(), zeros([2, 4])], 0)],
    ['concat: dtypes', 'DTYPE', () => concat([a(), wrong(f64())])],
    ['stack: shapes', 'SHAPE', () => stack([a(), zeros([3, 2])])],
    ['stack: not tensors', 'TYPE', () => stack(wrong([1, 2]))],
    ['expand', 'SHAPE', () => a().expand([4, 3])],
  ])
})

describe('backward', () => {
  const leaf = () => randn([3], { requiresGrad: true })
  table([
    ['without a graph', 'GRAPH', () => zeros([]).backward()],
    ['under noGrad', 'GRAPH', () => noGrad(() => leaf().sum()).backward()],
    ['of many elements without a gradient', 'SHAPE', () => leaf().mul(2).backward()],
    [
      'gradient of another shape',
      'SHAPE',
      () =>
        leaf()
          .mul(2)
          .backward(ones([2])),
    ],
    [
      'gradient of another dtype',
      'DTYPE',
      () =>
        leaf()
          .mul(2)
          .backward(wrong(ones([3], { dtype: 'float64' }))),
    ],
    [
      'gradient that is no tensor',
      'TYPE',
      () =>
        leaf()
          .mul(2)
          .backward(wrong([1, 1, 1])),
    ],
    [
      'a disposed gradient',
      'DISPOSED',
      () =>
        leaf()
          .mul(2)
          .backward(wrong(disposed([3]))),
    ],
    [
      'of a disposed tensor',
      'DISPOSED',
      () => {
        const loss = leaf().sum()
        loss.dispose()
        loss.backward()
      },
    ],
    [
      'a second time',
      'GRAPH',
      () => {
        const loss = leaf().tanh().sum()
        loss.backward()
        loss.backward()
      },
    ],
    [
      'of a gradient',
      'GRAPH',
      () => {
        const x = leaf()
        x.tanh().sum().backward()
        x.grad?.sum().backward()
      },
    ],
    [
      'after the optimizer changed what was saved',
      'MODIFIED',
      () => {
        const x = leaf()
        const [first, second] = [x.mul(x).sum(), x.mul(x).sum()]
        first.backward()
        new SGD([x], { lr: 0.1 }).step()
        second.backward()
      },
    ],
    [
      'after loadStateDict changed a layer',
      'MODIFIED',
      () => {
        const layer = new GRU(3, 4)
        const { output } = layer.forward(ones([2, 1, 3], { requiresGrad: true }))
        layer.loadStateDict(new GRU(3, 4).stateDict())
        output.sum().backward()
      },
    ],
    [
      'requiresGrad of a result',
      'GRAPH',
      () => {
        leaf().mul(2).requiresGrad = false
      },
    ],
  ])
})

describe('recurrent layers', () => {
  const x = (shape = [5, 2, 3]) => zeros(shape)
  const lengths = (value: unknown) => () => lstm.forward(x(), { lengths: wrong(value) })
  table([
    ['inputSize 0', 'VALUE', () => new LSTM(0, 4)],
    ['negative hiddenSize', 'VALUE', () => new GRU(3, -1)],
    ['fractional hiddenSize', 'VALUE', () => new RNN(3, 1.5)],
    ['NaN hiddenSize', 'VALUE', () => new RNN(3, Number.NaN)],
    ['a string for inputSize', 'TYPE', () => new LSTM(wrong('3'), 4)],
    ['hiddenSize left out', 'TYPE', () => new (wrong(LSTM))(3)],
    ['no layers', 'VALUE', () => new LSTM(3, 4, { numLayers: 0 })],
    ['dropout above 1', 'VALUE', () => new LSTM(3, 4, { dropout: 1.5 })],
    ['dropout NaN', 'VALUE', () => new LSTM(3, 4, { dropout: Number.NaN })],
    ['unknown compute', 'VALUE', () => new LSTM(3, 4, wrong({ compute: 'float8' }))],
    ['compute of the dtype', 'VALUE', () => new GRU(3, 4, wrong({ compute: 'float32' }))],
    ['a number for compute', 'TYPE', () => new RNN(3, 4, wrong({ compute: 16 }))],
    ['compute of float64', 'DTYPE', () => new LSTM(3, 4, { compute: 'tf32', dtype: 'float64' })],
    ['compute of the other GRU', 'VALUE', () => new GRU(3, 4, { compute: 'bfloat16', resetAfter: false })],
    ['compute of peepholes', 'VALUE', () => new LSTM(3, 4, { compute: 'tf32', peephole: true })],
    ['a number for peephole', 'TYPE', () => new LSTM(3, 4, wrong({ peephole: 1 }))],
    ['compute on the CPU', 'DEVICE', () => new LSTM(3, 4, { compute: 'float16' }).forward(ones([2, 1, 3]))],
    ['dropout of Dropout', 'VALUE', () => new Dropout(-0.1)],
    ['projection as wide as the layer', 'VALUE', () => new LSTM(3, 4, { projSize: 4 })],
    ['negative projection', 'VALUE', () => new LSTM(3, 4, { projSize: -1 })],
    ['projection of a GRU', ['TYPE', 'VALUE'], () => new GRU(3, 4, wrong({ projSize: 2 }))],
    ['unknown nonlinearity', 'VALUE', () => new RNN(3, 4, wrong({ nonlinearity: 'gelu' }))],
    ['misspelt option', ['TYPE', 'VALUE'], () => new LSTM(3, 4, wrong({ bidirectonal: true }))],
    ['an integer dtype', 'DTYPE', () => new LSTM(3, 4, wrong({ dtype: 'int32' }))],
    ['a device that is not there', 'DEVICE', () => new LSTM(3, 4, wrong({ device: 'tpu' }))],
    ['weights that overflow', ['SHAPE', 'VALUE', 'OOM'], () => new LSTM(2 ** 30, 2 ** 30)],
    ['weights past memory', ['SHAPE', 'VALUE', 'OOM'], () => new LSTM(2 ** 23, 2 ** 21)],
    ['hidden size past 2^53', ['SHAPE', 'VALUE', 'OOM'], () => new GRU(1, 2 ** 60)],

    ['an array for input', 'TYPE', () => lstm.forward(wrong([[[1, 2, 3]]]))],
    ['rank 1', 'SHAPE', () => lstm.forward(x([3]))],
    ['rank 4', 'SHAPE', () => lstm.forward(x([5, 2, 3, 1]))],
    ['features', 'SHAPE', () => lstm.forward(x([5, 2, 4]))],
    ['dtype', 'DTYPE', () => lstm.forward(wrong(zeros([5, 2, 3], { dtype: 'float64' })))],
    ['int32', 'DTYPE', () => lstm.forward(wrong(zeros([5, 2, 3], { dtype: 'int32' })))],
    ['disposed input', 'DISPOSED', () => lstm.forward(disposed([5, 2, 3]))],
    ['disposed h0', 'DISPOSED', () => lstm.forward(x(), { h0: disposed([2, 2, 4]), c0: zeros([2, 2, 4]) })],
    [
      'disposed layer',
      'DISPOSED',
      () => {
        const layer = new GRU(3, 4)
        layer.dispose()
        layer.forward(x())
      },
    ],
    ['h0 of another batch', 'SHAPE', () => lstm.forward(x(), { h0: zeros([2, 3, 4]) })],
    ['h0 of rank 2', 'SHAPE', () => lstm.forward(x(), { h0: zeros([2, 4]) })],
    ['c0 of another size', 'SHAPE', () => lstm.forward(x(), { h0: zeros([2, 2, 4]), c0: zeros([2, 2, 3]) })],
    [
      'h0 of another dtype',
      'DTYPE',
      () => lstm.forward(x(), { h0: wrong(zeros([2, 2, 4], { dtype: 'float64' })) }),
    ],
    ['h0 that is no tensor', 'TYPE', () => lstm.forward(x(), { h0: wrong([1]) })],
    ['c0 for a GRU', ['TYPE', 'VALUE'], () => new GRU(3, 4).forward(x(), wrong({ c0: zeros([1, 2, 4]) }))],
    ['misspelt option of forward', ['TYPE', 'VALUE'], () => lstm.forward(x(), wrong({ length: [1, 2] }))],

    ['lengths with NaN', 'VALUE', lengths([5, Number.NaN])],
    ['lengths with a fraction', 'VALUE', lengths([5, 2.5])],
    ['a negative length', 'VALUE', lengths([5, -1])],
    ['a length past T', 'VALUE', lengths([6, 1])],
    ['an infinite length', 'VALUE', lengths([Number.POSITIVE_INFINITY, 1])],
    ['a length past 2^31', 'VALUE', lengths([2 ** 32 + 1, 1])],
    ['too few lengths', 'SHAPE', lengths([5])],
    ['too many lengths', 'SHAPE', lengths([5, 5, 5])],
    ['strings as lengths', ['TYPE', 'VALUE'], lengths(['5', '5'])],
    ['a number for lengths', ['TYPE', 'SHAPE'], lengths(5)],
    ['holes in lengths', ['TYPE', 'VALUE'], lengths(new Array(2))],
    [
      'detached lengths',
      ['TYPE', 'VALUE', 'SHAPE'],
      () => {
        const view = new Int32Array([5, 5])
        structuredClone(view.buffer, { transfer: [view.buffer] })
        lstm.forward(x(), { lengths: view })
      },
    ],
  ])
})

describe('state dicts', () => {
  const rowsOf = (change: (dict: Map<string, Tensor>) => void) => () => {
    const dict = new Map([...lstm.stateDict()].map(([name, value]) => [name, ones([...value.shape])]))
    change(dict)
    lstm.loadStateDict(dict)
  }
  table([
    ['a missing name', ['VALUE', 'SHAPE', 'TYPE'], rowsOf((dict) => dict.delete('bias_hh_l1'))],
    ['an unexpected name', ['VALUE', 'SHAPE', 'TYPE'], rowsOf((dict) => dict.set('bias_hh_l2', ones([16])))],
    ['another shape', 'SHAPE', rowsOf((dict) => dict.set('bias_hh_l1', ones([15])))],
    [
      'another dtype',
      'DTYPE',
      rowsOf((dict) => dict.set('bias_hh_l1', wrong(ones([16], { dtype: 'float64' })))),
    ],
    ['no tensor', 'TYPE', rowsOf((dict) => dict.set('bias_hh_l1', wrong(1)))],
    ['a disposed tensor', 'DISPOSED', rowsOf((dict) => dict.set('bias_hh_l1', disposed([16])))],
    ['no dictionary', 'TYPE', () => lstm.loadStateDict(wrong(null))],
  ])

  it('the rest of a dictionary loads when strict is off', async () => {
    const layer = new GRU(3, 4)
    const dict = { weight_ih_l0: ones([12, 3]), extra: ones([1]) }
    const { missing, unexpected } = layer.loadStateDict(dict, { strict: false })
    expect(missing.sort()).toEqual(['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0'])
    expect(unexpected).toEqual(['extra'])
    expect((await layer.stateDict().get('weight_ih_l0')?.data())?.every((value) => value === 1)).toBe(true)
  })
})

describe('losses, optimizers, settings', () => {
  const logits = () => zeros([2, 3])
  const target = (values: number[]) => tensor(values, [values.length], { dtype: 'int32' })
  const parameter = () => zeros([2], { requiresGrad: true })
  table([
    ['crossEntropy: floating point target', 'DTYPE', () => crossEntropy(logits(), wrong(zeros([2])))],
    ['crossEntropy: number of targets', 'SHAPE', () => crossEntropy(logits(), target([0, 1, 2]))],
    [
      'crossEntropy: reduction',
      'VALUE',
      () => crossEntropy(logits(), target([0, 1]), wrong({ reduction: 'avg' })),
    ],
    [
      'crossEntropy: int32 logits',
      'DTYPE',
      () => crossEntropy(wrong(zeros([2, 3], { dtype: 'int32' })), target([0, 1])),
    ],
    ['Embedding: floating point index', 'DTYPE', () => new Embedding(3, 2).forward(wrong(zeros([2])))],
    ['Embedding: padding', 'VALUE', () => new Embedding(3, 2, { paddingIdx: 3 })],
    ['Linear: features', 'SHAPE', () => new Linear(3, 2).forward(zeros([2, 4]))],
    ['Linear: size 0', 'VALUE', () => new Linear(0, 2)],
    ['optimizer of nothing', ['VALUE', 'TYPE'], () => new SGD([], { lr: 0.1 })],
    ['optimizer of numbers', 'TYPE', () => new Adam(wrong([1, 2]), { lr: 0.1 })],
    ['optimizer of a result', ['VALUE', 'GRAPH', 'TYPE'], () => new Adam([parameter().mul(2)], { lr: 0.1 })],
    [
      'the same parameter twice',
      ['VALUE', 'TYPE'],
      () => {
        const twice = parameter()
        new Adam([twice, twice], { lr: 0.1 })
      },
    ],
    ['lr NaN', 'VALUE', () => new SGD([parameter()], { lr: Number.NaN })],
    ['negative lr', 'VALUE', () => new SGD([parameter()], { lr: -1 })],
    [
      'setting lr to NaN',
      'VALUE',
      () => {
        new SGD([parameter()], { lr: 1 }).lr = Number.NaN
      },
    ],
    ['beta of 1', 'VALUE', () => new AdamW([parameter()], { lr: 1, betas: [1, 0.9] })],
    ['negative eps', 'VALUE', () => new RMSprop([parameter()], { lr: 1, eps: -1 })],
    ['nesterov without momentum', 'VALUE', () => new SGD([parameter()], { lr: 1, nesterov: true })],
    ['misspelt option', ['TYPE', 'VALUE'], () => new Adam([parameter()], wrong({ lr: 1, weight_decay: 1 }))],
    [
      'step on a disposed parameter',
      'DISPOSED',
      () => {
        const gone = parameter()
        const optimizer = new SGD([gone], { lr: 1 })
        gone.sum().backward()
        gone.dispose()
        optimizer.step()
      },
    ],
    ['clipGradNorm: NaN', 'VALUE', () => clipGradNorm([parameter()], Number.NaN)],
    ['clipGradNorm: negative', 'VALUE', () => clipGradNorm([parameter()], -1)],
    ['clipGradNorm: no tensors', 'TYPE', () => clipGradNorm(wrong([1]), 1)],
    ['tidy of no function', 'TYPE', () => tidy(wrong(5))],
    ['tidy of an async function', 'TYPE', () => tidy(wrong(async () => zeros([1])))],
    ['noGrad of no function', 'TYPE', () => noGrad(wrong(null))],
    ['noGrad of an async function', 'TYPE', () => noGrad(wrong(async () => zeros([1])))],
    ['manualSeed of a string', 'TYPE', () => manualSeed(wrong('1'))],
    ['manualSeed of a fraction', 'VALUE', () => manualSeed(0.5)],
    ['no threads', 'VALUE', () => setNumThreads(0)],
    ['too many threads', 'VALUE', () => setNumThreads(257)],
    ['NaN threads', 'VALUE', () => setNumThreads(Number.NaN)],
    ['threads as a string', 'TYPE', () => setNumThreads(wrong('2'))],
  ])

  it('noGrad and tidy restore what was before, also when they throw', () => {
    const x = parameter()
    expect(() =>
      noGrad(() => {
        throw new Error('mine')
      }),
    ).toThrow('mine')
    expect(() =>
      tidy(() =>
        noGrad(() => {
          throw new Error('mine')
        }),
      ),
    ).toThrow('mine')
    expect(x.sum().requiresGrad).toBe(true)
    const outside = zeros([1])
    expect(outside.disposed).toBe(false)
  })
})

describe('the environment', () => {
  it.each(['sse9', 'neon avx2', 'AVX2'])('BPTT_ISA=%s names no table and is refused', (isa) => {
    const script = `import('bptt').then(({ info }) => info()).catch(({ code }) => console.log(code))`
    const printed = execFileSync(process.execPath, ['-e', script], { env: { ...process.env, BPTT_ISA: isa } })
    expect(String(printed).trim()).toBe('ERR_BPTT_VALUE')
  })
})

describe('streams', () => {
  const stream = () => lstm.stream({ batch: 2 })
  table([
    ['a bidirectional layer', ['VALUE', 'TYPE'], () => new LSTM(3, 4, { bidirectional: true }).stream()],
    ['batch 0', 'VALUE', () => lstm.stream({ batch: 0 })],
    ['unknown weights', 'VALUE', () => lstm.stream(wrong({ weights: 'int4' }))],
    ['input of another size', ['SHAPE', 'VALUE'], () => stream().step(new Float32Array(5))],
    ['input of another type', ['TYPE', 'DTYPE'], () => stream().step(wrong(new Float64Array(6)))],
    ['an array', ['TYPE', 'DTYPE'], () => stream().step(wrong([1, 2, 3, 4, 5, 6]))],
    [
      'output of another size',
      ['SHAPE', 'VALUE'],
      () => stream().step(new Float32Array(6), new Float32Array(7)),
    ],
    ['detached input', ['TYPE', 'SHAPE', 'VALUE'], () => stream().step(detachedView())],
    [
      'state of another size',
      ['SHAPE', 'VALUE', 'TYPE'],
      () => stream().setState(wrong({ h: new Float32Array(1) })),
    ],
    ['rows out of range', ['VALUE', 'INDEX'], () => stream().reset([2])],
    [
      'after dispose',
      'DISPOSED',
      () => {
        const gone = stream()
        gone.dispose()
        gone.step(new Float32Array(6))
      },
    ],
    [
      'of a disposed layer',
      'DISPOSED',
      () => {
        const layer = new GRU(3, 4)
        layer.dispose()
        layer.stream()
      },
    ],
  ])
})
