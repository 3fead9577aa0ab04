// Spoken strings of digits by eSpeak NG (Debian: apt-get install espeak-ng), in noise, as files of 8-bit PCM.
//   cd examples && npm install && npm run corpus
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { manualSeed, rand, randn, tidy } from 'bptt'
import { WORDS } from './lexicon.mjs'
import { RATE } from './sound.mjs'

// A voice is an accent of English with the throat of a variant; no variant speaks in two parts.
const ACCENTS = [
  'en-us',
  'en-us-nyc',
  'en-gb',
  'en-gb-x-rp',
  'en-gb-x-gbclan',
  'en-gb-x-gbcwmd',
  'en-gb-scotland',
  'en-029',
]
const VARIANTS = {
  train:
    'Alex Alicia Andy Annie Denis Diogo Gene Jacky Lee Marco Mario Mike Nguyen Storm adam anika antonio aunty boris ' +
    'ed edward f1 f2 f4 iven klatt klatt4 m1 m2 m3 m5 m7 m8 marcelo max pedro rob victor',
  dev: 'benjamin f5 m6 norbert robert steph',
  test: 'Andrea belinda caleb david f3 linda m4 pablo paul sandro shelby travis',
}
const quick = process.argv.includes('--quick')
const COUNTS = quick ? { train: 12 } : { train: 4800, dev: 300, test: 900 }
const FOLDER = quick ? 'speech/sample' : 'build/speech'

/** What is said, by whom, how and in how much noise, from 16 numbers in [0,1). */
function plan(part, chances) {
  const variants = VARIANTS[part].split(' ')
  const [accent, variant, count, speed, pitch, gap, snr, colour, ...digits] = chances
  const pick = (list, chance) => list[Math.floor(chance * list.length)]
  return {
    text: digits
      .slice(0, quick ? 3 : 3 + Math.floor(count * 6))
      .map((chance) => pick(WORDS, chance))
      .join(' '),
    voice: quick ? 'en-us+m3' : `${pick(ACCENTS, accent)}+${pick(variants, variant)}`,
    speed: Math.round(quick ? 190 : 130 + 90 * speed), // words a minute
    pitch: Math.round(25 + 50 * pitch), // of 99
    gap: Math.floor(gap * 8), // pause between words, in 10 ms
    snr: Math.round(quick ? 30 : 30 * snr), // decibels
    colour: 0.95 * colour, // of the noise: white at 0, dull near 1
  }
}

async function speak({ text, voice, speed, pitch, gap }) {
  const args = ['-v', voice, '-s', speed, '-p', pitch, '-g', gap, '--stdout', text]
  const { stdout } = await promisify(execFile)('espeak-ng', args, { encoding: 'buffer', maxBuffer: 2 ** 26 })
  return new Int16Array(new Uint8Array(stdout.subarray(44)).buffer) // 22050 Hz, behind the header
}

/** Every second sample, after a filter that takes out what they cannot hold. */
function halved(x) {
  const y = new Float32Array(2 * (x.length >> 2)) // an even number, as RIFF wants
  const at = (i) => x[i] ?? 0
  for (let i = 0, k = 0; i < y.length; i++, k += 2)
    y[i] = (16 * x[k] + 9 * (at(k - 1) + at(k + 1)) - at(k - 3) - at(k + 3)) / 32
  return y
}

function power(x) {
  let sum = 0
  for (const value of x) sum += value * value
  return sum / x.length
}

/** Voice and noise together, scaled to the range of a byte. */
async function noisy(voice, { snr, colour }) {
  const noise = await tidy(() => randn([voice.length])).data()
  for (let i = 1; i < noise.length; i++) noise[i] += colour * noise[i - 1]
  const gain = Math.sqrt(power(voice) / power(noise) / 10 ** (snr / 10))
  const mixed = voice.map((value, i) => value + gain * noise[i])
  const peak = mixed.reduce((most, value) => Math.max(most, Math.abs(value)), 1)
  return new Uint8Array(mixed.map((value) => Math.round(128 + (127 * value) / peak)))
}

function wav(samples) {
  const header = Buffer.alloc(44)
  header.write('RIFF')
  header.writeUInt32LE(36 + samples.length, 4)
  header.write('WAVEfmt ', 8)
  header.writeUInt32LE(16, 16)
  header.writeUInt16LE(1, 20) // PCM
  header.writeUInt16LE(1, 22) // channels
  header.writeUInt32LE(RATE, 24)
  header.writeUInt32LE(RATE, 28) // bytes a second
  header.writeUInt16LE(1, 32) // bytes a frame
  header.writeUInt16LE(8, 34) // bits
  header.write('data', 36)
  header.writeUInt32LE(samples.length, 40)
  return Buffer.concat([header, samples])
}

manualSeed(1)
for (const [part, count] of Object.entries(COUNTS)) {
  mkdirSync(`${FOLDER}/${part}`, { recursive: true })
  const chances = await tidy(() => rand([count, 16])).data()
  const plans = Array.from({ length: count }, (_, i) => plan(part, chances.subarray(16 * i, 16 * i + 16)))
  const together = 32
  let seconds = 0
  for (let first = 0; first < count; first += together) {
    const some = plans.slice(first, first + together)
    const voices = await Promise.all(some.map(speak))
    for (const [i, one] of some.entries()) {
      const samples = await noisy(halved(voices[i]), one)
      one.file = `${part}/${String(first + i).padStart(4, '0')}.wav`
      writeFileSync(`${FOLDER}/${one.file}`, wav(samples))
      seconds += samples.length / RATE
    }
  }
  const list = plans.map(({ file, text, voice, snr }) => ({ file, text, voice, snr }))
  writeFileSync(`${FOLDER}/${part}.json`, JSON.stringify(list, null, 1))
  console.log(`${part}: ${count} strings, ${Math.round(seconds / 60)} minutes of sound`)
}
