/** The best few of many candidates. */

/**
 * Keeps the `capacity` highest of the scores that it is offered; of equal ones those that came first. A heap whose
 * root is the worst that is kept.
 */
export class Best {
  readonly #scores: Float64Array
  readonly #ids: Float64Array
  #size = 0

  constructor(capacity: number) {
    this.#scores = new Float64Array(capacity)
    this.#ids = new Float64Array(capacity)
  }

  /** A score must exceed it to be kept. */
  get threshold(): number {
    return this.#size < this.#scores.length ? Number.NEGATIVE_INFINITY : (this.#scores[0] as number)
  }

  clear(): void {
    this.#size = 0
  }

  /** Offers a candidate. Ids must rise from offer to offer: of equal scores the lower id is kept. */
  offer(score: number, id: number): void {
    if (!(score > this.threshold)) return
    if (this.#size < this.#scores.length) this.#rise(this.#size++, score, id)
    else this.#sink(score, id)
  }

  /** What is kept as [score, id], best first. */
  sorted(): [score: number, id: number][] {
    const kept = Array.from(this.#scores.subarray(0, this.#size), (score, i): [number, number] => [
      score,
      this.#ids[i] as number,
    ])
    return kept.sort((a, b) => b[0] - a[0] || a[1] - b[1])
  }

  /** Whether entry `i` is worse than a candidate, so that it is dropped before it. */
  #worse(i: number, score: number, id: number): boolean {
    const at = this.#scores[i] as number
    return at < score || (at === score && (this.#ids[i] as number) > id)
  }

  #set(i: number, score: number, id: number): void {
    this.#scores[i] = score
    this.#ids[i] = id
  }

  #rise(from: number, score: number, id: number): void {
    let i = from
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (this.#worse(parent, score, id)) break
      this.#set(i, this.#scores[parent] as number, this.#ids[parent] as number)
      i = parent
    }
    this.#set(i, score, id)
  }

  /** Replaces the worst. */
  #sink(score: number, id: number): void {
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= this.#size) break
      const right = child + 1
      if (
        right < this.#size &&
        this.#worse(right, this.#scores[child] as number, this.#ids[child] as number)
      ) {
        child = right
      }
      if (!this.#worse(child, score, id)) break
      this.#set(i, this.#scores[child] as number, this.#ids[child] as number)
      i = child
    }
    this.#set(i, score, id)
  }
}
