// Trains a layer on device 'cuda' and prints the loss, or the code and words of what failed.
// BPTT_FAKE_CUDA_FAIL and others (fake.h) say what shall fail, BPTT_TRAIN_COMPUTE what the
// layer computes in.
import { Adam, LSTM, randn, synchronize, tidy } from '../../../dist/index.js'

try {
  const lstm = new LSTM(3, 4, { device: 'cuda', compute: process.env.BPTT_TRAIN_COMPUTE || null })
  const optimizer = new Adam(lstm.parameters())
  const x = randn([5, 2, 3], { device: 'cuda' })
  for (let i = 0; i < 3; i++) {
    tidy(() => {
      const loss = lstm.forward(x).output.sum()
      loss.backward(null, { retainGraph: true })
      loss.backward()
      optimizer.step()
      optimizer.zeroGrad()
    })
  }
  await synchronize('cuda')
  const loss = await lstm.forward(x).output.sum().item()
  console.log(JSON.stringify({ loss: Number.isFinite(loss) }))
} catch ({ code, message }) {
  console.log(JSON.stringify({ code, message }))
}
