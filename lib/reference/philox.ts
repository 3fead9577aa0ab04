// Philox4x32-10 and the rule by which dropout draws from it, written from the paper (Salmon et al., SC 2011):
//   ten rounds of  (c0, c1, c2, c3) -> (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0))
//   with the keys raised by W0 and W1 between rounds.
type Words = [bigint, bigint, bigint, bigint]

const WORD = 0xffffffffn
const [M0, M1, W0, W1] = [0xd2511f53n, 0xcd9e8d57n, 0x9e3779b9n, 0xbb67ae85n]

export function philox4x32([c0, c1, c2, c3]: Words, [k0, k1]: [bigint, bigint]): Words {
  for (let round = 0; round < 10; round++) {
    const [p0, p1] = [M0 * c0, M1 * c2]
    ;[c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & WORD, (p0 >> 32n) ^ c3 ^ k1, p0 & WORD]
    ;[k0, k1] = [(k0 + W0) & WORD, (k1 + W1) & WORD]
  }
  return [c0, c1, c2, c3]
}

/** The leading words of the n elements of a tensor: element i has word i % 4 of the block at offset + i / 4. */
export function words(seed: bigint, offset: bigint, n: number): Uint32Array {
  const result = new Uint32Array(n)
  for (let i = 0; i < n; i += 4) {
    const counter = offset + BigInt(i / 4)
    const block = philox4x32([counter & WORD, counter >> 32n, 0n, 0n], [seed & WORD, seed >> 32n])
    for (let j = 0; j < 4 && i + j < n; j++) result[i + j] = Number(block[j as 0])
  }
  return result
}

/** What dropout with probability p multiplies the n elements of a tensor with: 0, or 1 / (1 - p). */
export function dropoutMask(p: number, seed: bigint, offset: bigint, n: number): Float64Array {
  const threshold = Math.floor(p * 2 ** 32) // kept when the word reaches it; p = 1 keeps none
  return Float64Array.from(words(seed, offset, n), (word) => (word >= threshold ? 1 / (1 - p) : 0))
}
