// The emulation of threads: that barriers, shuffles and shared memory work under every
// seed, and that a kernel which misuses them is caught.
#include "emulation/emulation.h"

#include <cmath>
#include <numeric>

#include "driver/fake.h"
#include "driver/fake_test.h"

using namespace bptt_fake_test;

namespace {

constexpr int kThreads = 128, kBlocks = 5, kSeeds = 20;

struct Arrays {
  const float* in;
  float* out;
  int* words;
};

// Every block turns its part around, through shared memory.
template <bool kBarrier>
void turn(const Arrays& a) {
  BPTT_SHARED(float, part, kThreads);
  const unsigned base = blockIdx.x * blockDim.x;
  part[threadIdx.x] = a.in[base + threadIdx.x];
  if (kBarrier) __syncthreads();
  a.out[base + threadIdx.x] = part[blockDim.x - 1 - threadIdx.x];
}

// The sum of a block's part, by shuffles and then by the warps' first lanes.
template <class T>
T block_sum(T value) {
  BPTT_SHARED(T, sums, 32);
  for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  T total = 0;
  for (unsigned i = 0; i < blockDim.x / 32; ++i) total += sums[i];
  __syncthreads();
  return total;
}

void sum_twice(const Arrays& a) {
  const float x = a.in[blockIdx.x * blockDim.x + threadIdx.x];
  const float sum = block_sum(x);
  const double squares = block_sum(double(x) * x);
  if (threadIdx.x == 0) {
    a.out[2 * blockIdx.x] = sum;
    a.out[2 * blockIdx.x + 1] = float(squares);
  }
}

void shuffles(const Arrays& a) {
  const int lane = threadIdx.x % 32;
  int* out = a.words + 6 * threadIdx.x;
  out[0] = __shfl_xor_sync(0xffffffffu, lane, 5);
  out[1] = __shfl_down_sync(0xffffffffu, lane, 3);
  out[2] = __shfl_up_sync(0xffffffffu, lane, 3);
  out[3] = __shfl_sync(0xffffffffu, lane, 9);
  out[4] = __shfl_down_sync(0xffffffffu, lane, 3, 8);
  out[5] = int(__ballot_sync(0xffffffffu, lane % 3 == 0));
}

void count_threads(const Arrays& a) {
  atomicAdd(a.words, 1);
  atomicOr(a.words + 1, 1 << threadIdx.x % 32);
  atomicMax(a.words + 2, int(blockIdx.x * blockDim.x + threadIdx.x));
}

// -- what must be caught ----------------------------------------------------------

void half_a_shuffle(const Arrays& a) {
  if (threadIdx.x < 16) a.out[0] = __shfl_down_sync(0xffffffffu, 1.0f, 1);
}

void half_a_mask(const Arrays& a) {
  if (threadIdx.x < 16) a.out[0] = __shfl_down_sync(0xffffu, 1.0f, 1);
}

// Half of the lanes come to the barrier instead.
void shuffle_or_barrier(const Arrays& a) {
  if (threadIdx.x < 16) a.out[0] = __shfl_down_sync(0xffffffffu, 1.0f, 1);
  __syncthreads();
}

void two_barriers(const Arrays&) {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    __syncthreads();
}

void too_much_shared_memory(const Arrays& a) {
  BPTT_SHARED(double, large, 6145);
  large[0] = 1;
  a.out[0] = float(large[0]);
}

#if defined(__SANITIZE_ADDRESS__)
void past_shared_memory(const Arrays& a) {
  BPTT_SHARED(float, part, kThreads);
  part[threadIdx.x] = 1;
  __syncthreads();
  const volatile unsigned next = threadIdx.x + 1;
  a.out[threadIdx.x] = part[next];
}
#endif

// A thread that has returned is not waited for at a barrier.
void return_early(const Arrays& a) {
  if (threadIdx.x >= 64) return;
  a.words[threadIdx.x] = 1;
  __syncthreads();
}

std::vector<float> inputs() {
  std::vector<float> values(kBlocks * kThreads);
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(i % 17) - 3.5f;
  return values;
}

template <void (*kKernel)(const Arrays&)>
CUresult launch(Session& s, Arrays arrays, unsigned blocks = kBlocks, unsigned threads = kThreads) {
  add_kernel<Arrays, kKernel>("test");
  return s.launch("test", blocks, threads, arrays);
}

template <class T>
T* pointer(CUdeviceptr address) {
  return reinterpret_cast<T*>(address);
}

// How many of the seeds give a wrong answer.
template <bool kBarrier>
int wrong_turns() {
  const std::vector<float> in = inputs();
  int wrong = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Session s;
    fake_cuda_seed(seed);
    const CUdeviceptr a = s.upload(in), b = s.allocate(in.size() * sizeof(float));
    OK(launch<turn<kBarrier>>(s, {pointer<float>(a), pointer<float>(b), nullptr}));
    const std::vector<float> out = s.download<float>(b, in.size());
    bool right = true;
    for (int i = 0; i < kBlocks * kThreads; ++i)
      right &= out[i] == in[i / kThreads * kThreads + kThreads - 1 - i % kThreads];
    wrong += !right;
  }
  return wrong;
}

void a_missing_barrier_shows() {
  CHECK(wrong_turns<true>() == 0);
  const int wrong = wrong_turns<false>();
  CHECK_MSG(wrong >= kSeeds - 1, "wrong under %d of %d seeds", wrong, kSeeds);
}

void sums_are_right_under_every_seed() {
  const std::vector<float> in = inputs();
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Session s;
    fake_cuda_seed(seed);
    const CUdeviceptr a = s.upload(in), b = s.allocate(2 * kBlocks * sizeof(float));
    OK(launch<sum_twice>(s, {pointer<float>(a), pointer<float>(b), nullptr}));
    const std::vector<float> out = s.download<float>(b, 2 * kBlocks);
    for (int block = 0; block < kBlocks; ++block) {
      const float* part = in.data() + block * kThreads;
      CHECK(out[2 * block] == std::accumulate(part, part + kThreads, 0.0f));
      CHECK(out[2 * block + 1] == std::inner_product(part, part + kThreads, part, 0.0f));
    }
  }
}

void shuffles_follow_their_definition() {
  Session s;
  const CUdeviceptr words = s.allocate(6 * 64 * sizeof(int));
  OK(launch<shuffles>(s, {nullptr, nullptr, pointer<int>(words)}, 1, 64));
  const std::vector<int> out = s.download<int>(words, 6 * 64);
  int wrong = 0;
  for (int i = 0; i < 64; ++i) {
    const int lane = i % 32;
    const int want[] = {lane ^ 5, lane + 3 < 32 ? lane + 3 : lane,    lane >= 3 ? lane - 3 : lane,
                        9,        lane % 8 + 3 < 8 ? lane + 3 : lane, 0x49249249};
    for (int j = 0; j < 6; ++j) wrong += out[6 * i + j] != want[j];
  }
  CHECK_MSG(wrong == 0, "%d wrong", wrong);
}

void atomics_count() {
  Session s;
  const CUdeviceptr words = s.upload(std::vector<int>(3));
  OK(launch<count_threads>(s, {nullptr, nullptr, pointer<int>(words)}));
  CHECK(s.download<int>(words, 3) == (std::vector<int>{kBlocks * kThreads, -1, 639}));
}

void returned_threads_are_not_waited_for() {
  Session s;
  const CUdeviceptr words = s.allocate(64 * sizeof(int));
  OK(launch<return_early>(s, {nullptr, nullptr, pointer<int>(words)}, 1));
  CHECK(s.download<int>(words, 64) == std::vector<int>(64, 1));
}

template <void (*kKernel)(const Arrays&)>
Outcome run_in_child(unsigned threads = kThreads) {
  return in_child([=] {
    Session s;
    const CUdeviceptr out = s.allocate(1024 * sizeof(float));
    OK(launch<kKernel>(s, {nullptr, pointer<float>(out), nullptr}, 1, threads));
    cuStreamSynchronize(s.stream);
  });
}

void misuse_ends_the_process() {
  CHECK_CAUGHT(run_in_child<half_a_shuffle>(), "is not reached by every lane");
  CHECK_CAUGHT(run_in_child<half_a_shuffle>(), "kernel test, block (0,0,0), thread (");
  CHECK_CAUGHT(run_in_child<half_a_mask>(), "only full warps are supported");
  CHECK_CAUGHT(run_in_child<half_a_shuffle>(48), "emulation: kernel test");
  CHECK_CAUGHT(run_in_child<shuffle_or_barrier>(),
               "is not reached by every lane: others wait at __syncthreads");
  CHECK_CAUGHT(run_in_child<two_barriers>(), "met another at line");
  CHECK_CAUGHT(run_in_child<too_much_shared_memory>(), "are more than a block has");
#if defined(__SANITIZE_ADDRESS__)
  CHECK(run_in_child<past_shared_memory>().status != 0);
#endif
}

// The CUDA names that the emulation adds to <cmath>.
void arithmetic() {
  CHECK(rsqrtf(4.0f) == 0.5f && rsqrt(0.25) == 2.0);
  CHECK(std::fabs(sinpi(0.5) - 1) < 1e-15 && std::fabs(cospi(1.0) + 1) < 1e-15);
  CHECK(__umulhi(0x80000000u, 6) == 3 && __umul64hi(1ull << 63, 6) == 3);
  CHECK(__float_as_int(1.0f) == 0x3f800000 && __int_as_float(0x3f800000) == 1.0f);
  CHECK(min(3, 2u) == 2 && max(1.5f, 2.0) == 2.0);
  CHECK(__fmaf_rn(2.0f, 3.0f, 4.0f) == 10.0f && __popc(255) == 8 && __clz(1) == 31);
}

}  // namespace

int main() {
  a_missing_barrier_shows();
  sums_are_right_under_every_seed();
  shuffles_follow_their_definition();
  atomics_count();
  returned_threads_are_not_waited_for();
  misuse_ends_the_process();
  arithmetic();
  return bptt_test::finish();
}
