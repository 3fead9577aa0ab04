// What can be said: digits, spelt in letters, and how likely each letter is after those before it.
export const WORDS = ['zero', 'oh', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']

/** Classes of the model: the blank of CTC, a space, and the letters that occur. */
export const SYMBOLS = ['', ...new Set(` ${WORDS.join('')}`)]

export const encode = (text) => Array.from(text, (letter) => SYMBOLS.indexOf(letter))
export const decode = (tokens) => tokens.map((token) => SYMBOLS[token]).join('')

/**
 * A language model for ctcBeamSearch: words of the list, all equally likely, with a space between two. Its state is the
 * beginning of a word; nothing but words can be spelt. Beginnings with the words that they can become:
 */
const becomes = new Map()
for (const word of WORDS)
  for (let i = 0; i <= word.length; i++)
    becomes.set(word.slice(0, i), (becomes.get(word.slice(0, i)) ?? 0) + 1)

export const digits = {
  start: () => '',
  score(begun, token) {
    if (SYMBOLS[token] === ' ') return WORDS.includes(begun) ? 0 : -Infinity
    return Math.log((becomes.get(begun + SYMBOLS[token]) ?? 0) / becomes.get(begun))
  },
  next: (begun, token) => (SYMBOLS[token] === ' ' ? '' : begun + SYMBOLS[token]),
  end: (begun) => (WORDS.includes(begun) ? 0 : -Infinity),
}
