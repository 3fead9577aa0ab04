#!/usr/bin/env node
/** The command `bptt`. Commands are imported when they run, so help and version need no native binary. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command, CommanderError, Help, Option } from 'commander'
import { root } from '../root.ts'
import { COUNT, device, LENGTH, numberIn, path, THREADS } from './arguments.ts'
import { CELLS } from './cells.ts'
import { checkEnvironment } from './environment.ts'
import { oneLine } from './escape.ts'
import { EXIT_USAGE, exitWith, guardPipes, reportFailure } from './output.ts'
import { RANGES, real } from './settings.ts'

// Compiled from bench/, which is built after this and on top of it.
const BENCH: string = '../bench/command.js'

guardPipes()
buildProgram()
  .then((program) => program.parseAsync())
  .catch((error: unknown) => {
    if (!(error instanceof CommanderError)) process.exitCode = reportFailure(error)
    else if (error.exitCode !== 0) process.exitCode = EXIT_USAGE
  })

async function buildProgram(): Promise<Command> {
  const program = new Command('bptt')
    .description('Train recurrent neural networks on text and sample from them.')
    .version(packageVersion())
    .exitOverride()
    .configureHelp({
      // Of all commands, too, whose options are not read yet.
      subcommandTerm: (command) =>
        command.name() === 'bench' ? 'bench [options]' : Help.prototype.subcommandTerm(command),
    })
    .configureOutput({
      outputError: (text, write) =>
        write(`${oneLine(text.trim().replace('\n(Did', ' (Did'))} (see --help)\n`),
    })
    .addHelpText(
      'after',
      `
Results go to stdout, progress and diagnostics to stderr.
Exit codes: 0 done, 1 failed while running, 2 wrong usage or unreadable input, 130 after Ctrl-C,
143 after SIGTERM and 129 after SIGHUP (train saves a checkpoint first, bench writes its report).`,
    )
  program.hook('preAction', () => checkEnvironment())
  addTrain(program)
  addSample(program)
  await addBench(program)
  addInfo(program)
  return program
}

function addTrain(program: Command): void {
  program
    .command('train')
    .description('Train a character-level language model on UTF-8 text files.')
    .argument('<file...>', 'text files, read in the given order as one text')
    .addOption(new Option('--cell <cell>', 'recurrent cell').choices(CELLS).default('lstm'))
    .option('--embedding <n>', 'size of the character embedding', numberIn(RANGES.embedding), 64)
    .option('--hidden <n>', 'size of the hidden state', numberIn(RANGES.hidden), 256)
    .option('--layers <n>', 'recurrent layers', numberIn(RANGES.layers), 1)
    .option('--dropout <p>', 'dropout after every recurrent layer', numberIn(RANGES.dropout), 0)
    .option('--seq-len <n>', 'time steps that gradients flow back', numberIn(RANGES.seqLen), 64)
    .option('--batch <n>', 'parallel streams of text', numberIn(RANGES.batch), 32)
    .option('--lr <x>', 'learning rate of Adam', numberIn(RANGES.lr), 0.002)
    .option('--clip <x>', 'largest norm of the gradients, 0 for no limit', numberIn(RANGES.clip), 1)
    .addOption(
      new Option('--epochs <n>', 'passes over the training text').argParser(numberIn(COUNT)).default(5),
    )
    .addOption(
      new Option('--steps <n>', 'training steps in all, instead of --epochs')
        .argParser(numberIn(RANGES.steps))
        .conflicts('epochs'),
    )
    .option(
      '--validation <fraction>',
      'part of the text held out at its end',
      numberIn(RANGES.validation),
      0.05,
    )
    .option('--out <dir>', 'folder of the checkpoint (default: bptt-out, or bptt-out-2 ... if taken)', path)
    .option('--save-every <n>', 'save the checkpoint every n steps', numberIn(COUNT), 1000)
    .option('--resume', 'go on from the checkpoint in --out, exactly where it stopped; without one, begin')
    .addOption(new Option('--force', 'replace the checkpoint of another run in --out').conflicts('resume'))
    .option('--sample-length <n>', 'characters to generate at the end', numberIn(LENGTH), 400)
    .option('--seed <n>', 'seed of all random numbers', numberIn(RANGES.seed), 1)
    .option('--threads <n>', 'compute threads (default: the cores this process may use)', numberIn(THREADS))
    .option('--device <device>', 'cpu, cuda or cuda:<n>', device, 'cpu')
    .option('--json', 'print one JSON object per line: every step, then the result')
    .addHelpText(
      'after',
      `
Files are UTF-8, or UTF-16 with a byte order mark; other bytes and NUL characters are refused.
Ctrl-C stops after the current step, saves a checkpoint and says where; a second Ctrl-C ends at once.
With --resume, options that are not given come from the checkpoint, and the losses that follow are
those of a run that was never interrupted, bit for bit. Without --out it goes on in the last bptt-out.
The checkpoint of another run is replaced with --force alone, and not before the first save of this one;
that of the same run once this one has got further. Numbers that are not finite are never saved.

Examples:
  $ bptt train book.txt --out model
  $ bptt train book.txt --out model --resume --epochs 10
  $ bptt train a.txt b.txt --cell gru --hidden 512 --layers 2 --dropout 0.2 --out big`,
    )
    .action(async (files: string[], _options: unknown, command: Command) => {
      const { train } = await import('./train.ts')
      const given = (name: string): boolean => command.getOptionValueSource(name) === 'cli'
      await exitWith(train(files, command.opts(), given))
    })
}

function addSample(program: Command): void {
  program
    .command('sample')
    .description('Generate text from a checkpoint of bptt train.')
    .argument('<checkpoint>', 'checkpoint file, or the folder that train wrote it to')
    .option('--prompt <text>', 'text to continue', '')
    .option('--length <n>', 'characters to generate', numberIn(LENGTH), 500)
    .option(
      '--temperature <x>',
      'below 1: likelier text, above: wilder, 0: always the likeliest',
      numberIn(real(0, 100)),
      0.8,
    )
    .option('--seed <n>', 'seed of the random choices', numberIn(RANGES.seed), 1)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
The same checkpoint, prompt, temperature and seed give the same text. On a terminal, control characters
in it are escaped; a file or a pipe gets them as they are.

Example:
  $ bptt sample model --prompt 'Call me ' --length 200 --temperature 0.7`,
    )
    .action(async (checkpoint: string, _options: unknown, command: Command) => {
      const { sample } = await import('./sample.ts')
      await exitWith(sample(checkpoint, command.opts()))
    })
}

/** The benchmark is a program of its own; its options are read where `bench` or `help bench` stands. */
async function addBench(program: Command): Promise<void> {
  const command = program
    .command('bench')
    .description(
      'Measure bptt on this machine, beside PyTorch, ONNX Runtime and TensorFlow.js where they are.',
    )
  if (!process.argv.slice(2, 4).includes(command.name())) return
  const { addOptions } = (await import(BENCH)) as { addOptions(command: Command): void }
  addOptions(command)
}

function addInfo(program: Command): void {
  program
    .command('info')
    .description('Show the version, the kernels in use and the machine.')
    .option('--json', 'print one JSON object')
    .action(async (_options: unknown, command: Command) => {
      const { showInfo } = await import('./info.ts')
      await showInfo(command.opts())
    })
}

function packageVersion(): string {
  const text = readFileSync(join(root, 'package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
