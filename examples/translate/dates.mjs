// Dates as people write them in ten languages, to ISO: 'วันพุธที่ 4 มีนาคม 2541' is 1998-03-04.
//   cd examples && npm install && npm run dates
import { manualSeed, rand } from 'bptt'
import { Translator, train, Vocabulary } from './translator.mjs'

// The language of a date is told first, because 3/4/98 is another day in each. Thai counts years from Buddha, the
// second Japanese ones from an emperor's accession, Arabic has digits of its own.
const LOCALES = [
  'en-US',
  'de-DE',
  'fr-FR',
  'es-ES',
  'ru-RU',
  'fi-FI',
  'ar-EG',
  'hi-IN',
  'th-TH',
  'ja-JP',
  'ja-JP-u-ca-japanese',
]
const form = process.argv.includes('--quick')
  ? { languages: 2, every: 12, hidden: 32, batchSize: 64, epochs: 2, tested: 200 } // for tests
  : { languages: LOCALES.length, every: 1, hidden: 64, batchSize: 128, epochs: 4, tested: Infinity }
const locales = LOCALES.slice(0, form.languages)

const STYLES = ['full', 'long', 'medium', 'short'].map((dateStyle) => ({ dateStyle }))
for (const weekday of [undefined, 'short', 'long'])
  for (const year of ['numeric', '2-digit'])
    for (const month of ['numeric', '2-digit', 'short', 'long'])
      for (const day of ['numeric', '2-digit']) STYLES.push({ weekday, year, month, day })
const writers = locales.map((locale) =>
  STYLES.map((style) => new Intl.DateTimeFormat(locale, { ...style, timeZone: 'UTC' })),
)

// Two-digit years are those from 1950 to 2049.
const DAY = 24 * 60 * 60 * 1000
const [FIRST, END] = [Date.UTC(1950, 0, 1) / DAY, Date.UTC(2050, 0, 1) / DAY]

/** Writes each day in a language and a style by chance; some people shout, mumble or leave out commas and full stops. */
async function write(days) {
  const chances = await rand([days.length, 4]).data()
  return days.map((day, i) => {
    const [a, b, c, d] = chances.subarray(4 * i, 4 * i + 4)
    const language = Math.floor(a * locales.length)
    let text = writers[language][Math.floor(b * STYLES.length)].format(day * DAY)
    if (c < 0.2) text = text.toLowerCase()
    else if (c > 0.9) text = text.toUpperCase()
    if (d < 0.2) text = text.replace(/[.,،](?= )/g, '')
    const iso = new Date(day * DAY).toISOString().slice(0, 10)
    return { text, iso, pair: [[locales[language], ...text], [...iso]] }
  })
}

manualSeed(1)
const chances = await rand([END - FIRST]).data()
const days = Array.from(chances, (_, i) => FIRST + i)
const held = days.filter((_, i) => chances[i] < 0.1)
const known = days.filter((_, i) => chances[i] >= 0.1)
// Each day in three ways.
const written = await write([known, known, known].flat().filter((_, i) => i % form.every === 0))
const training = written.map(({ pair }) => pair)
const test = await write(held.slice(0, form.tested))
console.log(`${training.length} dates for training, ${test.length} of days that are not among them`)

const model = new Translator(
  new Vocabulary(training.map(([from]) => from)),
  new Vocabulary(training.map(([, to]) => to)),
  { embedding: 32, hidden: form.hidden },
)
const time = () =>
  `${Math.round(performance.now() / 1000)} s, of processors ${Math.round(process.cpuUsage().user / 1e6)} s`
await train(model, training, {
  epochs: form.epochs,
  batchSize: form.batchSize,
  report: (epoch, loss) => console.log(`epoch ${epoch}: loss ${loss.toFixed(4)}, ${time()}`),
})

let right = 0
for (let i = 0; i < test.length; i += 256) {
  const batch = test.slice(i, i + 256)
  const found = await model.translate(batch.map(({ pair }) => pair[0]))
  found.forEach(({ symbols }, k) => {
    const { text, iso } = batch[k]
    const said = symbols.join('')
    if (said === iso) right++
    if (said !== iso || i + k < 5) console.log(`${text} -> ${said}${said === iso ? '' : `, not ${iso}`}`)
  })
}
console.log(`exact match: ${((100 * right) / test.length).toFixed(2)} %`)
