// Speech to text: a bidirectional LSTM learns by CTC to spell digits that synthetic voices say in noise.
//   cd examples && npm install && npm run corpus && npm run speech
// Then, of files of the corpus, with what it learnt:  npm run speech -- build/speech/test/0000.wav
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import {
  AdamW,
  clipGradNorm,
  ctcLoss,
  decayGroups,
  loadSafetensors,
  manualSeed,
  OneCycleLR,
  rand,
  saveSafetensors,
  tensor,
  tidy,
} from 'bptt'
import { encode } from './lexicon.mjs'
import { batches, batchOf, Listener, listen, transcribe } from './listener.mjs'

const FILE = 'build/speech.safetensors'
const quick = process.argv.includes('--quick')
const corpus = quick ? new URL('sample/', import.meta.url) : pathToFileURL('build/speech/')
const { epochs, rows, lr, ...sizes } = quick
  ? { epochs: 80, rows: 4, lr: 0.01, hidden: 64, dropout: 0 }
  : { epochs: 8, rows: 32, lr: 0.004, hidden: 128, dropout: 0.2 }

async function load(part) {
  const list = JSON.parse(readFileSync(new URL(`${part}.json`, corpus), 'utf8'))
  const utterances = []
  for (const { file, ...about } of list)
    utterances.push({ ...about, ...(await listen(new URL(file, corpus))) })
  // Rows of a batch are of about the same length.
  return utterances.sort((a, b) => a.length - b.length)
}

function step(optimizer, utterances) {
  return tidy(() => {
    const { logProbs, lengths } = model.forward(...batchOf(utterances, !quick))
    const labels = utterances.map(({ text }) => encode(text))
    const targets = tensor(Int32Array.from(labels.flat()))
    const loss = ctcLoss(
      logProbs,
      targets,
      lengths,
      labels.map(({ length }) => length),
      { zeroInfinity: true },
    )
    optimizer.zeroGrad()
    loss.backward()
    clipGradNorm(model.parameters(), 1)
    optimizer.step()
    return loss
  })
}

/** Fewest to insert, drop or replace between two lists. */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (const [i, one] of a.entries()) {
    const next = [i + 1]
    for (const [j, other] of b.entries())
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + (one === other ? 0 : 1)))
    row = next
  }
  return row.at(-1)
}

const sum = (list, count) => list.reduce((total, one) => total + count(one), 0)

/** Errors in what was heard by 'path' or 'beam', in parts of what was said. */
function rates(heard, by) {
  const words = (text) => text.split(' ')
  const rate = (parts) => {
    const errors = sum(heard, (one) => distance(parts(one.text), parts(one[by])))
    return `${((100 * errors) / sum(heard, ({ text }) => parts(text).length)).toFixed(2)} %`
  }
  return `wrong letters ${rate(Array.from)}, digits ${rate(words)}, strings ${rate((text) => [text])}`
}

/** What was said, beside what the model hears. */
const hear = async (model, utterances) =>
  (await transcribe(model, utterances)).map((found, i) => ({ ...utterances[i], ...found }))

manualSeed(1)
const model = new Listener(sizes)
const started = performance.now()
const time = () => {
  const { user, system } = process.cpuUsage()
  return `${Math.round((performance.now() - started) / 1000)} s, ${Math.round((user + system) / 1e6)} s of processor time`
}

async function train() {
  const known = await load('train')
  const dev = quick ? [] : await load('dev')
  const parts = batches(known, rows)
  console.log(`${known.length} strings, ${sum(model.parameters(), ({ size }) => size)} parameters: ${time()}`)
  const optimizer = new AdamW(decayGroups(model), { weightDecay: 0.01 })
  const schedule = new OneCycleLR(optimizer, { maxLr: lr, totalSteps: epochs * parts.length })
  for (let epoch = 1; epoch <= epochs; epoch++) {
    const chances = await tidy(() => rand([parts.length])).data()
    let total = 0
    for (const i of [...parts.keys()].sort((a, b) => chances[a] - chances[b])) {
      const loss = step(optimizer, parts[i])
      schedule.step()
      total += await loss.item()
      loss.dispose()
    }
    if (quick && epoch % 20 > 0) continue
    console.log(`epoch ${epoch}: loss ${(total / parts.length).toFixed(3)}, ${time()}`)
    if (!quick) console.log(`  dev voices: ${rates(await hear(model, dev), 'path')}`)
  }
  if (!quick) await saveSafetensors(FILE, model.stateDict())
}

/** Decibels from the noise to the voice: all, and three parts. */
const LEVELS = [
  [0, 30],
  [20, 30],
  [10, 19],
  [0, 9],
]

async function test(name, utterances) {
  const heard = await hear(model, utterances)
  for (const [least, most] of quick ? LEVELS.slice(0, 1) : LEVELS) {
    const some = heard.filter(({ snr }) => snr >= least && snr <= most)
    console.log(`${name}, ${some.length} strings at ${least} to ${most} dB`)
    console.log(`  likeliest path: ${rates(some, 'path')}`)
    console.log(`  beam search:    ${rates(some, 'beam')}`)
  }
  console.log(time())
}

const files = process.argv.slice(2).filter((argument) => argument !== '--quick')
if (files.length > 0) {
  model.loadStateDict((await loadSafetensors(FILE)).tensors)
  for (const file of files) console.log(file, (await transcribe(model, [await listen(file)]))[0].beam)
} else {
  await train()
  await test(quick ? 'sample' : 'unseen voices', await load(quick ? 'train' : 'test'))
}
