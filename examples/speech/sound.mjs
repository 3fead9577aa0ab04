// From sound to features: the logarithm of the energy in 40 bands of the mel scale, every 10 ms.
import { readFileSync } from 'node:fs'
import { conv1d, tensor, tidy } from 'bptt'

export const RATE = 11025
export const BANDS = 40
const [WINDOW, HOP] = [256, 110] // 23 ms, 10 ms
const BINS = WINDOW / 2

/** Samples of a file that corpus.mjs wrote, in [-1,1). */
export const readWav = (path) =>
  new Float32Array(readFileSync(path).subarray(44)).map((byte) => byte / 128 - 1)

/** One filter per frequency and phase, [2 * BINS,1,WINDOW]: their convolution with the sound is its spectrogram. */
const fourier = tensor(
  Float32Array.from({ length: 2 * BINS * WINDOW }, (_, i) => {
    const [wave, t] = [Math.floor(i / WINDOW), i % WINDOW]
    const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * t) / WINDOW)
    const angle = (2 * Math.PI * (wave % BINS) * t) / WINDOW
    return hann * (wave < BINS ? Math.cos(angle) : Math.sin(angle))
  }),
  [2 * BINS, 1, WINDOW],
)

/** Triangles of equal width on the mel scale, [BANDS,BINS]. */
const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700)
const triangles = tensor(
  Float32Array.from({ length: BANDS * BINS }, (_, i) => {
    const [band, bin] = [Math.floor(i / BINS), i % BINS]
    const step = mel(RATE / 2) / (BANDS + 1)
    const distance = Math.abs(mel((bin * RATE) / WINDOW) / step - (band + 1))
    return Math.max(0, 1 - distance)
  }),
  [BANDS, BINS],
)

/** [BANDS,T] log-mel features of some sound; each band has mean 0 and variance 1. */
export function features(samples) {
  return tidy(() => {
    const waves = conv1d(tensor(samples, [1, samples.length]), fourier, null, { stride: HOP })
    const [cosines, sines] = waves.mul(waves).split(BINS, 0)
    const bands = triangles.matmul(cosines.add(sines)).add(1e-3).log()
    const centred = bands.sub(bands.mean(1, { keepDims: true }))
    return centred.div(centred.std(1, { keepDims: true }).add(1e-3))
  })
}
