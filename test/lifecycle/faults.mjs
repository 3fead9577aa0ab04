/**
 * `node faults.mjs CASE [COUNT]`, with build/test/native/faults.node preloaded: trains while
 * allocations or threads fail, and prints what it saw as JSON. A failure may only be an error
 * with a code; weights are then those of the steps that succeeded, to the bit.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import * as bptt from 'bptt'

const {
  Adam,
  clipGradNorm,
  crossEntropy,
  Embedding,
  getRandomState,
  Linear,
  LSTM,
  manualSeed,
  setRandomState,
  synchronize,
  tensor,
  tidy,
} = bptt
const faults = createRequire(import.meta.url)(process.env.LD_PRELOAD)
const [name, count = '1'] = isMainThread ? process.argv.slice(2) : workerData

bptt.info() // loads the addon, which faults looks for

const CODES = ['ERR_BPTT_OOM', 'ERR_BPTT_CANCELLED']
function typed(error) {
  assert.ok(CODES.includes(error.code), error.stack)
  return error
}

/** A model and its training step; shapes depend on the step, so that each makes blocks and plans of its own. */
function trainer(first = 0) {
  manualSeed(1)
  const embedding = new Embedding(11, 6)
  const lstm = new LSTM(6, 8, { numLayers: 2, dropout: 0.2 })
  const head = new Linear(8, 5)
  const modules = [embedding, lstm, head]
  const parameters = modules.flatMap((module) => module.parameters())
  const optimizer = new Adam(parameters, { lr: 0.01 })
  return {
    step(done) {
      const [T, B] = [3 + ((first + done) % 97), 4]
      const ids = Int32Array.from({ length: T * B }, (_, i) => (i * 7 + done) % 11)
      const targets = Int32Array.from({ length: T * B }, (_, i) => (i + done) % 5)
      const before = getRandomState()
      try {
        tidy(() => {
          const x = embedding.forward(tensor(ids, [T, B]))
          const { output } = lstm.forward(x, { lengths: [T, T, 2, 1] })
          const loss = crossEntropy(head.forward(output).reshape([T * B, 5]), tensor(targets))
          optimizer.zeroGrad()
          loss.backward()
          clipGradNorm(parameters, 1)
          optimizer.step()
        })
      } catch (error) {
        setRandomState(before)
        throw error
      }
    },
    async snapshot() {
      const hash = createHash('sha1')
      for (const parameter of parameters) hash.update(await parameter.data())
      return hash.digest('hex')
    },
    dispose() {
      optimizer.dispose()
      for (const module of modules) module.dispose()
    },
  }
}

/** The step under faults: whether it succeeded. Its failure may come now or by synchronize(). */
async function attempt(model, done, arm) {
  const before = getRandomState()
  let ok = true
  arm()
  try {
    model.step(done)
  } catch (error) {
    ok = !typed(error)
  }
  await setTimeout(1) // synchronize() would fail for reasons of its own
  const { failed } = faults.off()
  try {
    await synchronize()
  } catch (error) {
    ok = !typed(error)
  }
  if (!ok) setRandomState(before)
  return { ok, failed }
}

async function trajectory(first, steps) {
  const model = trainer(first)
  const states = [await model.snapshot()]
  for (let done = 0; done < steps; done++) {
    model.step(done)
    states.push(await model.snapshot())
  }
  model.dispose()
  return states
}

const cases = {
  /** The nth allocation of two steps fails, for each n: alone (run 1), or with all that follow. */
  async nth() {
    const seen = { attempts: 0, refused: 0 }
    const run = Number(count)
    for (let n = 1, more = true; more; n++) {
      const states = await trajectory(n, 2)
      const model = trainer(n)
      more = false
      for (let done = 0; done < 2; ) {
        const { ok, failed } = await attempt(model, done, () => faults.memory({ at: more ? 0 : n, run }))
        seen.attempts++
        seen.refused += ok ? 0 : 1
        if (ok) done++
        more ||= failed > 0
        assert.equal(await model.snapshot(), states[done], `allocation ${n}, ${done} steps done`)
      }
      model.dispose()
    }
    return seen
  },

  /** The nth allocation of what belongs together fails, for each n: all of it happens, or nothing. */
  async together() {
    class Model extends bptt.Module {
      constructor(value) {
        super()
        const parameter = (i) =>
          new bptt.Parameter(bptt.full([2 + i], value, { dtype: i % 2 ? 'float64' : 'float32' }))
        this.layers = Array.from({ length: 12 }, (_, i) => parameter(i))
      }
    }
    const snapshot = async (model) => {
      const hash = createHash('sha1')
      for (const parameter of model.parameters()) hash.update(await parameter.data())
      return hash.digest('hex')
    }
    const other = new Model(7)
    const actions = {
      step: (model, optimizer) => {
        model.parameters().forEach((parameter, i) => {
          // The first that is left out goes on in a cohort of its own.
          parameter.grad = i === 4 ? null : bptt.ones(parameter.shape, { dtype: parameter.dtype })
        })
        return () => optimizer.step()
      },
      load: (model) => () => model.loadStateDict(other.stateDict()),
    }
    const seen = { step: 0, load: 0 }
    for (const [what, prepare] of Object.entries(actions)) {
      const fresh = async () => {
        const model = new Model(1)
        const optimizer = new Adam(model.parameters(), { amsgrad: true })
        const act = prepare(model, optimizer)
        await synchronize()
        const dispose = () => [optimizer, model].forEach((one) => void one.dispose())
        return { model, act, dispose }
      }
      const usual = await fresh()
      const before = await snapshot(usual.model)
      usual.act()
      const after = await snapshot(usual.model)
      usual.dispose()
      assert.notEqual(before, after)
      for (let n = 1, more = true; more; n++) {
        const { model, act, dispose } = await fresh()
        let ok = true
        faults.memory({ at: n, run: 1 })
        try {
          act()
        } catch (error) {
          ok = !typed(error)
        }
        await setTimeout(1)
        more = faults.off().failed > 0
        await synchronize().catch((error) => {
          ok = !typed(error)
        })
        assert.equal(await snapshot(model), ok ? after : before, `${what}, allocation ${n}`)
        if (!ok) seen[what]++
        if (!ok) act()
        assert.equal(await snapshot(model), after, `${what} again, allocation ${n}`)
        dispose()
      }
    }
    return seen
  },

  /** Random allocations fail, of every size and of large ones. */
  async random() {
    const seen = { steps: 0, failed: 0 }
    for (let round = 0; round < Number(count); round++) {
      const states = await trajectory(round, 12)
      const model = trainer(round)
      for (let done = 0, tries = 0; done < 12; tries++) {
        const odds = tries < 40 ? [0.3, 0.05, 0.01][tries % 3] : 0
        const { ok, failed } = await attempt(model, done, () =>
          faults.memory({ odds, least: tries % 2 ? 4096 : 0 }),
        )
        if (ok) done++
        seen.steps++
        seen.failed += failed
        assert.equal(await model.snapshot(), states[done], `round ${round}, ${done} steps done`)
      }
      model.dispose()
    }
    return seen
  },

  /** The nth allocation since a worker began, whose environment is new, fails. */
  async workers() {
    const seen = { workers: 0, refused: 0 }
    for (let n = 1, more = true; more; n += Number(count)) {
      const worker = new Worker(new URL(import.meta.url), { workerData: ['worker', n] })
      const { failed, refused } = await new Promise((resolve, reject) =>
        worker.once('message', resolve).once('error', reject),
      )
      more = failed > 0
      seen.workers++
      seen.refused += refused
    }
    return seen
  },
  async worker() {
    faults.memory({ at: Number(count) })
    let refused = 0
    try {
      const model = trainer()
      model.step(0)
      await synchronize()
    } catch (error) {
      typed(error)
      refused = 1
    }
    const { failed } = faults.off()
    await synchronize().catch(typed)
    const again = trainer()
    again.step(0)
    assert.equal((await again.snapshot()).length > 0, true)
    return { failed, refused }
  },

  /** The copies that JavaScript gets cannot be had: of the whole process, nothing of a MiB and more. */
  async copies() {
    const { writeFileSync, readFileSync, mkdtempSync, rmSync } = await import('node:fs')
    const folder = mkdtempSync(`${(await import('node:os')).tmpdir()}/bptt-copies-`)
    const large = bptt.ones([1 << 19])
    const stream = new LSTM(1, 1 << 12).stream({ batch: 1 << 8 })
    const bytes = new Float32Array(1 << 19).fill(1)
    const row = new Float32Array(1 << 8)
    await synchronize()
    const path = `${folder}/x.safetensors`
    writeFileSync(path, 'old')
    const refused = []
    const run = {
      data: () => large.data(),
      dataSync: () => large.dataSync(),
      save: () => bptt.saveSafetensors(path, { large }),
      tensor: () => tensor(bytes),
      convert: () => tensor(bytes, [1 << 19], { dtype: 'float64' }),
      step: () => stream.step(row),
      getState: () => stream.getState(),
    }
    for (const [what, call] of Object.entries(run)) {
      faults.memory({ odds: 1, least: 1 << 20, everywhere: 1 })
      try {
        await call()
      } catch (error) {
        refused.push(`${what} ${error.code}`)
      }
      faults.off()
    }
    assert.equal(readFileSync(path, 'utf8'), 'old')
    assert.deepEqual(await large.data(), bytes)
    assert.ok(stream.step(row).every(Number.isFinite))
    for (const call of Object.values(run)) await call()
    rmSync(folder, { recursive: true })
    return refused
  },

  /** No thread for the stream: calls reject or throw, the process ends; later there is one. */
  async threads() {
    const inside = async () => {
      const codes = []
      const note = async (call) =>
        codes.push(
          await Promise.resolve()
            .then(call)
            .then(
              () => 'none',
              (error) => error.code,
            ),
        )
      faults.threads(0)
      const x = tensor([1, 2, 3])
      for (const call of [
        () => x.data(),
        () => x.item.call(tensor([1])),
        () => synchronize(),
        () => x.dataSync(),
        () => x.neg(),
        () => bptt.zeros([2]),
        () => bptt.randn([2]),
        () => new LSTM(2, 3),
        () => bptt.saveSafetensors('never', { x }),
      ])
        await note(call)
      return { x, codes }
    }
    const { x, codes } = await inside()
    if (count === 'forever') return codes // and the process has to end
    faults.off()
    assert.deepEqual([...(await x.data())], [1, 2, 3])
    // A stream, but no thread of the team.
    bptt.setNumThreads(1)
    const states = await trajectory(0, 2)
    bptt.setNumThreads(4)
    faults.threads(Number(count))
    assert.deepEqual(await trajectory(0, 2), states)
    const layer = new LSTM(256, 256)
    const stream = layer.stream({ batch: 32 })
    stream.step(new Float32Array(256 * 32))
    faults.off()
    return codes
  },
  async threadsOfWorker() {
    if (isMainThread) {
      const worker = new Worker(new URL(import.meta.url), { workerData: ['threads', 'forever'] })
      const codes = await new Promise((resolve, reject) =>
        worker.once('message', resolve).once('error', reject),
      )
      await new Promise((resolve) => worker.once('exit', resolve))
      return codes
    }
  },
}

const result = await cases[name]()
if (isMainThread) console.log(JSON.stringify(result))
else parentPort.postMessage(result)
