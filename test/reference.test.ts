/** The references themselves: their backward against finite differences, all of them against PyTorch. */

import { describe, expect, it } from 'vitest'
import { CELL_NAMES as cells, hasC } from '../lib/cells.ts'
import { dropoutMask, philox4x32 } from '../lib/reference/philox.ts'
import { type Case, readCases } from './fixtures/read.ts'
import { type Config, fromFixture, makeCase, type RecurrentCase, runReference } from './support/recurrent.ts'
import { expectClose, largest, type Results } from './support/tolerance.ts'

/** sum(output * d_output) + sum(hn * d_hn) + sum(cn * d_cn): the scalar whose gradients the cases ask for. */
function loss({ values }: RecurrentCase, results: Results): number {
  let sum = 0
  for (const name of ['output', 'hn', 'cn'])
    results.get(name) &&
      (values.get(`d_${name}`) as Float64Array).forEach((d, i) => {
        sum += d * (results.get(name)?.[i] as number)
      })
  return sum
}

describe('reference: finite differences', () => {
  const variants: [string, Omit<Config, 'cell'>][] = [
    ['one layer', { T: 4, B: 2, I: 3, H: 3 }],
    ['stack', { T: 4, B: 3, I: 2, H: 3, L: 2, bidirectional: true, lengths: [2, 0, 4] }],
    ['batch first without bias', { T: 3, B: 2, I: 2, H: 2, batchFirst: true, bias: false }],
  ]
  for (const cell of cells)
    for (const [name, options] of [
      ...variants,
      ...(hasC(cell) ? ([['projection', { T: 3, B: 2, I: 2, H: 4, P: 2, L: 2 }]] as typeof variants) : []),
    ])
      it(`${cell}, ${name}`, () => {
        const given = makeCase({ cell, ...options }, 5)
        const { T, B, H, P, L, bidirectional } = given.config
        const masks =
          L > 1 ? [dropoutMask(0.4, 9n, 0n, T * B * (P || H) * (bidirectional ? 2 : 1))] : undefined
        const exact = runReference(given, masks)
        const step = 1e-5
        for (const name of [...given.values.keys()].filter((key) => !key.startsWith('d_'))) {
          const values = given.values.get(name) as Float64Array
          const gradient = exact.get(`grad.${name}`) as Float64Array
          values.forEach((value, i) => {
            values[i] = value + step
            const above = loss(given, runReference(given, masks))
            values[i] = value - step
            const below = loss(given, runReference(given, masks))
            values[i] = value
            const estimate = (above - below) / (2 * step)
            expect(Math.abs(estimate - (gradient[i] as number)), `${name}[${i}]`).toBeLessThan(
              1e-7 * (1 + largest(gradient)),
            )
          })
        }
      })
})

describe('reference: PyTorch', () => {
  for (const cell of cells)
    it.each(
      readCases(cell).map((fixture): [string, Case] => [fixture.name, fixture]),
    )(`${cell} %s`, (_, fixture) => {
      const { case: given, expected } = fromFixture(fixture)
      expectClose(runReference(given), expected, 'float64')
    })
})

it('philox agrees with the known answers of its authors', () => {
  const hex = (words: bigint[]) => words.map((word) => word.toString(16).padStart(8, '0')).join(' ')
  const ones = 0xffffffffn
  expect(hex(philox4x32([0n, 0n, 0n, 0n], [0n, 0n]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8')
  expect(hex(philox4x32([ones, ones, ones, ones], [ones, ones]))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd')
  expect(
    hex(philox4x32([0x243f6a88n, 0x85a308d3n, 0x13198a2en, 0x03707344n], [0xa4093822n, 0x299f31d0n])),
  ).toBe('d16cfe09 94fdcceb 5001e420 24126ea1')
})
