// Ends while a kernel of many seconds runs. How is the argument:
//   exit CODE   process.exit() while it runs
//   unread      nothing awaits the work
//   pending     a read of cheap work is pending when the program ends
//   throw       an uncaught error
import { LSTM, noGrad, zeros } from 'bptt'

const [how, code] = process.argv.slice(2)
process.on('exit', () => console.log(`exit ${how}`))

if (how === 'pending') {
  zeros([1000])
    .sum()
    .item()
    .then((value) => console.log(`value ${value}`))
} else {
  const lstm = new LSTM(256, 256)
  // [T,B,I]: about a hundred billion multiplications per call
  const input = zeros([3000, 32, 256])
  noGrad(() => {
    for (let i = 0; i < 10; ++i) lstm.forward(input)
  })
  if (how === 'exit') setTimeout(() => process.exit(Number(code)), 50)
  if (how === 'throw')
    setTimeout(() => {
      throw new Error('uncaught')
    }, 50)
}
