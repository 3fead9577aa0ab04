/** Order statistics: what the samples say without believing in any distribution. */
import type { Ratio, Spread } from '../report/report.ts'

/** The value below which the fraction q of the sorted values lies, interpolated linearly between neighbours. */
export function quantile(sorted: readonly number[], q: number): number {
  const place = q * (sorted.length - 1)
  const below = Math.floor(place)
  const low = sorted[below] as number
  const high = sorted[Math.min(below + 1, sorted.length - 1)] as number
  return low + (place - below) * (high - low)
}

export const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b)

export const median = (values: readonly number[]): number => quantile(ascending(values), 0.5)

export function spread(values: readonly number[]): Spread {
  const sorted = ascending(values)
  return { median: quantile(sorted, 0.5), p10: quantile(sorted, 0.1), p90: quantile(sorted, 0.9) }
}

/**
 * Ranks (from 0) of the two sorted values between which the median of the distribution lies with at least the
 * given probability, whatever the distribution: each of n values lies below it with probability 1/2, so the number
 * that does is binomial. The narrowest such symmetric pair; the outermost one where n is too small for any
 * (n < 6 at 95 %).
 */
export function medianRanks(n: number, confidence = 0.95): [number, number] {
  let rank = 0
  let term = 2 ** -n // P(exactly `rank` values lie below)
  let outside = term // P(at most `rank` values lie below), on one side
  while (2 * rank + 2 < n) {
    term *= (n - rank) / (rank + 1)
    if (2 * (outside + term) > 1 - confidence) break
    outside += term
    rank++
  }
  return [rank, n - 1 - rank]
}

/** Theirs over ours, pair by pair. */
export function pairedRatio(ours: readonly number[], theirs: readonly number[]): Ratio {
  const ratios = ascending(theirs.map((seconds, i) => seconds / (ours[i] as number)))
  const [low, high] = medianRanks(ratios.length)
  return {
    median: quantile(ratios, 0.5),
    low: ratios[low] as number,
    high: ratios[high] as number,
    pairs: ratios.length,
  }
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}
