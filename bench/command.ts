/** The options of `bptt bench`, which the command line asks for when it is called. */
import { type Command, Option } from 'commander'
import {
  CELLS,
  COUNT,
  device,
  exitWith,
  listOf,
  numberIn,
  path,
  quoted,
  RANGES,
  threadList,
  UsageError,
} from '#internals'
import type { BenchOptions } from './bench.ts'
import { PASSES, PEERS } from './report/report.ts'

export function addOptions(bench: Command): void {
  bench
    .option('--suite <name>', 'what to run, from bench/suites.json: quick, readme, stream, sweep ...')
    .option('--pass <list>', `of ${PASSES} (default: forward,train)`, listOf(PASSES))
    .option('--cells <list>', `of ${CELLS} (default: lstm)`, listOf(CELLS))
    .option('--shapes <list>', 'B,T,I,H;... or names from bench/shapes.json (default: quick)', (text) =>
      text.split(';').filter((name) => name !== ''),
    )
    .option('--layers <n>', 'layers, one on top of the other', numberIn(RANGES.layers))
    .option('--bidirectional', 'both directions')
    .option('--proj <n>', 'size of the projection of an LSTM', numberIn(COUNT))
    .option('--ragged', 'rows of lengths between 1 and T')
    .option(
      '--steps <n>',
      'pass step: time steps of one call, by stepMany (default: 1, by step)',
      numberIn(COUNT),
    )
    .option('--busy', 'while the JavaScript thread computes, too, beside bptt itself on one thread')
    .option('--threads <list>', 'numbers of compute threads (default: what bptt takes by itself)', threadList)
    .addOption(new Option('--dtype <dtype>', 'type of the numbers').choices(['float32', 'float64']))
    .option('--device <device>', 'cpu, cuda or cuda:<n>', device, 'cpu')
    .option('--isa <name>', 'kernels that bptt shall use, of those that bptt info lists')
    .option('--peers <list>', `of ${PEERS}, or none (default: those that are installed)`, (text) =>
      text === 'none' ? [] : listOf(PEERS)(text),
    )
    .option('--python <path>', 'Python that has torch', path, 'python3')
    .option('--pairs <n>', 'samples of every contender, in turns (default: 11)', numberIn(COUNT))
    .option('--memory', 'measure peak memory, too')
    .option('--json <file>', 'write the report as JSON', path)
    .option('--html <file>', 'write the report as one HTML page with charts', path)
    .option('--compare <file>', 'an older report of --json to compare with', path)
    .addHelpText(
      'after',
      `
Passes: forward (inference), train (forward, sum, backward, all gradients), step (one step of a stream, or --steps),
ops (what the API costs beside its native calls), demo (a training step of a whole model),
decoder (a training step of a loop of a cell with attention).
Every contender runs in a process of its own. Its results are checked before it is timed; one that
fails is reported, and the exit code is 1. With a suite, --pass and --cells choose among its cases.
With --device cuda the passes are forward, train, demo and decoder, and the peer is a torch that sees the device;
--threads, --isa and --memory are of the CPU alone.

Examples:
  $ bptt bench
  $ bptt bench --suite readme --json report.json
  $ bptt bench --suite readme --device cuda
  $ bptt bench --pass train --cells gru --shapes '16,50,128,128;1,100,512,512' --threads 1,2 --peers torch`,
    )
    .action(async (_options: unknown, command: Command) => {
      const options: BenchOptions = command.opts()
      const alone = ['shapes', 'layers', 'bidirectional', 'proj', 'ragged', 'steps'].find(
        (name) => name in options,
      )
      if (options.suite !== undefined && alone) {
        throw new UsageError(`--suite cannot be used with --${alone}: the suite says which shapes`)
      }
      const { bench } = await import('./bench.ts')
      await exitWith(bench(options, ['bptt', ...process.argv.slice(2).map(quoted)].join(' ')))
    })
}
